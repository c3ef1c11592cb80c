"""Ask and tell: for those who run their own loop, in Python, and label sequences themselves.

    optimizer = Optimizer("experiment.yaml")
    optimizer.tell(sequences, scores)            # what is labelled already
    for _ in range(5):
        proposals = optimizer.ask(96)
        optimizer.tell(proposals, measure(proposals))

The stages are those of the command line, with the same seeds, and write the same files to the same places. So nothing is held in memory
that is not on disk, a process that was killed goes on where it was, and so does
`snakemake --configfile results/NAME/experiment.yaml`, which calls the oracle itself.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import yaml

from llome import paths
from llome.cli import run_stage
from llome.errors import ConfigError, LlomeError, TableError
from llome.exchange import Faults, encode_sequences, read_columns, write_rows
from llome.experiment import Experiment, check_experiment
from llome.provenance import hash_file, replacing
from llome.scoring.oracle import load_oracle
from llome.settings import read_yaml
from llome.tables import Labeled, Meta, Selected, best_rows

TOLD = "told.csv"
"""Where what is told before the first round is kept, in the folder of the run."""


class Optimizer:
    """One chain of rounds of an experiment, labelled by whoever calls `tell`."""

    def __init__(self, config: str | Path | Mapping[str, Any], *, folder: str | Path = "results") -> None:
        """Begin a run, or go on with the one that `folder` holds of the same experiment.

        Args:
            config: the experiment, a YAML or its mapping, with one schedule. Without `seed` it starts from what it is told. Its paths are
                relative to the folder that Python runs in.
            folder: results lie in `folder/NAME`.

        Raises:
            ConfigError: what the experiment says cannot be run, or `folder/NAME` holds another.
        """
        where = "the experiment" if isinstance(config, Mapping) else str(config)
        settings = config if isinstance(config, Mapping) else read_yaml(config)
        if not isinstance(settings, Mapping) or not isinstance(settings.get("name"), str):
            raise ConfigError(f"{where}: the key 'name' is missing: the folder of the results")
        settings = {**settings, "replicates": 1}
        told = Path(folder, settings["name"], TOLD)
        if "seed" not in settings:
            settings["seed"] = {"table": str(told)}
            if not told.exists():
                told.parent.mkdir(parents=True, exist_ok=True)
                write_rows(told, {"sequence": [], "score": [], "feasible": []})
        experiment = check_experiment(settings, where)
        self._open(paths.Layout(folder, experiment.name, experiment.variant), experiment)

    def _open(self, layout: paths.Layout, experiment: Experiment) -> None:
        if len(experiment.schedules) != 1:
            raise ConfigError(f"the experiment {experiment.name} has {len(experiment.schedules)} schedules; name one")
        self.layout, self.experiment = layout, experiment
        self._lineage = paths.lineage(experiment.histories[0])
        written, text = layout.root / "experiment.yaml", yaml.safe_dump(experiment.as_dict(), sort_keys=False)
        if written.exists() and read_yaml(written) != experiment.as_dict():
            raise ConfigError(
                f"{written} is another experiment of the same name; take another name or folder, or Optimizer.load to go on"
            )
        if not written.exists():
            written.parent.mkdir(parents=True, exist_ok=True)
            with replacing(written) as file:
                file.write_text(text)
        if not layout.oracle.exists():
            run_stage("oracle", ["--spec", experiment.oracle, "--out", str(layout.oracle)])
        self.domain = load_oracle(layout.oracle).domain

    @property
    def rounds(self) -> int:
        """Rounds that have labels."""
        return sum(self._file(history, "labeled.parquet").exists() for history in self._lineage)

    @property
    def labels(self) -> int:
        """Labels so far, those told before the first `ask` too; 0 in a run that is new."""
        tables = [path for path in self._labeled() if path.exists()]
        if tables or not self._starts_from_told:
            return sum(len(Labeled.read(path)) for path in tables)
        return len(Path(self.experiment.seed_file).read_text().splitlines()) - 1

    @property
    def best(self) -> tuple[str, float] | None:
        """The best sequence so far and its score, in people's own sense; None where none is feasible."""
        tables = [Labeled.read(path) for path in self._labeled() if path.exists()]
        if not tables:
            return None
        sequence, score, query = (
            np.concatenate([getattr(t, name) for t in tables]) for name in ("sequence", "score", "query")
        )
        (row,) = best_rows(score, query, 1)
        if not math.isfinite(score[row]):
            return None
        return self.domain.alphabet.decode(sequence[[row]])[0], float(
            score[row] if self.domain.maximize else -score[row]
        )

    def ask(self, k: int | None = None) -> list[str]:
        """At most `k` sequences to label next, in the letters of the alphabet; asked again before a `tell`, the same.

        The first call takes minutes: it trains the policy on all that was told and lets it edit its best sequences. A round ends with the
        first `ask` after a `tell`.

        Args:
            k: sequences to label; None: what the YAML of filter says.

        Raises:
            LlomeError: nothing has been told yet, or the schedule or budget is at its end.
        """
        self._seed()
        done = self.rounds
        if done and not self._file(self._lineage[done - 1], "summary.json").exists():
            self._summarize(self._lineage[done - 1])
        if done and self.experiment.ends_with(self._file(self._lineage[done - 1], "summary.json")):
            raise LlomeError(
                f"the run {self.layout.root} has ended after {done} rounds: its optimum is found or its budget spent"
            )
        if done == len(self._lineage):
            raise LlomeError(f"all {done} rounds of the schedule are labelled; name more rounds, under another name")
        history = self._lineage[done]
        selected = self._file(history, "selected.parquet")
        if selected.exists() and k is not None and Selected.read(selected).meta.settings["k"] != k:
            selected.unlink()
        self._propose(history, k)
        return self.domain.alphabet.decode(Selected.read(selected).sequence)

    def tell(self, sequences: Sequence[str], scores: Sequence[float], feasible: Sequence[bool] | None = None) -> None:
        """Label sequences: before the first `ask` any, then those that were asked for, some of them or all, in any order.

        It is on disk when this returns. A sequence that was told before is refused, unless nothing was asked yet (its scores are averaged).

        Args:
            sequences: N texts in the letters of the alphabet.
            scores: N numbers, in people's own sense; -inf (inf where the problem is minimised) is infeasible.
            feasible: N flags; the score of an infeasible sequence is not looked at.

        Raises:
            ConfigError: as many scores or flags as sequences were not given, or a score is no number.
            TableError: a sequence that was not asked for, or was told already.
        """
        flags = [True] * len(sequences) if feasible is None else list(feasible)
        if not len(sequences) == len(scores) == len(flags):
            raise ConfigError(
                f"{len(sequences)} sequences were told with {len(scores)} scores and {len(flags)} flags; give one of each"
            )
        sign = 1.0 if self.domain.maximize else -1.0
        values = [sign * float(score) if flag else -math.inf for score, flag in zip(scores, flags, strict=True)]
        for text, value in zip(sequences, values, strict=True):
            if math.isnan(value) or value == math.inf:
                raise ConfigError(f"the score of {text} is {sign * value}; a score is a finite number, or infeasible")
        history = next((h for h in reversed(self._lineage) if self._file(h, "selected.parquet").exists()), None)
        if history is not None:
            self._label(history, list(sequences), values)
        elif self._file(paths.SEED, "labeled.parquet").exists():
            raise LlomeError("nothing was asked for yet since the labels to start from; call ask() first")
        else:
            self._keep(list(sequences), values)

    def save(self, path: str | Path) -> None:
        """Copy the whole run to a new folder. Raises ConfigError where there is something."""
        path = Path(path)
        if path.exists():
            raise ConfigError(f"{path} exists; save to a new folder")
        with replacing(path) as beside:
            shutil.copytree(self.layout.root, beside, ignore=shutil.ignore_patterns(".*"))
            settings = self.experiment.as_dict()
            if self._starts_from_told:
                settings["seed"] = {**settings["seed"], "table": str(path / TOLD)}
            (beside / "experiment.yaml").write_text(yaml.safe_dump({**settings, "name": path.name}, sort_keys=False))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Go on with a run, in its folder: one that was saved, or results/NAME of any. Raises ConfigError where there is none."""
        file = Path(path) / "experiment.yaml"
        if not file.is_file():
            raise ConfigError(f"{path} holds no run (no experiment.yaml); give the folder of one")
        self = cls.__new__(cls)
        self._open(paths.Layout(Path(path).parent, Path(path).name), check_experiment(read_yaml(file), str(file)))
        return self

    @property
    def _starts_from_told(self) -> bool:
        return not self.experiment.genetic and Path(self.experiment.seed_file) == self.layout.root / TOLD

    def _file(self, history: str, name: str) -> Path:
        return self.layout.round(0, history) / name

    def _labeled(self) -> list[Path]:
        return [self._file(history, "labeled.parquet") for history in (paths.SEED, *self._lineage)]

    def _run(self, stage: str, history: str, args: list[object], *, seeded: bool = True) -> None:
        seed = ["--random_seed", self.experiment.stage_seed(0, history, stage)] if seeded else []
        run_stage(stage, [str(arg) for arg in (*args, *seed)])

    def _seed(self) -> None:
        """Make the seed's labels, where they are not made: take them over, or have the genetic algorithm call the oracle."""
        table, oracle = self._file(paths.SEED, "labeled.parquet"), self.layout.oracle
        if table.exists():
            return
        seed = self.experiment.seed
        if isinstance(seed, str):
            self._run("seed", "seed", ["--config", seed, "--oracle", oracle, "--out", table.parent])
            return
        if self._starts_from_told and len(Path(seed["table"]).read_text().splitlines()) < 2:
            raise LlomeError("there is no label to start from; tell() some sequences with their scores first")
        columns = [part for key, name in seed.items() if key != "table" for part in (f"--{key}", name)]
        if self._starts_from_told:
            columns = ["--feasible_column", "feasible"]
        run_stage("import", ["--oracle", str(oracle), "--table", seed["table"], *columns, "--out", str(table)])

    def _propose(self, history: str, k: int | None) -> None:
        """Run the stages of a round up to `selected.parquet`, those that are not done."""
        own, parent = self.experiment, paths.parent(history)
        before = self.layout.parent_labels(0, history)
        base, model = self._file("base", "model"), self._file(history, "model")
        start = base if parent == paths.SEED else self._file(parent, "model")
        proposals, surrogate = self._file(history, "proposals.parquet"), self._file(history, "surrogate")
        selected, objective = self._file(history, "selected.parquet"), paths.objective(history)
        if not (base / "llome.json").exists():
            self._run("base", "base", ["--config", own.base, "--labeled", before[0], "--out", base])
        if not (model / "llome.json").exists():
            files = [own.train[objective], *filter(None, [own.values.get(objective), own.strategy])]
            configs = [part for file in files for part in ("--config", file)]
            tables = before if own.train_on == "all" else before[-1:]
            self._run("train", history, ["fit", *configs, "--parent", start, "--labeled", *tables, "--out", model])
        if own.judged and not (surrogate / "surrogate.json").exists():
            earlier = [] if parent == paths.SEED else ["--parent", self._file(parent, "surrogate")]
            given = ["--config", own.surrogate, *earlier, "--labeled", *before, "--out", surrogate]
            self._run("surrogate", history, given)
        asked = {stage: ["--surrogate", surrogate] if stage in own.judged else [] for stage in ("refine", "filter")}
        if not proposals.exists():
            summary = [] if parent == paths.SEED else ["--summary", self._file(parent, "summary.json")]
            given = ["--config", own.refine, "--model", model, "--labeled", *before, *summary, *asked["refine"]]
            self._run("refine", history, [*given, "--out", proposals])
        if not selected.exists():
            count = [] if k is None else ["--k", k]
            given = ["--config", own.filter, "--proposals", proposals, *asked["filter"], "--labeled", *before, *count]
            self._run("filter", history, [*given, "--out", selected])

    def _summarize(self, history: str) -> None:
        files = {name: self._file(history, f"{name}.parquet") for name in ("proposals", "selected")}
        given = [part for name, file in files.items() for part in (f"--{name}", file)]
        tables = [*self.layout.parent_labels(0, history), self._file(history, "labeled.parquet")]
        out = ["--model", self._file(history, "model"), "--out", self._file(history, "summary.json")]
        told = ["--oracle", self.layout.oracle, "--history", history, "--labeled", *tables]
        self._run("summarize", history, [*told, *given, *out], seeded=False)

    def _keep(self, sequences: list[str], values: list[float]) -> None:
        """Add labels to those that the run starts from; what cannot be read is refused before anything is written."""
        if not self._starts_from_told:
            raise LlomeError(f"the run starts from {self.experiment.seed_file}; call ask() first, or leave seed out")
        faults = Faults("what was told")
        encode_sequences(range(1, len(sequences) + 1), sequences, self.domain, faults)
        faults.check()
        file = self.layout.root / TOLD
        _, (texts, scores, flags) = read_columns(file, ["sequence", "score", "feasible"])
        sign = 1.0 if self.domain.maximize else -1.0
        for text, value in zip(sequences, values, strict=True):
            texts.append(text)
            scores.append(repr(sign * value) if math.isfinite(value) else "")
            flags.append("yes" if math.isfinite(value) else "no")
        write_rows(file, {"sequence": texts, "score": scores, "feasible": flags})

    def _label(self, history: str, sequences: list[str], values: list[float]) -> None:
        """Add labels to those of the round that was asked for last."""
        file, selected = self._file(history, "labeled.parquet"), self._file(history, "selected.parquet")
        parent = self._file(paths.parent(history), "labeled.parquet")
        candidates, before = Selected.read(selected), Labeled.read(parent).meta
        row = {text: number for number, text in enumerate(self.domain.alphabet.decode(candidates.sequence))}
        old = Labeled.read(file) if file.exists() else None
        score = (
            {} if old is None else dict(zip(self.domain.alphabet.decode(old.sequence), old.score.tolist(), strict=True))
        )
        for text, value in zip(sequences, values, strict=True):
            if text not in row:
                raise TableError(
                    f"{text} was not asked for in {history}; tell what the last ask() gave (a run that goes on has its first labels:"
                    " tell those only while optimizer.labels is 0)"
                )
            if text in score:
                raise TableError(f"{text} was told already; tell each sequence once")
            score[text] = value
        told = sorted(score, key=row.__getitem__)  # in the order of the candidates, as `llome label` has them
        total = len(told)
        unmeasured = len(candidates) - total
        Labeled(
            meta=Meta(
                domain=self.domain,
                inputs={
                    "oracle": hash_file(self.layout.oracle),
                    "selected": hash_file(selected),
                    "parent": hash_file(parent),
                },
                settings={"history": history},
                spent=before.spent + total,
                facts={"unmeasured": unmeasured} if unmeasured else {},
            ),
            sequence=candidates.sequence[[row[text] for text in told]],
            score=np.array([score[text] for text in told], dtype=np.float64),
            query=before.spent + np.arange(total),
            round=np.full(total, paths.round_number(history), dtype=np.int32),
            origin=np.full(total, history, dtype=object),
        ).write(file)
