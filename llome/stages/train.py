"""The training stage: LightningCLI over the objectives, one datamodule, and what every run needs.

`llome train fit --config configs/train/sft.yaml --parent MODEL --labeled TABLE ... --out MODEL --random_seed N`. A YAML holds
everything but files and the seed. A killed run goes on from its last checkpoint, in a scratch folder beside `--out` that is keyed by
settings, data, parent and seed: a changed run never resumes a stale state. `llome train --help` answers without importing Lightning.
"""

from __future__ import annotations

import contextlib
import difflib
import logging
import math
import re
import shutil
import sys
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llome import __version__
from llome.errors import ConfigError, DivergedError, LlomeError

if TYPE_CHECKING:
    from lightning.pytorch.cli import LightningCLI

_HELP = """\
usage: llome train fit --config YAML --parent MODEL --labeled TABLE [TABLE ...] --out MODEL --random_seed N [--option value ...]

Train a policy on matched pairs of labelled tables and write it as a Hugging Face directory.

  --config YAML         the objective and all its settings: configs/train/*.yaml; a second one overlays the first
  --parent MODEL        policy directory to start from
  --labeled TABLE ...   labelled tables, matched as one
  --out MODEL           directory of the trained policy; the best (or last) one lies beside it
  --random_seed N       of ties, choices, split and order
  --export last|best    which policy --out is (default: last); facts: none, only what it measured, for a search

  llome train fit --help            every setting of the trainer, the checkpoints and the validity check
  llome train fit --model.help SFTModule            every setting of an objective
  llome train fit --config YAML ... --print_config  what a run would use, as a YAML
  tensorboard --logdir FOLDER/logs                  losses, learning rate, validity, as they come"""

# Settings that change how a run is watched, not what it computes.
_UNSEEN_TRAINER_SETTINGS = (
    "logger",
    "default_root_dir",
    "enable_progress_bar",
    "enable_model_summary",
    "log_every_n_steps",
    "profiler",
)
_UNSEEN_SETTINGS = ("config", "parent", "labeled", "out", "export", "checkpoint", "ckpt_path", "weights_only")


def train(args: list[str]) -> int:
    """Train a policy on labelled tables (`llome train fit --config ...`).

    Args:
        args: arguments after `llome train`.

    Returns:
        0.

    Raises:
        LlomeError: anything a user can mend, in one line.
    """
    if not args or args[0] in ("-h", "--help"):
        print(_HELP)
        return 0
    if args[0] != "fit":
        raise ConfigError(f"there is no {args[0]!r} in `llome train`; write `llome train fit --config YAML ...`")
    _cli(args)
    return 0


def _explain(message: str, options: Iterable[str]) -> str:
    """jsonargparse's account of a wrong argument in one line: the option, what is wrong, the nearest known one."""
    unknown = re.match(r"unrecognized arguments: --([^\s=]+)", message) or re.search(
        r"does not accept option '([^']+)'", message
    )
    if unknown:
        near = difflib.get_close_matches(unknown[1], options, n=1)
        text = f"unknown setting {unknown[1]!r}" + (f"; did you mean {near[0]!r}?" if near else "")
    elif missing := re.search(
        r"arguments are required: fit\.(\S+)|^Parser key \"(\w+)\":.*Got value: None", message, re.DOTALL
    ):
        text = f"--{missing[1] or missing[2]} is missing"
    elif foreign := re.search(r"class_path '(?:\w+\.)*(\w+)':\s+Option '([^']+)' is not accepted", message):
        listed = re.search(r"class_path '(?:\w+\.)*(\w+Module)'", message) or foreign
        return (
            f"{foreign[1]} has no setting {foreign[2]!r}; `llome train fit --model.help {listed[1]}` lists its settings"
        )
    elif valueless := re.match(r"argument (\S+): expected one argument", message):
        text = f"{valueless[1]} lacks a value; one that begins with a dash is written --option=value"
    elif choice := re.search(
        r"Parser key \"([\w.]+)\":\s+Expected a typing\.Literal\[(.*)\]\. Got value: (.*)", message
    ):
        name = f"model.init_args.{choice[1]}" if "with given class_path" in message else choice[1]
        text = f"--{name} is {choice[3]}; choose one of {choice[2].replace(chr(39), '')}"
    else:
        message = re.sub(r"(?s)Parser key \"lora\":.*?Parser key \"", 'Parser key "lora.', message)
        nested = r"(?s)^Parser key \"model\":.*class_path '[^']+':\s+Parser key \""
        message = re.sub(nested, 'Parser key "model.init_args.', message)
        message = re.sub(
            r"\":\s+Type typing.* expects a function or a callable class: Parser key \"", ".init_args.", message
        )
        message = re.sub(r"^Parser key \"([^\"]+)\"[^:]*:", r"--\1:", message.partition("Given value type:")[0])
        message = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", message)
        parts = [line.strip().removeprefix("- ") for line in message.splitlines()]
        parts = [
            part
            for part in parts
            if part and not re.match(r"Does not validate|Subtypes:|Errors:|Expected a NoneType", part)
        ]
        text = " ".join([parts[0], "; ".join(dict.fromkeys(parts[1:]))]).strip().replace(":;", ":")
    return f"{text}; `llome train fit --help` lists the settings"


