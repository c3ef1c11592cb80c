"""pytest-benchmark's JSON -> the one table of ratios, printed and written as JSON.

    python tests/benchmarks/table.py results/bench/pytest-benchmark.json results/bench/bench.json

The best of the timings counts, on both sides: what slows a call now and then is somebody else's work. Medians are in the JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_BUSY = 0.05
_HEADINGS = ("path", "ours", "peer", "ratio", "floor", "aim", "", "of the ceiling")


def main(source: str, out: str) -> None:
    """Write and print the table of a run."""
    record = json.loads(Path(source).read_text())
    rows = [read_row(benchmark) for benchmark in record["benchmarks"]]
    ceilings = {row["ceiling"]: row["ours"]["rate"] for row in rows if row.get("ceiling")}
    for row in rows:
        row["share"] = share(row, ceilings)
    cpu = record["machine_info"].get("cpu", {})
    machine = {
        "processor": cpu.get("brand_raw"),
        "cores": cpu.get("count"),
        "threads": max(row["threads"] for row in rows),
        "python": record["machine_info"].get("python_version"),
    }
    Path(out).write_text(json.dumps({"date": record["datetime"], "machine": machine, "rows": rows}, indent=2) + "\n")
    print(
        f"\n{machine['processor']}, {machine['threads']} threads, Python {machine['python']}; best of each row's timings\n"
    )
    print(render(rows))
    if busy := [row for row in rows if (row["busy"] or 0) > _BUSY]:
        most = max(row["busy"] for row in busy)
        print(
            f"\ncaution: before {len(busy)} of {len(rows)} rows other processes took up to {most:.0%} of the cores; measure again"
        )
    print(f"\n{out}")


def read_row(benchmark: dict[str, Any]) -> dict[str, Any]:
    """A row of the table from a benchmark's statistics and `extra_info`."""
    info = benchmark["extra_info"]
    row = {
        key: info.get(key) for key in ("path", "asked", "floor", "aim", "unit", "value", "flops", "moved", "ceiling")
    }
    row["remark"] = info.get("remark", "")
    row["threads"], row["busy"] = info["threads"], info["busy"]
    row["ours"] = _timing(info.get("seconds") or benchmark["stats"]["data"], info["work"])
    peer = info.get("peer")
    row["peer"] = None
    row["ratio"] = None
    if peer is not None:
        row["peer"] = {"name": peer["name"]}
        if "not_measured" in peer:
            row["peer"]["not_measured"] = peer["not_measured"]
        else:
            row["peer"] |= _timing(peer["seconds"], peer["work"])
            row["ratio"] = row["ours"]["rate"] / row["peer"]["rate"]
            if row["asked"] == "slow-down":
                row["ratio"] = 1 / row["ratio"]
    row["met"] = verdict(row)
    return row


def _timing(seconds: list[float], work: float) -> dict[str, Any]:
    best = min(seconds)
    return {
        "best": best,
        "median": statistics.median(seconds),
        "timings": len(seconds),
        "work": work,
        "rate": work / best,
    }


def verdict(row: dict[str, Any]) -> str:
    """`aim`, `floor` or `below`: what the row reaches; empty where nothing is asked or nothing was measured."""
    number = {"seconds": row["ours"]["best"], "value": row["value"]}.get(row["asked"], row["ratio"])
    if number is None or row["floor"] is None:
        return ""
    sign = 1 if row["asked"] == "speed-up" else -1
    if row["aim"] is not None and sign * number >= sign * row["aim"]:
        return "aim"
    return "floor" if sign * number >= sign * row["floor"] else "below"


def share(row: dict[str, Any], ceilings: dict[str, float]) -> dict[str, float]:
    """Part of the machine's product and copy that a row's best timing reaches."""
    amounts = {"product": row["flops"], "copy": row["moved"]}
    return {
        name: amount / row["ours"]["best"] / ceilings[name]
        for name, amount in amounts.items()
        if amount and name in ceilings
    }


def render(rows: list[dict[str, Any]]) -> str:
    """The table as text, remarks and missing peers below."""
    cells = [_HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(_HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    lines.insert(1, "  ".join("-" * width for width in widths))
    notes = [f"{row['path']}: {note}" for row in rows if (note := _note(row))]
    return "\n".join([*lines, "", *notes])


def _note(row: dict[str, Any]) -> str:
    peer = row["peer"] or {}
    parts = [f"against {peer['name']}" if peer else "", row["remark"]]
    if "not_measured" in peer:
        parts.append(f"not measured: {peer['not_measured']}")
    return "; ".join(part for part in parts if part)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    at_least = row["asked"] == "speed-up"
    sign, unit = (">=" if at_least else "<="), {"seconds": " s", "value": f" {row['unit']}"}.get(row["asked"], "x")
    bounds = [f"{sign} {row[name]:g}{unit}".rstrip() if row[name] is not None else "" for name in ("floor", "aim")]
    peer = row["peer"]
    ours = (
        f"{row['value']:.2f} {row['unit']}".rstrip() if row["asked"] == "value" else _amount(row["ours"], row["unit"])
    )
    theirs = "" if peer is None else "not measured" if "not_measured" in peer else _amount(peer, row["unit"])
    ratio = "" if row["ratio"] is None else f"{row['ratio']:.3g}x"
    shares = ", ".join(f"{value:.1%} {name}" for name, value in row["share"].items())
    return row["path"], ours, theirs, ratio, *bounds, row["met"], shares


def _amount(timing: dict[str, Any], unit: str) -> str:
    if not unit:
        return f"{timing['best']:.3g} s"
    factor, prefix = next(((f, p) for f, p in _PREFIXES if timing["rate"] >= f), (1.0, ""))
    return f"{timing['rate'] / factor:.3g} {prefix}{'' if unit in ('B', 'FLOP') else ' '}{unit}/s".replace("  ", " ")


if __name__ == "__main__":
    main(*sys.argv[1:])
