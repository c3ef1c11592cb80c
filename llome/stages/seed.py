"""The start of an experiment: draw its oracle, and label first sequences with the paper's genetic algorithm.

The same stage carries the algorithm on from an earlier table: that is the baseline LLOME is measured against. Round
for round, carried on equals run in one go.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from llome.errors import ConfigError, OracleError, TableError
from llome.provenance import exclusive, hash_file, read_json, write_json
from llome.scoring.asking import program_facts
from llome.scoring.budget import Budget, Labels
from llome.scoring.genetic import Genetics, Round, evolve, first_population
from llome.scoring.journal import Journal
from llome.scoring.oracle import Checked, Oracle, Streaming, load_oracle, make_oracle, read_settings, save_oracle
from llome.tables import Failed, Labeled, Meta, same_problem


def draw_oracle(*, spec: Path, out: Path) -> None:
    """Draw an oracle from its constructor arguments and write it down, once and for all.

    Args:
        spec: YAML with `name`, the kind of oracle, and its arguments
        out: the JSON to write: arguments, drawn arrays, optimum, fingerprint
    """
    drawn = make_oracle(read_settings(spec), str(spec))
    if isinstance(drawn, Checked):
        drawn.check()
    save_oracle(drawn, out)


def seed(
    *,
    oracle: Path,
    out: Path,
    random_seed: int = 0,
    rounds: int = 10,
    population: int = 1000,
    mutation_probability: float = 0.005,
    survival_quantile: float = 0.1,
    recombination_probability: float = 0.0882,
    budget: int | None = None,
    resume_from: Path | None = None,
    batch_size: int = 250,
) -> None:
    """Label sequences with the genetic algorithm; writes labeled.parquet and population.json.

    Args:
        oracle: the oracle's JSON
        out: folder to write
        random_seed: of the algorithm
        rounds: rounds in all, those of `resume_from` included
        population: sequences a round
        mutation_probability: of each element, a round
        survival_quantile: share of a population that survives a round
        recombination_probability: of taking an element from the first parent rather than the second
        budget: most oracle calls in all, repeats included; none: as many as the rounds need
        resume_from: folder of an earlier run of this stage with the same settings, to be carried on
        batch_size: sequences a call of the oracle; a kill repeats at most one such call
    """
    black_box = load_oracle(oracle)
    genetics = Genetics(
        population=population,
        mutation_probability=mutation_probability,
        survival_quantile=survival_quantile,
        recombination_probability=recombination_probability,
    )
    if rounds < 1:
        raise ConfigError(f"rounds is {rounds}; it must be at least 1")
    settings: dict[str, Any] = {**vars(genetics), "random_seed": random_seed}
    inputs = {"oracle": hash_file(oracle)}
    earlier, following, done = None, None, 0
    if resume_from is not None:
        if out.resolve() == resume_from.resolve():
            raise ConfigError(
                f"--out and --resume_from are both {out}; write to another folder, so that a kill spoils neither"
            )
        earlier, following, done = _earlier_run(resume_from, black_box, settings, rounds)
        inputs["resume_from"] = hash_file(resume_from / "labeled.parquet")
    spent = earlier.meta.spent if earlier is not None else 0
    Budget(black_box, total=budget, spent=spent, batch_size=batch_size).require((rounds - done) * population)
    program = program_facts(black_box, {} if earlier is None else earlier.meta.facts)
    with exclusive(out):
        if following is None:
            following = first_population(
                black_box.initial_solution(), genetics, num_states=black_box.num_states, random_seed=random_seed
            )
        key = {"stage": "seed", "inputs": inputs, "settings": settings}
        with (
            Journal(out / ".seed.journal", key, black_box.length) as journal,
            tqdm(
                total=(rounds - done) * population * black_box.repeats,
                desc="seed",
                unit="call",
                delay=3,
                mininterval=1,
                disable=None,
            ) as bar,
            Budget(
                black_box, total=budget, spent=spent, journal=journal, batch_size=batch_size, progress=bar.update
            ) as score,
        ):
            record = _Record(earlier, black_box.optimum)

            def ask(sequences: np.ndarray) -> np.ndarray:
                to_come = rounds - 1 - len(record.rounds)
                labels = score.ask(sequences, later=to_come * population)
                if labels.failed.all():
                    journal.forgive()
                    raise OracleError(
                        f"all {len(sequences)} sequences failed, the first with: {labels.message[0]}; mend the oracle, then run the"
                        " same command again: the calls stay counted"
                    )
                record.hear(labels, score.spent)
                return np.where(labels.failed, -np.inf, labels.score)  # what failed ranks last

            generations = evolve(
                ask, following, genetics, num_states=black_box.num_states, random_seed=random_seed, start=done + 1
            )
            for generation in islice(generations, rounds - done):
                record.add(generation)
                following = generation.following
            meta = Meta(
                domain=black_box.domain,
                inputs=inputs,
                settings=settings | {"rounds": rounds},
                spent=score.spent,
                facts={"rounds": record.rounds} | program,
            )
            state = {
                "fingerprint": black_box.fingerprint,
                "settings": settings,
                "round": rounds,
                "spent": score.spent,
                "population": following.tolist(),
            }
            write_json(out / "population.json", state)
            record.table(meta).write(out / "labeled.parquet")
            journal.finish(keep=isinstance(black_box, Streaming))
            if len(record.failed):
                print(f"{len(record.failed)} sequences failed, the last with: {list(record.failed.values())[-1][-1]}")


def _earlier_run(
    folder: Path, oracle: Oracle, settings: dict[str, Any], rounds: int
) -> tuple[Labeled, np.ndarray, int]:
    """Its table, the population that comes next (n, L), the rounds done; refuses what this run cannot carry on."""
    table = Labeled.read(folder / "labeled.parquet")
    path = folder / "population.json"
    state = read_json(path)
    try:
        found, then, done, spent = state["fingerprint"], state["settings"], state["round"], state["spent"]
        following = np.array(state["population"], dtype=np.int64).reshape(-1, oracle.length)
        known = len(table.meta.facts["rounds"])
    except (KeyError, TypeError, ValueError) as err:
        raise TableError(
            f"{folder} holds no whole run of `llome seed` ({type(err).__name__}: {err}); run it again"
        ) from err
    same_problem(
        [(str(folder / "labeled.parquet"), table.meta), ("the oracle", Meta(oracle.domain))],
    )
    changed = [f"{key} ({then.get(key)} then, {now} now)" for key, now in settings.items() if then.get(key) != now]
    if changed:
        raise ConfigError(f"{folder} was run with other settings: {', '.join(changed)}; carry it on with the same ones")
    if found != oracle.fingerprint or spent != table.meta.spent or done != known:
        raise TableError(
            f"{path} and labeled.parquet beside it are of different runs; delete both, run `llome seed` again"
        )
    if rounds < done:
        raise ConfigError(f"{folder} has done {done} rounds already, more than {rounds} in all; raise --rounds")
    return table, following, done


class _Record:
    """Distinct sequences by first query, and the facts of each round."""

    def __init__(self, earlier: Labeled | None, optimum: float | None) -> None:
        self._optimum = optimum
        self._earlier = earlier
        self.rounds: list[dict[str, Any]] = list(earlier.meta.facts["rounds"]) if earlier is not None else []
        rows = earlier.sequence if earlier is not None else ()
        self._seen = {np.asarray(row, dtype=np.int16).tobytes() for row in rows}
        self.failed: dict[bytes, tuple[np.ndarray, int, int, str]] = {}
        """Sequence, query, round and message of what has no score so far."""
        if earlier is not None:
            gone = earlier.failed
            for row, query, number, message in zip(gone.sequence, gone.query, gone.round, gone.message, strict=True):
                self.failed[row.tobytes()] = (row, int(query), int(number), message)
        self._sequences: list[np.ndarray] = []
        self._scores: list[np.ndarray] = []
        self._queries: list[np.ndarray] = []
        self._rounds: list[np.ndarray] = []
        self._measurements: list[np.ndarray] = []

    def hear(self, labels: Labels, counted: int) -> None:
        """What the oracle said of the round to be added next, and the calls counted by then."""
        self._labels, self._counted = labels, counted

    def add(self, generation: Round) -> None:
        """Keep what is new in a round, and count."""
        labels, population = self._labels, generation.population.astype(np.int16)
        rows = [row.tobytes() for row in population]
        new = []
        for number, row in enumerate(rows):
            if row in self._seen:
                continue
            if labels.failed[number]:
                about = (population[number], int(labels.query[number]), generation.number, str(labels.message[number]))
                self.failed.setdefault(row, about)
            else:
                self._seen.add(row)
                self.failed.pop(row, None)
                new.append(number)
        scores = generation.scores[~labels.failed]
        self._sequences.append(generation.population[new])
        self._scores.append(generation.scores[new])
        self._queries.append(labels.query[new])
        self._measurements.append(labels.measurements[new])
        self._rounds.append(np.full(len(new), generation.number))
        feasible = scores > -np.inf
        valued = np.where(feasible, scores, 0.0)
        failed = int(labels.failed.sum())
        self.rounds.append(
            {
                "round": generation.number,
                "counted": self._counted,
                "distinct": len(self._seen),
                "feasible": float(feasible.mean()),
                "unique": len(set(rows)) / len(rows),
                "best": float(scores.max()) if feasible.any() else None,
                "mean": float(valued.mean()),
                "mean_regret": None if self._optimum is None else float(self._optimum - valued.mean()),
                "se_regret": None
                if self._optimum is None or len(valued) < 2
                else float(valued.std(ddof=1) / np.sqrt(len(valued))),
            }
            | ({"failed": failed} if failed else {})
        )

    def table(self, meta: Meta) -> Labeled:
        """The earlier rows and the new ones, in the order of their queries."""
        before = [self._earlier] if self._earlier is not None else []
        new = np.concatenate([np.empty(0, dtype=np.int32), *self._rounds]).astype(np.int32)
        return Labeled(
            meta=meta,
            sequence=np.concatenate([*(t.sequence for t in before), *self._sequences]).astype(np.int16),
            score=np.concatenate([*(t.score for t in before), *self._scores]),
            query=np.concatenate([*(t.query for t in before), *self._queries]),
            round=np.concatenate([*(t.round for t in before), new]),
            origin=np.full(len(self._seen), "ga", dtype=object),
            measurements=np.concatenate([*(t.measurements for t in before), *self._measurements]),
            failed=self._failed(meta.domain.length),
        )

    def _failed(self, length: int) -> Failed:
        if not self.failed:
            return Failed.none(length)
        sequence, query, number, message = zip(*sorted(self.failed.values(), key=lambda about: about[1]), strict=True)
        return Failed(
            np.stack(sequence),
            np.array(query, dtype=np.int64),
            np.array(number, dtype=np.int32),
            np.full(len(query), "ga", dtype=object),
            np.array(message, dtype=object),
        )
