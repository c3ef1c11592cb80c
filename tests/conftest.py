"""What every test shares: one thread each, no network, the slow ones only on `--slow`, and the longest files first."""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")
if "PYTEST_XDIST_WORKER" in os.environ:  # the other worker needs the processors that waiting threads would hold
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "agg")

from pathlib import Path  # noqa: E402

import pytest  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
# Where several workers share the tests (each takes a file at a time, in this order), these begin first: what begins last is waited for.
LONGEST = [
    "cluster/test_slurm.py",
    "containers/test_image_build.py",
    "workflow/test_run_killed.py",
    "test_readme.py",
    "workflow/test_run_own.py",
    "stages/test_train_processes.py",
    "workflow/test_run_evolved.py",
    "workflow/test_run_told.py",
    "workflow/test_run_variants.py",
    "planning/test_memory_measured.py",
    "workflow/test_run.py",
    "workflow/test_run_ends.py",
    "workflow/test_dag.py",
    "workflow/test_dag_variants.py",
    "modules/test_two_ranks.py",
    "stages/test_train.py",
    "modules/test_objective_modules.py",
    "stages/test_train_objectives.py",
    "stages/test_train_refusals.py",
    "stages/test_report.py",
    "stages/test_report_states.py",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the whole-workflow and kill-and-resume tests as well")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        order = {ROOT / "tests" / name: i for i, name in enumerate(LONGEST)}
        items.sort(key=lambda item: order.get(item.path, len(order)))
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="slow: run with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture
def at_root(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The repository as working folder: the paths of experiment files start there."""
    monkeypatch.chdir(ROOT)
    return ROOT
