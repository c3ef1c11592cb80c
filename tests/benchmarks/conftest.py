"""Fixtures of the benchmarks. `make bench` gives the options; without them (the tests) all is of toy size and no environment is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from .measure import Measure
from .problems import make_policy
from .sizes import SIZES, Size


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--size", choices=sorted(SIZES), default="toy", help="of the benchmarks")
    parser.addoption("--make-peers", action="store_true", help="make the environments of the peers")


@pytest.fixture(scope="session")
def size(request: pytest.FixtureRequest) -> Size:
    return SIZES[request.config.getoption("--size", default="toy")]


@pytest.fixture
def measure(request: pytest.FixtureRequest, size: Size, tmp_path: Path) -> Measure:
    """With pytest-benchmark in `make bench`; in the tests every function is called once."""
    benchmark = request.getfixturevalue("benchmark") if size.name == "full" else None
    make, slow = (request.config.getoption(name, default=False) for name in ("--make-peers", "--slow"))
    return Measure(benchmark, size, tmp_path, peers="make" if make else "use" if slow else "nothing")


@pytest.fixture(scope="session")
def small_policy(size: Size, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(policy directory, labelled table)."""
    return make_policy(tmp_path_factory.mktemp("policy"), size.base, size.training_labels)
