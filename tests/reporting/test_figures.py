from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from llome.reporting.curves import Band
from llome.reporting.figures import COLOURS, draw, for_page
from llome.reporting.plots import Line, Plot, Series, plot_csv


@pytest.fixture
def plot() -> Plot:
    x = np.array([1000, 12000, 20000])
    lines = [Line(0, x, np.array([1.0, 0.75, 0.5])), Line(1, x, np.array([1.0, 0.25, 0.25]))]
    band = Band(x, np.array([1.0, 0.5, 0.375]), np.array([0.0, 0.5, 0.25]))
    single = [Line(0, x, np.array([1.0, 0.9, 0.9]), two_se=np.array([np.nan, 0.1, 0.2]))]
    series = [Series("GA", 0, single, None), Series("LLOME sft5", 1, lines, band)]
    return Plot("fig2a", "Regret <b>", "Caption.", "counted", "regret", series, steps=True, top=1.0, seeds_end=10000.0)


def test_drawings_are_the_same_bytes_each_time_and_well_formed(plot: Plot) -> None:
    svg = draw(plot)
    assert svg == draw(plot)
    ElementTree.fromstring(svg)
    texts = re.findall(r">([^<>\n]+)</text>", svg)
    assert {"GA", "LLOME sft5", "counted", "regret", "seeds", "20,000"} <= set(texts)
    assert COLOURS[1] in svg


def test_vertical_axis_starts_at_zero(plot: Plot) -> None:
    assert ">0.0</text>" in draw(plot)
    assert ">1.0</text>" in draw(plot)


def test_many_series_keep_the_order_of_the_experiment(plot: Plot) -> None:
    names = [f"LLOME sft1-marge{i}" for i in range(1, 10)]
    series = [
        plot.series[0],
        *(Series(n, i, plot.series[1].lines, None if i > 1 else plot.series[1].band) for i, n in enumerate(names, 1)),
    ]
    series = [s if s.band or s.colour == 0 else Series(s.label, s.colour, s.lines[:1], None) for s in series]
    svg = draw(Plot(plot.key, plot.title, "", "x", "y", series, steps=False, top=1.0))
    found = [t for t in re.findall(r">([^<>\n]+)</text>", svg) if t.startswith(("GA", "LLOME"))]
    columns = [["GA", *names[1::2]], names[0::2]]  # drawn column by column, read row by row
    assert found == columns[0] + columns[1]


def test_inline_drawing_follows_the_page_and_shares_no_identifiers(plot: Plot) -> None:
    first, second = (for_page(draw(plot), key, "t") for key in ("a", "b"))
    for text in (first, second):
        assert text.startswith("<svg viewBox=")
        assert not re.search(r"http|<style|<metadata|font-family|xlink|#1b1f24", text)
        assert "var(--ink)" in text
    ids = [set(re.findall(r' id="([^"]+)"', t)) for t in (first, second)]
    assert ids[0]
    assert not ids[0] & ids[1]
    for text, own in zip((first, second), ids, strict=True):
        assert set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text)) <= own


def test_data_of_a_figure(plot: Plot) -> None:
    rows = plot_csv(plot).splitlines()
    assert rows[0] == "series,replicate,evaluations,value,two_se"
    assert rows[1:3] == ["GA,0,1000,1,", "GA,0,12000,0.9,0.1"]
    assert rows[-1] == "LLOME sft5,mean,20000,0.375,0.25"
    assert len(rows) == 1 + 3 + 6 + 3


