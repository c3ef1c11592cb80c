"""`snakemake --report`: the provenance of a finished experiment in one HTML file, with the experiment's own report in it."""

from __future__ import annotations

import base64
import html
import re
import subprocess

import pytest

from .conftest import Clone

pytestmark = pytest.mark.slow
NOWHERE = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")}
RULES = (
    "oracle",
    "seed",
    "baseline",
    "base",
    "train",
    "refine",
    "filter",
    "label",
    "summarize",
    "chain",
    "experiment",
    "report",
)


def test_snakemake_reports_on_a_finished_experiment(copy: Clone) -> None:
    run = subprocess.run(
        copy.command("--report", "provenance.html"),
        cwd=copy.folder,
        env={**copy.environment, **NOWHERE},  # nothing is fetched: the packages that it embeds come with Snakemake
        capture_output=True,
        text=True,
    )
    said = run.stdout + run.stderr
    assert run.returncode == 0, said
    assert "Report created." in said
    assert not re.search(r"error|traceback|warning|missing metadata", said, re.IGNORECASE), said
    text = (copy.folder / "provenance.html").read_text()
    assert not re.search(r"<(script|link|img|iframe)\b[^>]*\b(src|href)=[\"']https?:", text)
    page = html.unescape(text)
    for rule in RULES:
        assert re.search(rf'"{rule}": \{{"input": ', page), rule
    # the experiment's own report is in it, as it lies in its folder
    own = copy.folder / "results/tiny/report/report.html"
    assert base64.b64encode(own.read_bytes()).decode() in page
    assert '"tiny": {"Other": ["results/tiny/report/report.html"]}' in page
    assert copy.plan() == {}