def _check_finite(value: Any, name: str = "") -> None:
    """Raise ConfigError on the first number of the settings that is NaN or infinite."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_finite(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{name} is {value}; choose a finite number")


def _cli(args: list[str]) -> LightningCLI:
    """Build and run the CLI; everything heavy is imported here."""
    from typing import Literal

    from jsonargparse import ArgumentError
    from lightning.pytorch import Trainer
    from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
    from lightning.pytorch.loggers import TensorBoardLogger
    from lightning.pytorch.utilities.exceptions import MisconfigurationException

    from llome import modules  # noqa: F401  (objectives can be named without their module)
    from llome.callbacks import ExportCallback, RequeueCallback, ResumeCallback, TogetherCallback, ValidityCallback
    from llome.callbacks.tasks import trainer_arguments
    from llome.callbacks.together import is_first, last_to_speak, led_by_this_process
    from llome.data.datamodule import PropEnDataModule
    from llome.modules.base import PolicyModule
    from llome.policy.causal_lm import hash_policy
    from llome.policy.devices import claim_gpus
    from llome.provenance import exclusive, hash_json

    class TrainCLI(LightningCLI):
        """`fit` alone, with files and seed at the top level."""

        @staticmethod
        def subcommands() -> dict[str, set[str]]:
            return {"fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule", "ckpt_path", "weights_only"}}

        def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
            parser.add_argument("--parent", type=str, required=True, help="policy directory to start from")
            parser.add_argument("--labeled", type=str, nargs="+", required=True, help="labelled tables, matched as one")
            parser.add_argument("--out", type=str, required=True, help="directory of the trained policy")
            parser.add_argument("--random_seed", type=int, default=0, help="of ties, choices, split and order")
            parser.add_argument(
                "--export",
                type=Literal["last", "best", "facts"],
                default="last",
                help="which policy --out is; facts: none",
            )

        def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
            parser.add_lightning_class_args(ResumeCallback, "checkpoint")
            parser.add_lightning_class_args(ValidityCallback, "validity")
            parser.link_arguments("parent", "model.init_args.parent")
            parser.link_arguments("random_seed", "model.init_args.random_seed")
            for name in ("parent", "labeled", "random_seed"):
                parser.link_arguments(name, f"data.{name}")

        def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
            try:
                self.config = parser.parse_args(args)
            except ArgumentError as err:
                actions = self._subcommand_parsers["fit"]._actions
                raise ConfigError(_explain(str(err), [action.dest for action in actions])) from err

        def instantiate_classes(self) -> None:
            try:
                super().instantiate_classes()
            except ValueError as err:  # jsonargparse wraps what a constructor raises
                if isinstance(err.__cause__, LlomeError):
                    raise err.__cause__ from None
                raise

        def _set_seed(self) -> None:
            """Nothing is drawn from a global generator: data and dropout are keyed by the seed."""

        def instantiate_trainer(self, **kwargs: Any) -> Trainer:
            if self._get(self.config, "trainer").accumulate_grad_batches != 1:
                raise ConfigError(
                    "trainer.accumulate_grad_batches would split a step; set data.micro_batch_size instead"
                )
            if self._get(self.config, "trainer").plugins is None:
                kwargs |= trainer_arguments()
            logs = self.out.parent / "logs" / "train"
            if self._get(self.config, "trainer").logger in (None, True):
                kwargs["logger"] = TensorBoardLogger(logs.parent, name=logs.name, version="")
            try:
                return super().instantiate_trainer(default_root_dir=logs, **kwargs)
            except (MisconfigurationException, ValueError, TypeError, RuntimeError) as err:
                reason = " ".join(str(err).split()).rstrip(".!")
                missing = "accelerator is not available" in reason or "backend found" in reason
                remedy = "; use --trainer.accelerator auto, or cpu" if missing else ""
                raise ConfigError(f"Lightning's Trainer refuses its settings: {reason}{remedy}") from err

        @property
        def out(self) -> Path:
            """Where the policy goes."""
            return Path(self._get(self.config, "out"))

        def settings(self) -> dict[str, Any]:
            """What determines the result, files and seed apart."""
            self._dump_config()
            settings = {k: v for k, v in self.config_dump.items() if k not in _UNSEEN_SETTINGS}
            settings["trainer"] = {
                k: v for k, v in settings["trainer"].items() if v is not None and k not in _UNSEEN_TRAINER_SETTINGS
            }
            for name in ("parent", "labeled"):
                settings["data"].pop(name, None)
                settings["model"]["init_args"].pop(name, None)
            _check_finite(settings)
            return settings

        def fit(self, **kwargs: Any) -> None:
            data = kwargs["datamodule"]
            data.setup("fit")  # refuse the data before anything is written
            self.model.check(data)
            settings, parent = self.settings(), hash_policy(self._get(self.config, "parent"))
            scratch = self.out.parent / ".scratch"
            callbacks = self.trainer.callbacks  # type: ignore[attr-defined]
            resume = next(callback for callback in callbacks if isinstance(callback, ResumeCallback))
            resume.folder = scratch / f"{self.out.name}-{hash_json([settings, data.data_hash, parent, __version__])}"
            self.model.scratch = resume.folder
            which = self._get(self.config, "export")
            resume.check(self.model)
            callbacks += [
                RequeueCallback(resume),
                TogetherCallback(),
                ExportCallback(self.out, which, parent=parent, data=data.data_hash, settings=settings),
            ]
            if resume.last is not None and self.trainer.is_global_zero:
                print(f"llome train: going on from {resume.last}", file=sys.stderr)
            try:
                with led_by_this_process():
                    self.trainer.fit(**kwargs, ckpt_path=resume.last, weights_only=True)
            except DivergedError as err:
                if which != "facts":
                    raise
                if self.trainer.is_global_zero:
                    print(f"llome train: {err}", file=sys.stderr)  # that is this point's result
            if self.trainer.is_global_zero:
                for stale in scratch.glob(f"{self.out.name}-*"):
                    shutil.rmtree(stale, ignore_errors=True)
                if scratch.is_dir() and not any(scratch.iterdir()):
                    scratch.rmdir()

        def _run_subcommand(self, subcommand: str) -> None:
            if is_first():
                with exclusive(self.out.parent):
                    super()._run_subcommand(subcommand)
            else:
                super()._run_subcommand(subcommand)

    claim_gpus()
    with _quiet(), last_to_speak():
        return TrainCLI(
            PolicyModule,
            PropEnDataModule,
            subclass_mode_model=True,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            save_config_kwargs={"overwrite": True},
            trainer_defaults={
                "use_distributed_sampler": False,
                "num_sanity_val_steps": 0,
                "enable_model_summary": False,
            },
            parser_kwargs={"prog": "llome train", "exit_on_error": False, "fit": {"exit_on_error": False}},
            args=args,
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what a user need not read: hardware, tips, Lightning's own dealings with torch."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for message in (
            r"The number of training batches \(\d+\) is smaller than the logging interval",
            r"Total length of `StepLoader` across ranks is zero",  # no validation was asked for
            r"The `srun` command is available on your system but is not used",  # one process is what was asked for
            r"`isinstance\(treespec, LeafSpec\)` is deprecated",
        ):
            warnings.filterwarnings("ignore", message=message)
        # LightningCLI's calls of jsonargparse.
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"lightning\.pytorch\.cli")
        yield