def test_panels_and_variants() -> None:
    x = np.array([0, 1, 2])
    series = [
        Series(label, colour, [Line(0, x, np.array([1.0, 0.5, 0.25]) / (colour + i))], None, variant, panel)
        for panel in ("round 1", "round 2")
        for colour, label in ((1, "LLOME sft2"), (2, "LLOME dpo2"))
        for i, variant in enumerate(("written", "passed on"))
    ]
    plot = Plot("fig4", "T", "", "iteration", "regret", series, top=1.0, column="iteration")
    assert (list(plot.panels), plot.variants) == (["round 1", "round 2"], ["written", "passed on"])
    svg = draw(plot)
    assert svg == draw(plot)
    texts = re.findall(r">([^<>\n]+)</text>", svg)
    legend = ["LLOME sft2", "written", "LLOME dpo2", "passed on"]  # column by column
    assert [text for text in texts if text in legend] == legend
    assert [text for text in texts if text.startswith("round")] == ["round 1", "round 2"]
    assert (texts.count("iteration"), texts.count("regret")) == (1, 1)
    names = re.findall(r' id="([^"]+)"', svg)
    assert len(set(names)) == len(names)
    assert sum("stroke-dasharray" in path for path in re.findall(r"<path [^>]*>", svg)) >= 4 + 1
    rows = plot_csv(plot).splitlines()
    assert rows[0] == "panel,series,replicate,iteration,value,two_se"
    assert rows[4] == 'round 1,"LLOME sft2, passed on",0,0,0.5,'
    assert len(rows) == 1 + 8 * 3


def test_a_long_legend_makes_a_figure_taller_and_takes_nothing_from_its_only_panel() -> None:
    x, y = np.array([0, 1, 2]), np.array([1.0, 0.5, 0.25])

    def height(count: int) -> float:
        series = [Series(f"variant {i}", i, [Line(0, x, y)], None, panel="ehr") for i in range(count)]
        svg = draw(Plot("regret", "T", "", "evaluations", "regret", series, top=1.0, steps=True))
        label = re.search(r"<text[^>]*>regret</text>", svg)
        assert label
        assert svg.count(">ehr</text>") == 1
        return float(re.findall(r'viewBox="0 0 [\d.]+ ([\d.]+)"', svg)[0])

    assert height(2) == height(5) < height(9)


def test_panels_with_axes_and_legends_of_their_own() -> None:
    series = [
        Series(f"{name} = {n * scale}", n, [Line(0, np.array([0, scale]), np.array([1.0, 0.5]))], None, panel=name)
        for name, scale in (("L", 64), ("c", 2))
        for n in (1, 2)
    ]
    plot = Plot("fig10", "T", "", "value", "regret", series, top=1.0, own_x=True, own_legend=True)
    texts = re.findall(r">([^<>\n]+)</text>", draw(plot))
    # each panel: its ticks, then its title and its legend
    titles = [i for i, text in enumerate(texts) if text in ("L", "c")]
    assert [text for text in texts if " = " in text] == ["L = 64", "L = 128", "c = 2", "c = 4"]
    assert texts[titles[0] + 1 : titles[0] + 3] == ["L = 64", "L = 128"]
    assert "50" in texts[: titles[0]]
    assert "50" not in texts[titles[0] :]
    shared = re.findall(r">([^<>\n]+)</text>", draw(Plot("fig10", "T", "", "value", "regret", series, top=1.0)))
    assert shared.count("50") == 2


def test_shares_on_the_horizontal_axis_and_counts() -> None:
    line = Line(
        0, np.array([0.0, 0.025, 0.575]), np.array([1.0, 0.5, 0.0]), np.array([0.0, 0.25, np.nan]), np.array([9, 4, 1])
    )
    plot = Plot(
        "fig12",
        "T",
        "",
        "share",
        "feasible",
        [Series("LLOME sft1", 1, [line], None)],
        1.0,
        column="distance",
        whole=False,
    )
    assert {"0.2", "0.4"} <= set(re.findall(r">([^<>\n]+)</text>", draw(plot)))
    assert plot_csv(plot).splitlines() == [
        "series,replicate,distance,value,two_se,count",
        "LLOME sft1,0,0,1,0,9",
        "LLOME sft1,0,0.025,0.5,0.25,4",
        "LLOME sft1,0,0.575,0,,1",
    ]
