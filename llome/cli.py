"""The command line: `llome STAGE ...`, a table of names and the functions they run, imported only when asked for.

A stage is a function with typed keyword arguments, and its signature is its command line (jsonargparse): `--name value`
or a YAML through `--config`. `train` hands its arguments to LightningCLI as they are. A user's mistake is one line on
stderr and exit code 2; `--debug`, anywhere on the line, shows the traceback as well.
"""

from __future__ import annotations

import errno
import importlib
import inspect
import itertools
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from llome import __version__
from llome.errors import ConfigError, LlomeError
from llome.warm import end_with, hand_over, serve

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

STAGES: dict[str, tuple[str, str, str]] = {
    "oracle": ("llome.stages.seed", "draw_oracle", "draw a benchmark function from its YAML, once, into oracle.json"),
    "count": ("llome.stages.count", "count", "count the feasible and the optimal sequences of a function, exactly"),
    "seed": ("llome.stages.seed", "seed", "label the first sequences with the genetic algorithm, or carry it on"),
    "import": (
        "llome.stages.exchange",
        "import_table",
        "start from labelled sequences of your own: CSV, Parquet, FASTA",
    ),
    "base": ("llome.stages.base", "base", "make the starting policy"),
    "train": ("llome.stages.train", "train", "train a policy on labelled tables (train fit --config ...)"),
    "grid": ("llome.stages.search", "write_point", "write one point of a hyperparameter search for `llome train`"),
    "choose": ("llome.stages.search", "choose", "choose the best trained point of a hyperparameter search"),
    "surrogate": ("llome.stages.surrogate", "surrogate", "fit networks that predict scores, for filter to search"),
    "refine": ("llome.stages.refine", "refine", "let a policy edit its best sequences, iteration by iteration"),
    "filter": ("llome.stages.filter", "filter_proposals", "choose the proposals that go to the oracle"),
    "label": ("llome.stages.label", "label", "call the oracle on the chosen proposals"),
    "gather": ("llome.stages.gather", "gather", "join the parts that refine --shard or label --shard wrote"),
    "summarize": ("llome.stages.summarize", "summarize", "count and average one round into summary.json"),
    "analyze": ("llome.stages.analyze", "analyze", "score what was proposed and not labelled, for figures alone"),
    "export": ("llome.stages.exchange", "export", "write a table for people: CSV, Parquet or FASTA, best first"),
    "plan": (
        "llome.stages.plan",
        "plan",
        "say what an experiment asks of a GPU: memory by part, hours; nothing is run",
    ),
    "leon run": (
        "llome.stages.leon",
        "run",
        "let a language model propose designs for contexts: a patient, a target",
    ),
    "leon warfarin": (
        "llome.stages.warfarin",
        "warfarin",
        "look for warfarin doses of synthetic patients: research software, not medical advice",
    ),
    "verify": (
        "llome.stages.verify",
        "verify",
        "check every hash, table and count of finished results; calls no oracle",
    ),
    "report": ("llome.stages.report", "report", "draw the report of an experiment and print its table"),
}


def main(args: list[str] | None = None) -> int:
    """Run the command line on `args` (those of the process if None) and return the exit code.

    0 is success, 2 a user's mistake (one line on stderr, a traceback with `--debug`), 3 a wait for measurements, 130 an
    interrupt. What else is raised is a bug and leaves as it is.
    """
    if args is None:
        code = hand_over(sys.argv)
        if code is not None:
            return code
    args = list(sys.argv[1:] if args is None else args)
    if args[:1] == ["--warm"]:
        words = serve(*args[1:])
        return 0 if words is None else end_with(main(words[1:]))
    debug = "--debug" in args
    args = [arg for arg in args if arg != "--debug"]
    name = "llome"
    try:
        if not args or args[0] in ("-h", "--help"):
            print(_overview())
            return 0
        if args[0] in ("-V", "--version"):
            print(f"llome {__version__}")
            return 0
        stage, rest = _stage(args)
        if stage in _groups():
            print(_overview(stage))
            return 0
        if stage not in STAGES:
            raise ConfigError(f"there is no stage {stage!r}{_nearest(stage, STAGES)}; `llome --help` lists them")
        name = f"llome {stage}"
        return run_stage(stage, rest)
    except LlomeError as err:
        if debug:
            traceback.print_exc()
        for note in getattr(err, "__notes__", ()):
            print(note, file=sys.stderr)
        print(f"{name}: {err.said_as}: {_one_line(str(err))}", file=sys.stderr)
        return err.exit_code
    except OSError as err:
        if err.errno not in (errno.ENOSPC, errno.EDQUOT) and "No space left on device" not in str(err):
            raise
        what = err.filename or "what this stage makes"
        print(
            f"{name}: error: the disk is full, {what} was not written; free some space, then run the same command again:"
            " what was finished is kept",
            file=sys.stderr,
        )
        return 2
    except SystemExit as stop:  # argparse: --help, or its own message
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130


def stage_parser(stage: str) -> ArgumentParser:
    """The parser of a stage other than `train`: its function's signature and `--config`."""
    return _parser(stage, _function(stage))


def _groups() -> set[str]:
    """First words of stages that have two."""
    return {name.split()[0] for name in STAGES if " " in name}


def _stage(args: list[str]) -> tuple[str, list[str]]:
    """The stage that a line names, of one word or two, and the rest; the first word alone where no other follows."""
    words = 2 if args[0] in _groups() and len(args) > 1 and not args[1].startswith("-") else 1
    return " ".join(args[:words]), args[words:]


