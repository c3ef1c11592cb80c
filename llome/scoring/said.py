"""What people and programs say of a sequence (a score, yes or no, why not), read strictly: what is no number is a failure, not a guess."""

from __future__ import annotations

from typing import Any

from llome.scoring.problem import Problem

_FEASIBLE = {"yes": True, "true": True, "1": True, "1.0": True, "no": False, "false": False, "0": False, "0.0": False}


def feasible_of(value: object) -> bool | None:
    """Yes or no (true or false, 1 or 0, in any case of letters); None where it is neither."""
    return _FEASIBLE.get(str(value).strip().lower())


def read_score(problem: Problem, answer: dict[str, Any]) -> tuple[float | None, str]:
    """The score of `{"score": ..., "feasible": ..., "message": ...}`, higher is better and -inf infeasible; or None, and why."""
    message = answer.get("message")
    said = "" if message is None else str(message)[:1000]
    if answer.get("feasible") is not None:
        feasible = feasible_of(answer["feasible"])
        if feasible is None:
            return None, f"feasible is {_short(answer['feasible'])}; it is true or false"
        if not feasible:
            return float("-inf"), said
    score = answer.get("score")
    if score is None:
        return None, said or "no score, and no message that says why"
    if isinstance(score, bool) or not isinstance(score, int | float):
        return None, f"the score {_short(score)} is no number"
    try:
        inward = problem.inward(float(score))
    except OverflowError:
        inward = float("nan")
    if inward != inward or inward == float("inf"):
        return None, f"the score is {score}, and scores are finite; what is infeasible has feasible: false"
    return inward, said


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
