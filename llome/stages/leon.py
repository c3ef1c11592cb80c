"""`llome leon run`: a language model proposes designs for every context of a table, and the loop of LEON scores them.

The surrogate is fitted to labels that the user has. Where an evaluation is asked for, it comes last, from here and never from
llome.leon, when every design has been chosen: no proposal depends on it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from llome.errors import ConfigError, DesignError
from llome.provenance import derive_seed, exclusive, hash_json, read_json, replacing, write_json


def run(
    *,
    task: str,
    design: dict[str, Any],
    context: dict[str, Any],
    source: dict[str, Any],
    proposer: dict[str, Any],
    out: Path,
    surrogate: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    knowledge: dict[str, Any] | None = None,
    evaluate: dict[str, Any] | None = None,
    prices: dict[str, Any] | None = None,
    random_seed: int = 0,
) -> None:
    """Look for a design for every context; a run that was stopped goes on where it was, and asks for no answer twice.

    Args:
        task: what is to be achieved, in words.
        design: each field of a design: {low, high[, step, unit]}, {choices} or {sequence, length}.
        context: {table, id[, show]}: for whom; `show` names the columns that the model is told (default: all but the id).
        source: {table, outcome, features[, maximize, design, groups]}: labelled designs that the surrogate is fitted to.
        proposer: {name: server, model[, base_url, key, ...]}, {name: hf, model} or {name: python, function[, arguments]}.
        out: folder to write: designs.csv, history.jsonl, summary.json, knowledge.md, contexts/, calls/.
        surrogate: settings of the surrogate's fit.
        settings: of the loop: budget, batch, bound, step, critic, certainty and others.
        knowledge: {files[, tools, calls, characters]}: what is known beforehand; `tools` lets a server's model look things up.
        evaluate: {function: package.module:name} or {table, id, column}: how good the chosen designs are, asked when all are chosen.
        prices: {input, output}: of a million tokens, for the cost.
        random_seed: of the surrogate, the loop and every call.

    Raises:
        ConfigError: an impossible setting, too few labels, or the key of a server missing; before anything is asked.
        TableError: a table cannot be read or has faults.
        ProposerError: a server gives no answer; what was answered is kept.
    """
    from llome.leon.settings import LeonSettings
    from llome.leon.space import Space

    space = Space.of(design, "design")
    limits = LeonSettings.of(settings or {}, "settings")
    price = _prices(prices)
    with exclusive(out):
        from tqdm import tqdm

        from llome.leon.journal import lost_calls
        from llome.leon.loop import optimise
        from llome.leon.proposers import identity, make_proposer
        from llome.leon.statement import Statement
        from llome.leon.task import Foresight, read_contexts, read_source
        from llome.leon.telling import Telling

        labelled = read_source(source, space)
        contexts = read_contexts(context, list(labelled.features))
        judge = None if evaluate is None else _Evaluation(evaluate, space.names, space.read)
        files = None if knowledge is None else Telling(knowledge)
        author = make_proposer(proposer, "proposer")
        foresight = Foresight(space, labelled, surrogate or {}, random_seed=derive_seed(random_seed, "surrogate"))
        for name, odd in foresight.strange(contexts).items():
            print(f"warning: {name} is {', '.join(odd[:5])} in a context, which the source has nothing like")
        who = hash_json(identity(proposer))
        known = Statement("") if files is None else files.state(task, space, author, out, who, random_seed)
        told = [task, space.describe(), identity(proposer), known.text, asdict(limits), foresight.hash, random_seed]
        found = []
        with tqdm(contexts.ids, desc="leon run", unit="context", mininterval=1, disable=None) as bar:
            for row, name in enumerate(bar):
                file = out / "contexts" / f"{row:04d}.json"
                features = {column: texts[row] for column, texts in contexts.features.items()}
                key = hash_json([told, name, contexts.shown[row], features])
                if not file.is_file() or read_json(file).get("key") != key:
                    outcome = optimise(
                        task=task,
                        space=space,
                        context=contexts.shown[row],
                        knowledge=known.text,
                        predict=foresight.of(contexts, row),
                        source=foresight.known,
                        proposer=author,
                        settings=limits,
                        random_seed=derive_seed(random_seed, "context", name),
                        journal=out / "calls" / f"{row:04d}-{who}.jsonl",
                    )
                    write_json(file, {"key": key, "context": name, **asdict(outcome)})
                found.append(read_json(file))
        facts = {"surrogate": foresight.surrogate.facts, "proposer": author.name, "knowledge": asdict(known)}
        _write(out, space.names, contexts.shown, found, judge, price, facts)
        if lost := lost_calls(out / "calls"):
            print(f"{lost} calls more were lost in runs that were stopped, and made again")


def _prices(given: dict[str, Any] | None) -> tuple[float, float] | None:
    """Prices of a token in and out."""
    from llome.leon.task import keys

    if given is None:
        return None
    both = keys(given, "prices", ("input", "output"))
    for name, value in both.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ConfigError(f"prices: {name} is {value!r}; it must be a number of at least 0")
    return both["input"] / 1e6, both["output"] / 1e6


class _Evaluation:
    """How good designs are: a function of the user's, or a table of outcomes."""

    def __init__(
        self, given: dict[str, Any], names: Sequence[str], read: Callable[[Mapping[str, str]], dict[str, Any]]
    ) -> None:
        from llome.exchange import Faults, read_columns
        from llome.leon.proposers.python import find
        from llome.leon.task import keys

        self._function: Any = None
        self._known: dict[str, str] = {}
        if not isinstance(given, Mapping) or "function" in given:
            self._function = find(keys(given, "evaluate", ("function",))["function"], "evaluate: function")
            return
        both = keys(given, "evaluate", ("table", "id", "column"))
        path, columns = Path(str(both["table"])), [str(both["id"]), *names, str(both["column"])]
        lines, (ids, *parts, outcomes) = read_columns(path, columns)
        faults = Faults(path)
        for row, (line, name) in enumerate(zip(lines, ids, strict=True)):
            try:
                design = read({field: texts[row] for field, texts in zip(names, parts, strict=True)})
                self._known[_at(name.strip(), design)] = outcomes[row]
            except DesignError as err:
                faults.add(line, str(err))
        faults.check()

    def __call__(self, ids: Sequence[str], designs: Sequence[Any], contexts: Sequence[Any]) -> list[float | None]:
        """N outcomes; None of a context without a design, and of a design that the table does not have."""
        from llome.exchange import read_number

        if self._function is None:
            rows = zip(ids, designs, strict=True)
            return [None if d is None else read_number(self._known.get(_at(name, d), "")) for name, d in rows]
        there = [i for i, d in enumerate(designs) if d is not None]
        said = list(self._function([designs[i] for i in there], [contexts[i] for i in there])) if there else []
        if len(said) != len(there):
            raise ConfigError(
                f"evaluate: the function gave {len(said)} numbers for {len(there)} designs; it gives one each"
            )
        known = {i: float(value) for i, value in zip(there, said, strict=True)}
        return [known[i] if i in known and math.isfinite(known[i]) else None for i in range(len(designs))]


