"""The tree: imports point one way, packages are listed, files stay readable, nothing prints."""

import ast
import graphlib
import re
import runpy
import tomllib
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
FILES = [*(ROOT / "landscape").rglob("*.py"), *(ROOT / "cli").rglob("*.py")]
BASE = {"errors", "registry", "records", "isolation", "parameters", "processes", "draws", "reductions"}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "version": set(),
    "draws": set(),
    "isolation": {"errors"},
    "parameters": {"errors", "registry"},
    "reductions": set(),
    "processes": {"errors", "version"},
    "records": {"errors", "tables"},
    "registry": {"errors"},
    "linalg": {"errors", "draws", "reductions", "isolation"},
    "tables": set(),
    "objective": BASE | {"version", "losses"},
    "losses": {"errors", "registry", "reductions"},
    "curvature": BASE | {"losses", "objective", "linalg"},
    "measures": BASE | {"objective", "linalg", "curvature", "tables"},
    "surfaces": BASE | {"objective", "linalg", "curvature", "tables", "alignment"},
    "alignment": BASE | {"objective", "losses"},
    "comparison": {"errors", "registry", "records", "tables"},
    "plotting": {"errors", "registry", "records", "tables", "comparison", "surfaces"},
    "report": {"errors", "registry", "records", "tables", "comparison", "plotting"},
    "optim": {"errors", "registry", "isolation", "parameters", "processes", "draws", "reductions"},
    "data": BASE | {"losses", "objective"},
    "models": BASE,
    "tracking": BASE | {"objective", "curvature", "measures", "optim"},
    "integrations": {"errors", "tracking"},
    "checkpoints": BASE | {"objective", "losses", "data", "models"},
    "training": BASE
    | {
        "version",
        "objective",
        "curvature",
        "measures",
        "optim",
        "data",
        "models",
        "losses",
        "tracking",
        "checkpoints",
    },
    "verification": BASE | {"losses", "objective", "linalg", "curvature", "measures", "data", "checkpoints"},
}
"""The rooms that a room may import."""


def part(path: Path) -> str:
    inside = path.relative_to(ROOT / "landscape")
    return inside.parts[0].removesuffix(".py")


def modules(path: Path) -> set[str]:
    """Every file that a file imports, inside functions and for type checkers included."""
    here = module(path)
    package = here if path.name == "__init__.py" else here.rpartition(".")[0]
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {f"{base}.{alias.name}" for alias in node.names} | {base}
    return names


def module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("landscape", *parts) if parts[0] == "cli" else parts).removesuffix(".__init__")


def test_no_two_files_import_each_other() -> None:
    scripts = [*(ROOT / "figures").rglob("*.py")]
    names = {module(path): path for path in FILES if path.name != "__init__.py"}
    names |= {path.stem: path for path in scripts}
    order = graphlib.TopologicalSorter(
        {name: (modules(path) & names.keys()) - {name} for name, path in names.items()}
    )
    order.prepare()  # raises and names the files of a circle


def test_no_import_of_a_room_is_hidden_in_a_string() -> None:
    """The test of circles does not see it."""
    by_name = re.compile(r"""import_module\(\s*f?["'](landscape|\.)""")
    lazy = {
        "__init__.py",
        "__main__.py",
        "application.py",
    }  # names of the package and of commands on first use
    hidden = [f for f in FILES if f.name not in lazy and by_name.search(f.read_text(encoding="utf-8"))]
    assert not hidden


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


@pytest.mark.parametrize("package", ["plotting", "records", "comparison", "registry", "report", "tables"])
def test_what_reads_numbers_needs_no_torch(package: str) -> None:
    import subprocess
    import sys

    code = f"import sys, landscape.{package}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_import_loads_the_compiler_of_torch() -> None:
    """It takes about two seconds, for every command."""
    loads = re.compile(r"^(?:import|from) torch\.(?:_dynamo|compiler|nn\.attention\.bias)\b", re.MULTILINE)
    assert loads.search("from torch.nn.attention.bias import CausalBias")
    assert not [file for file in FILES if loads.search(file.read_text(encoding="utf-8"))]


def test_measures_import_no_matplotlib() -> None:
    library = re.compile(r"^\s*(?:import|from) (?:matplotlib|plotly)\b", re.MULTILINE)
    drawing = {f for f in FILES if library.search(f.read_text(encoding="utf-8"))}
    assert drawing
    assert all("plotting" in f.parts for f in drawing)


def test_every_package_is_listed() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    there = {".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "landscape").rglob("__init__.py")}
    assert listed == there | {"landscape.cli"}


def test_every_file_that_is_no_module_is_packaged() -> None:
    """An editable installation finds it anyhow; a wheel only if its pattern is listed."""
    room = ROOT / "landscape"
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    packaged = {path for pattern in listed["landscape"] for path in room.glob(pattern)}
    there = {path for path in room.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert there == packaged


def test_few_modules_lie_loose_at_the_top() -> None:
    loose = [path for path in FILES if path.parent == ROOT / "landscape" and not path.name.startswith("__")]
    assert len(loose) <= 6


def test_there_is_no_top_level_module_cli_in_an_installation() -> None:
    import importlib.metadata

    tops = importlib.metadata.distribution("landscape-geometry").read_text("top_level.txt")
    assert tops is not None
    assert tops.split() == ["landscape"]


def test_an_editable_installation_puts_the_package_alone_on_the_path_of_type_checkers(tmp_path, monkeypatch):
    """An import hook finds the modules, which type checkers do not follow."""
    setuptools = pytest.importorskip("setuptools")
    (tmp_path / "setup.py").write_text((ROOT / "setup.py").read_text())
    for folder in ("landscape", "cli", "site-packages"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    arguments: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", arguments.update)
    runpy.run_path("setup.py")
    assert "link_for_type_checkers" in [name for name, _ in arguments["cmdclass"]["build"].sub_commands]
    for is_editable in (False, True, True):
        command = arguments["cmdclass"]["link_for_type_checkers"](setuptools.Distribution())
        command.editable_mode = is_editable
        monkeypatch.setattr(
            command, "get_finalized_command", lambda _: Namespace(install_lib="site-packages")
        )
        command.run()
        assert (tmp_path / "build").exists() == is_editable
    [line] = (tmp_path / "site-packages/landscape-types.pth").read_text().splitlines()
    assert [path.resolve() for path in Path(line).iterdir()] == [tmp_path / "landscape"]
