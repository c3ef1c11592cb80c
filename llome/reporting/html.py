"""The parts of a page that every report is made of: the document, tables, and figures with the data they hold.

One HTML file, figures inline, no script and nothing to load. It follows the reader's light or dark setting, folds to one column on a
phone and prints on white.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from llome.reporting import figures
from llome.reporting.plots import Plot, plot_csv

STYLE_SHEET = Path(__file__).with_name("page.css")
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
{css}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def document(title: str, body: Sequence[str]) -> str:
    """The whole page: `title` is text, `body` are pieces of HTML."""
    return _PAGE.format(title=escape(title), css=STYLE_SHEET.read_text(), body="\n".join(body))


def table(cells: Sequence[Sequence[str]], kind: str = "") -> str:
    """Cells of text, the header first; `kind` is a class of the style sheet, such as wide."""
    head, *body = cells
    lines = [
        f'<div class="{f"scroll {kind}".strip()}" tabindex=0><table><thead><tr>',
        *(f"<th scope=col>{escape(c)}</th>" for c in head),
        "</tr></thead><tbody>",
    ]
    for first, *rest in body:
        lines.append(
            f"<tr><th scope=row>{escape(first)}</th>" + "".join(f"<td>{escape(c)}</td>" for c in rest) + "</tr>"
        )
    return "".join([*lines, "</tbody></table></div>"])


def figure(plot: Plot) -> str:
    """A plot with its title, its caption and a link that holds its data."""
    drawn = figures.draw(plot)
    svg = figures.for_page(drawn, plot.key, escape(plot.title))
    wide = ""
    if any(plot.panels):  # as large as their letters ask for, in a row of their own
        points = float(drawn.split('viewBox="')[1].split()[2])
        svg = f'<div class=scroll tabindex=0><div style="min-width: {points:.0f}px; max-width: {1.35 * points:.0f}px">{svg}</div></div>'
        wide = ' style="grid-column: 1 / -1"'
    caption = f"<figcaption>{escape(plot.caption)} {csv_link(plot_csv(plot), plot.key)}</figcaption>"
    return f'<figure id="{plot.key}"{wide}><h3>{escape(plot.title)}</h3>{svg}{caption}</figure>'


def csv_link(text: str, name: str) -> str:
    """A link that holds the data of `name`.csv."""
    return f'<a href="data:text/csv;charset=utf-8,{quote(text)}" download="{name}.csv">data (CSV)</a>'
