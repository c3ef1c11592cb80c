"""What a reader sees when the pointer rests on a point: the very values of the figure's data, over the point that has them."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from llome.reporting.curves import Band
from llome.reporting.figures import draw, for_page
from llome.reporting.plots import Line, Plot, Series

SVG = "{http://www.w3.org/2000/svg}"
X = np.array([1000, 12000, 20000])


def titles(svg: str) -> dict[str, tuple[float, float]]:
    """Where the marker of each title stands in the drawing, in points from its upper left."""
    found = {}
    for group in ElementTree.fromstring(svg).iter(f"{SVG}g"):
        title, use = group.find(f"{SVG}title"), group.find(f"{SVG}use")
        if title is not None:
            assert use is not None
            assert title.text is not None
            assert "fill-opacity: 0" in use.attrib["style"]
            assert "fill: none" not in use.attrib["style"]  # or the pointer would find nothing to rest on
            found[title.text] = (float(use.attrib["x"]), float(use.attrib["y"]))
    return found


def plot_of(*series: Series, steps: bool = True, percent: bool = False, whole: bool = True) -> Plot:
    xlabel = "counted evaluations" if whole else "share"
    return Plot("fig", "T", "", xlabel, "regret", list(series), top=1.0, steps=steps, percent=percent, whole=whole)


def test_points_tell_method_evaluations_and_value() -> None:
    genetic = Series("GA", 0, [Line(0, X, np.array([1.0, 0.75, 0.25]))], None)
    lines = [Line(0, X, np.array([1.0, 0.75, 0.5])), Line(1, X, np.array([1.0, 0.25, 0.25]))]
    band = Band(X, np.array([1.0, 0.5, 0.375]), np.array([0.0, 0.5, 0.25]))
    found = titles(draw(plot_of(genetic, Series("LLOME <sft5>", 1, lines, band))))
    mean = "LLOME <sft5>, mean of 2 replicates\ncounted evaluations:"
    assert set(found) == {
        "GA\ncounted evaluations: 12,000\nregret: 0.75",
        "GA\ncounted evaluations: 20,000\nregret: 0.25",
        f"GA\ncounted evaluations: 1,000\nregret: 1\n\n{mean} 1,000\nregret: 1 ± 0",  # in one place
        f"{mean} 12,000\nregret: 0.5 ± 0.5",
        f"{mean} 20,000\nregret: 0.375 ± 0.25",
    }
    # over the points: equal steps of evaluations and of regret are equal lengths
    at = {text.split("evaluations: ")[-1]: place for text, place in found.items()}
    (x1, y1), (x12, y12), (x20, y20) = (
        at[text] for text in ("1,000\nregret: 1 ± 0", "12,000\nregret: 0.75", "20,000\nregret: 0.25")
    )
    assert x1 < x12 < x20
    assert (x12 - x1) / 11 == pytest.approx((x20 - x12) / 8, rel=1e-4)
    assert y1 < y12 < y20  # lower regret, further down
    assert 2 * (y12 - y1) == pytest.approx(y20 - y12, rel=1e-4)
    assert at["12,000\nregret: 0.5 ± 0.5"] == pytest.approx((x12, (y12 + y20) / 2), abs=1e-3)


def test_gaps_have_no_title_and_shares_are_told_as_they_are_drawn() -> None:
    x = np.array([0.0, 0.025, 0.575])
    line = Line(0, x, np.array([1.0, np.nan, 0.125]), np.array([np.nan, np.nan, 0.25]))
    series = Series("LLOME sft1", 1, [line], None, variant="written")
    found = titles(draw(plot_of(series, steps=False, percent=True, whole=False)))
    assert set(found) == {
        "LLOME sft1, written\nshare: 0\nregret: 100.0%",
        "LLOME sft1, written\nshare: 0.575\nregret: 12.5% ± 25.0%",
    }


def test_every_panel_has_its_own_and_a_page_keeps_them() -> None:
    series = [
        Series("LLOME sft2", 1, [Line(0, X, np.array([1.0, 0.5, 0.25]) / n)], None, panel=f"round {n}") for n in (1, 2)
    ]
    svg = draw(plot_of(*series, steps=False))
    assert svg == draw(plot_of(*series, steps=False))
    found = titles(svg)
    assert {text.splitlines()[-1] for text in found} == {f"regret: {y}" for y in ("1", "0.5", "0.25", "0.125")}
    page = for_page(svg, "fig", "T")
    assert page.count("<title>") == svg.count("<title>") == 6
    assert "LLOME sft2\ncounted evaluations: 12,000\nregret: 0.25</title>" in page
