"""The tree: imports point one way, packages are listed, files stay readable, nothing prints."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = [*(ROOT / "landscape").rglob("*.py"), *(ROOT / "cli").rglob("*.py")]
FOUNDATION = {"functional", "padding",
    "errors", "version", "limits", "registry", "reading", "storage", "isolation", "estimate", "factories",
    "autograd_graph", "loss_functions",
}  # fmt: skip
NETWORK = {"parameters", "batch_norm", "recurrent", "weight_norm", "wrappers"}
ENGINE = {"memory", "kept_graphs", "micro_batches", "ledger", "engine", "shortage"}
RISK = {
    "batches", "replica", "outputs", "reached_weights", "first_look", "loss_weights", "independence", "risk"
}  # fmt: skip
CORE = FOUNDATION | NETWORK | ENGINE | RISK | {"graphs", "differences", "derivatives", "passes"}
ALLOWED: dict[str, set[str]] = {
    **{
        key: set()
        for key in ["errors", "version", "isolation", "estimate", "autograd_graph", "functional", "padding"]
    },
    "limits": {"errors"},
    "storage": {"errors"},  # what is no place for a file is refused in one line
    "registry": {"errors", "limits"},
    "factories": {"errors", "registry"},
    "reading": {"errors"},
    "parameters": {"errors"},
    "batch_norm": {"errors"},
    "recurrent": {"isolation"},
    "weight_norm": set(),
    "wrappers": {"parameters"},
    "outputs": {"errors", "functional"},
    "loss_functions": {"errors"},
    "batches": FOUNDATION,
    "replica": FOUNDATION | NETWORK | {"batches"},
    "memory": set(),
    "kept_graphs": {"memory"},
    "ledger": set(),
    "micro_batches": FOUNDATION | {"batches"},
    "engine": FOUNDATION | {"kept_graphs", "micro_batches"},
    # The first look and finding room need the risk that asks for them: the circles, of files that are one thing.
    "first_look": FOUNDATION
    | NETWORK
    | {"batches", "micro_batches", "replica", "loss_weights", "reached_weights", "risk"},
    "loss_weights": FOUNDATION | {"batches", "outputs", "risk"},
    "independence": FOUNDATION | {"batches", "risk"},
    "reached_weights": FOUNDATION | {"risk"},
    "shortage": FOUNDATION | {"batches", "micro_batches", "risk"},
    "risk": FOUNDATION | NETWORK | ENGINE | {"batches", "replica", "outputs", "first_look", "independence"},
    "graphs": FOUNDATION | {"batches", "replica", "risk"},
    "quicker": FOUNDATION | ENGINE | {"batches", "replica", "risk", "graphs"},
    "differentiability": FOUNDATION | {"batches", "risk"},
    "differences": FOUNDATION | {"batches", "risk", "graphs", "differentiability"},
    "derivatives": FOUNDATION | {"batches", "risk", "graphs", "quicker", "differentiability", "differences"},
    "passes": FOUNDATION | {"batches", "risk", "derivatives"},
    "losses": CORE,
    "objective": CORE,
    "linalg": {"errors"},
    "curvature": CORE | {"objective", "linalg"},
    "measures": CORE | {"objective", "linalg", "curvature"},
    "surfaces": CORE | {"objective", "linalg", "curvature", "tables"},
    "records": {"errors", "estimate", "reading", "storage"},
    "tables": set(),
    "comparison": {"errors", "limits", "registry", "reading", "storage", "estimate", "records", "tables"},
    "plotting": {"errors", "estimate", "reading", "storage", "records", "tables", "comparison", "surfaces"},
    "optim": {"errors", "registry", "parameters", "isolation"},
    "data": {"errors", "limits", "registry", "reading", "isolation", "factories", "outputs"},
    "models": {"errors", "registry", "reading", "isolation", "factories"},
    "tracking": {"errors", "registry"},
    "training": CORE
    | {"objective", "tracking", "curvature", "measures", "records", "optim", "data", "models", "checkpoints"},
    "checkpoints": CORE | {"objective", "linalg", "curvature", "measures", "data", "models", "losses"},
}


def part(path: Path) -> str:
    inside = path.relative_to(ROOT / "landscape")
    return inside.parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module == "landscape":
            names = [f"landscape.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("landscape.")}
    return found


@pytest.mark.parametrize(
    "path", [f for f in FILES if "cli" not in f.parts], ids=lambda p: str(p.relative_to(ROOT))
)
def test_imports_point_one_way(path: Path) -> None:
    if path.parent == ROOT / "landscape" and path.name.startswith("__"):
        return
    mine = part(path)
    wrong = imported(path) - ALLOWED[mine] - {mine}
    assert not wrong, f"{mine} must not import {sorted(wrong)}"


@pytest.mark.parametrize("package", ["plotting", "records", "comparison", "registry", "estimate"])
def test_what_reads_numbers_needs_no_torch(package: str) -> None:
    import subprocess
    import sys

    code = f"import sys, landscape.{package}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_measures_import_no_matplotlib() -> None:
    library = re.compile(r"^\s*(?:import|from) (?:matplotlib|plotly)\b", re.MULTILINE)
    drawing = {f for f in FILES if library.search(f.read_text(encoding="utf-8"))}
    assert drawing
    assert all("plotting" in f.parts for f in drawing)


def test_every_package_is_listed() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    there = {".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "landscape").rglob("__init__.py")}
    assert listed == there | {"landscape.cli"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_is_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_there_is_no_top_level_module_cli_in_an_installation() -> None:
    import importlib.metadata

    tops = importlib.metadata.distribution("landscape-geometry").read_text("top_level.txt")
    assert tops is not None
    assert tops.split() == ["landscape"]