def _overview(group: str | None = None) -> str:
    shown = {name: text for name, (_, _, text) in STAGES.items() if group is None or name.startswith(f"{group} ")}
    width = max(map(len, shown))
    lines = [f"  {name:<{width}}  {text}" for name, text in shown.items()]
    if group is not None:
        usage = f"usage: llome {group} ... [--config YAML] [--option value ...] [--debug]"
        return "\n".join([usage, "", *lines, "", f"llome {next(iter(shown))} --help lists its options."])
    return "\n".join(
        [
            "usage: llome STAGE [--config YAML] [--option value ...] [--debug]",
            "",
            "Language models as optimisers of constrained sequences. Each stage reads files and writes files:",
            "",
            *lines,
            "",
            "llome STAGE --help lists a stage's options; llome --version the version.",
            "A whole experiment: snakemake --cores N --configfile configs/experiments/demo.yaml",
        ]
    )


def _function(stage: str) -> Callable[..., None]:
    module, function, _ = STAGES[stage]
    return getattr(importlib.import_module(module), function)


def run_stage(stage: str, args: list[str]) -> int:
    """Run a stage on its arguments in this process; what it raises leaves as it is. Returns 0."""
    _follow(os.environ.get("LLOME_WORKFLOW_PID"))
    function = _function(stage)
    if stage == "train":
        function(args)
        _record(stage, _values(args, "--out"))
        return 0
    parser = _parser(stage, function)
    settings = _parse(parser, args)
    function(**{name: value for name, value in vars(settings).items() if name != "config"})
    _record(stage, [str(settings.out)] if "out" in settings else [])
    return 0


def _record(stage: str, out: list[str]) -> None:
    """Leave what made it beside what a stage wrote to its `--out`; of several processes of a training, the first one does."""
    from pathlib import Path

    from llome.machine import record

    if out and Path(out[-1]).exists() and os.environ.get("LOCAL_RANK", "0") == "0":
        record(stage.replace(" ", "_"), Path(out[-1]))


def _follow(workflow: str | None) -> None:
    """End with the workflow that started this stage (its process id), or two of them would work on the same files.

    A workflow that is killed cannot stop its stages. One that is not visible from here (another host or container) is not
    followed.
    """
    if workflow is None or not _alive(int(workflow)):
        return

    def watch() -> None:
        while _alive(int(workflow)):
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _parser(stage: str, function: Callable[..., None]) -> ArgumentParser:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(
        prog=f"llome {stage}",
        usage=f"llome {stage} [--config YAML] [--option value ...] [--debug]",
        description=STAGES[stage][2].capitalize() + ".",
        exit_on_error=False,
    )
    parser.add_argument("--config", action="config", help="YAML with any of these options; the line wins")
    by_position = any(p.kind is p.POSITIONAL_OR_KEYWORD for p in inspect.signature(function).parameters.values())
    parser.add_function_arguments(function, as_positional=by_position)
    return parser


def _parse(parser: ArgumentParser, args: list[str]) -> Any:
    """Parse and instantiate, every complaint as one ConfigError that names the option and the nearest known one."""
    from jsonargparse import ArgumentError

    options = {option for action in parser._actions for option in action.option_strings if not option.endswith("+")}
    try:
        return parser.instantiate(parser.parse_args(_join_lists(parser, args)))
    except ArgumentError as err:
        message = _one_line(str(err))
    except (TypeError, ValueError, OSError) as err:
        message = _one_line(f"{type(err).__name__}: {err}")
    more = f"; `{parser.prog} --help` lists them"
    files = ", ".join(_values(args, "--config")) or "the settings"
    if match := re.match(r"unrecognized arguments: (\S+)", message):
        unknown = match[1].split("=")[0]
        raise ConfigError(f"unknown option {unknown!r}{_nearest(unknown, options)}{more}")
    if match := re.match(r"Option '([^']+)' is not accepted", message):
        hint = _nearest(match[1], (option.removeprefix("--") for option in options))
        raise ConfigError(f"unknown setting {match[1]!r} in {files}{hint}{more}")
    message = re.sub(r"^Parser key \"(\S+)\":", r"--\1:", message)
    message = re.sub(r"^Problems parsing config:", f"{files} is no valid YAML:", message)
    message = re.sub(r"<class '(\w+)'>", r"\1", message).replace("Expected a int", "Expected an int")
    raise ConfigError(message)


def _join_lists(parser: ArgumentParser, args: list[str]) -> list[str]:
    """Let options of a list type take several words, `--labeled a b`: jsonargparse wants one at a time."""
    names = {option for action in parser._actions for option in action.option_strings}
    lists = {name for name in names if f"{name}+" in names}
    joined: list[str] = []
    rest = list(args)
    while rest:
        option = rest.pop(0)
        if option not in lists:
            joined.append(option)
            continue
        words = []
        while rest and not rest[0].startswith("--"):
            words.append(rest.pop(0))
        if (len(words) == 1 and words[0].startswith("[")) or not words:
            joined += [option, *words]
        else:  # what a config file says is replaced, then each word is parsed as one item
            joined += [option, "[]"]
            for word in words:
                joined += [f"{option}+", word]
    return joined


def _nearest(name: str, known: Iterable[str]) -> str:
    from llome.settings import nearest

    return nearest(name, known)


def _values(args: list[str], option: str) -> list[str]:
    after = [value for name, value in itertools.pairwise(args) if name == option]
    return after + [arg.split("=", 1)[1] for arg in args if arg.startswith(f"{option}=")]


def _one_line(text: str) -> str:
    return re.sub(r"\s*\n\s*", " ", text.strip())


if __name__ == "__main__":
    sys.exit(main())
