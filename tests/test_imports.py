"""Who may import whom. The import graph is the experimental protocol: what trains and refines cannot see the oracle.

The contracts are in pyproject.toml (import-linter); what they cannot say is checked here from the syntax tree.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from llome.cli import STAGES

PACKAGE = Path(__file__).parent.parent / "llome"
MAY_SEE_THE_ORACLE = ("seed", "label", "analyze", "summarize", "report", "count", "exchange", "warfarin")
"""Three call it, two read what was answered, count reads its arrays, exchange its alphabet; warfarin has a ground truth of its own, for
methods below llome.leon, which cannot; nothing that trains or refines does."""


def imports_of(file: Path) -> set[str]:
    """Full names of all that `file` imports, inside functions as well."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def everything() -> set[str]:
    """Every module and package below llome, and every stage."""
    modules = {f"llome.{p.stem}" for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    stages = {f"llome.stages.{p.stem}" for p in (PACKAGE / "stages").glob("[a-z]*.py")}
    return stages | modules - {"llome.__init__", "llome.cli", "llome.optimizer", "llome.stages"}


def test_contracts_hold(root: Path) -> None:
    lint = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=root, capture_output=True, text=True
    )
    assert lint.returncode == 0, lint.stdout + lint.stderr


def test_the_contract_on_the_oracle_leaves_out_nobody_but_those_who_may(root: Path) -> None:
    """A new package or stage must be added to the contract, or it could look at the oracle unseen."""
    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = (c for c in contracts if c["type"] == "forbidden" and c["forbidden_modules"] == ["llome.scoring"])
    known = set(contract["source_modules"]) | {f"llome.stages.{stage}" for stage in MAY_SEE_THE_ORACLE}
    assert everything() - {"llome.scoring"} <= known


def test_the_contract_on_what_was_scored_for_figures_leaves_out_nobody_but_the_report(root: Path) -> None:
    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    hidden = ["llome.stages.analyze", "llome.reporting.analysis"]
    (contract,) = (c for c in contracts if c["type"] == "forbidden" and c["forbidden_modules"] == hidden)
    may = {"llome.reporting", "llome.stages.analyze", "llome.stages.report"}
    assert everything() == set(contract["source_modules"]) | may


def test_nothing_in_the_loop_names_the_files_of_an_analysis() -> None:
    own = {PACKAGE / "paths.py", PACKAGE / "stages" / "analyze.py", *(PACKAGE / "reporting" / "analysis").glob("*.py")}
    for file in set(PACKAGE.rglob("*.py")) - own:
        assert not re.search(r"\.analysis\(|facts\.json|scored\.parquet|\"analysis\"", file.read_text()), file


@pytest.mark.parametrize("file", sorted((PACKAGE / "losses").glob("*.py")), ids=lambda p: p.stem)
def test_losses_import_torch_only(file: Path) -> None:
    allowed = {"torch", "llome.losses", *sys.stdlib_module_names}
    for name in imports_of(file):
        assert any(name == a or name.startswith(f"{a}.") for a in allowed), f"{file.name} imports {name}"


@pytest.mark.parametrize("file", sorted((PACKAGE / "modules").glob("*.py")), ids=lambda p: p.stem)
def test_modules_share_the_base_and_nothing_else(file: Path) -> None:
    others = {n for n in imports_of(file) if n.startswith("llome.modules.") and not n.startswith("llome.modules.base.")}
    assert not others or file.stem == "__init__"


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nothing_but_ask_and_tell_imports_the_command_line(file: Path) -> None:
    own = file.name == "optimizer.py"  # runs the stages as the command line does
    assert own or not any(name.startswith(("llome.cli", "llome.optimizer")) for name in imports_of(file))


def imported(modules: str, among: set[str]) -> set[str]:
    """Which of `among` a process has imported once it has imported `modules`."""
    code = f"import sys, {modules}; print(*({among} & set(sys.modules)))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize(
    "module", ["errors", "paths", "provenance", "draws", "tables", "codec", "experiment", "seconds", "variants", "cli"]
)
def test_foundations_import_no_torch(module: str) -> None:
    heavy = {"torch", "lightning", "transformers", "matplotlib", "scipy", "pandas"}
    assert not imported(f"llome.{module}", heavy)


def test_what_the_snakefile_imports_is_light() -> None:
    light = "llome.paths, llome.errors, llome.experiment, llome.provenance"
    assert not imported(light, {"torch", "numpy", "pyarrow", "lightning"})


def test_a_fitted_surrogate_is_asked_without_the_seconds_that_lightning_takes() -> None:
    """A round's filter searches one, and its refinement may be ranked by one."""
    asking = "llome.surrogate.files, llome.surrogate.evolution, llome.leon.ranking"
    assert not imported(asking, {"lightning", "torchmetrics"})


@pytest.mark.parametrize("module", sorted({module for module, _, _ in STAGES.values()}))
def test_stage_modules_import_nothing_heavy_at_the_top(module: str) -> None:
    assert not imported(module, {"torch", "lightning", "transformers", "matplotlib"})
