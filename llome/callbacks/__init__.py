"""What happens beside training: resuming, requeuing, export, the validity of greedy outputs, one end for all processes."""

from llome.callbacks.export import ExportCallback
from llome.callbacks.requeue import RequeueCallback
from llome.callbacks.resume import ResumeCallback
from llome.callbacks.together import TogetherCallback
from llome.callbacks.validity import ValidityCallback

__all__ = ["ExportCallback", "RequeueCallback", "ResumeCallback", "TogetherCallback", "ValidityCallback"]
