"""What people and programs say of a sequence (a score, yes or no, why not), read strictly: what is no number is a failure, not a guess."""

from __future__ import annotations

from typing import Any

from llome.exchange import read_flag
from llome.scoring.problem import Problem


def read_score(problem: Problem, answer: dict[str, Any]) -> tuple[float | None, str]:
    """The score of `{"score": ..., "feasible": ..., "message": ...}`, higher is better and -inf infeasible; or None, and why."""
    message = answer.get("message")
    said = "" if message is None else str(message)[:1000]
    if answer.get("feasible") is not None:
        feasible = read_flag(str(answer["feasible"]))
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