def _at(name: str, design: Mapping[str, Any]) -> str:
    numbers = {k: float(v) if isinstance(v, int | float) and not isinstance(v, bool) else v for k, v in design.items()}
    return hash_json([name, numbers])


def _write(
    out: Path,
    names: Sequence[str],
    contexts: Sequence[Mapping[str, str]],
    found: Sequence[Mapping[str, Any]],
    judge: _Evaluation | None,
    price: tuple[float, float] | None,
    facts: dict[str, Any],
) -> None:
    """designs.csv, history.jsonl and summary.json."""
    from llome.exchange import write_rows
    from llome.leon.results import history_lines, table_of, totals

    ids = [one["context"] for one in found]
    best = [None if one["best"] is None else one["best"]["design"] for one in found]
    outcomes = None if judge is None else judge(ids, best, contexts)
    write_rows(out / "designs.csv", table_of(found, names, price, outcomes))
    with replacing(out / "history.jsonl") as temporary:
        temporary.write_text("".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in history_lines(found)))
    summary = totals(found, price, facts["knowledge"]) | ({} if outcomes is None else {"outcome": _mean(outcomes)})
    write_json(out / "summary.json", {**summary, **facts})
    spent = f", {summary['cost']:.2f} for tokens" if price is not None else ""
    print(
        f"{len(found)} contexts, {summary['calls']:,} calls, {summary['queries']:,} queries{spent}: {out / 'designs.csv'}"
    )


def _mean(outcomes: Sequence[float | None]) -> dict[str, float | int | None]:
    known = [value for value in outcomes if value is not None]
    return {"count": len(known), "mean": math.fsum(known) / len(known) if known else None}
