"""What happens beside training: resuming, export as Hugging Face directories, and the validity of greedy outputs."""

from llome.callbacks.export import ExportCallback
from llome.callbacks.requeue import RequeueCallback
from llome.callbacks.resume import ResumeCallback
from llome.callbacks.validity import ValidityCallback

__all__ = ["ExportCallback", "RequeueCallback", "ResumeCallback", "ValidityCallback"]
