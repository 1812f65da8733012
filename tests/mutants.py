"""Would the tests notice? Changes one operator, bound or constant at a time and runs the tests of its package.

    python tests/mutants.py [FILE…] [--sample N] [--seed S]

Every mutant is one change in one file: ``+`` for ``-``, ``*`` for ``/``, ``<`` for ``<=``, ``and`` for ``or``, a number
doubled or one larger, a square root left out, a condition reversed. Its tests run in a process forked
after torch and pytest were imported, which is what makes hundreds of mutants affordable. A mutant that no test
notices is printed; the exit status is 1 unless each of these is listed in :data:`HARMLESS` with a reason.
"""

import argparse
import ast
import copy
import importlib.abc
import importlib.util
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
FILES = [
    "landscape/curvature/trace.py", "landscape/measures", "landscape/comparison", "landscape/linalg",
    "landscape/checkpoints", "landscape/training/session.py",
]  # fmt: skip
TESTS = {
    "curvature": ["tests/curvature/test_trace.py", "tests/measures"],
    "measures": ["tests/measures"],
    "linalg": ["tests/linalg", "tests/measures/test_coverage.py", "tests/measures/test_spectrum.py"],
    "comparison": ["tests/comparison", "tests/cli/test_compare.py"],
    "checkpoints": ["tests/checkpoints"],
    "training": ["tests/training/test_trainer.py", "tests/training/test_resume.py"],
}
TIME_OUT = 300
"""Seconds after which a mutant counts as noticed: it loops."""

HARMLESS: dict[str, str] = {}
"""Mutants that may live, ``file:line: change`` without the line → why."""

SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """What a node may be replaced by."""
    if isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in SWAPS and not _is_text(node):
        yield _with(node, op=SWAPS[type(node.op)]())
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        yield _with(node, ops=[SWAPS[type(node.ops[0])](), *node.ops[1:]])
    elif isinstance(node, ast.BoolOp):
        yield _with(node, op=SWAPS[type(node.op)]())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        yield node.operand
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield _with(node, value=node.value + 1 if isinstance(node.value, int) else node.value * 2)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield _with(node, value=not node.value)
    elif (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("sqrt", "abs")
    ):
        yield node.args[0] if node.args else node.func.value


def _is_text(node: ast.AST) -> bool:
    """Whether a sum joins strings."""
    return any(
        isinstance(part, ast.JoinedStr) or (isinstance(part, ast.Constant) and isinstance(part.value, str))
        for part in (getattr(node, "left", None), getattr(node, "right", None), getattr(node, "value", None))
    )


def _with(node: ast.AST, **fields: object) -> ast.AST:
    other = copy.copy(node)
    for name, value in fields.items():
        setattr(other, name, value)
    return other


def mutants(path: Path) -> Iterator[tuple[int, str, str]]:
    """Line, what is changed, and the whole text of every mutant of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    ignored = {
        id(inner)
        for node in ast.walk(tree)
        for part in (
            [node.annotation] if isinstance(node, (ast.AnnAssign, ast.arg)) and node.annotation else
            [node.returns] if isinstance(node, ast.FunctionDef) and node.returns else
            [node.exc] if isinstance(node, ast.Raise) and node.exc else
            [node] if isinstance(node, ast.JoinedStr) else []
        )
        for inner in ast.walk(part)
    }  # fmt: skip
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            for index, node in enumerate(value if isinstance(value, list) else [value]):
                if not isinstance(node, ast.AST) or id(node) in ignored:
                    continue
                for other in changes(node):
                    _put(parent, field, index, ast.copy_location(other, node))
                    text = ast.unparse(ast.fix_missing_locations(tree))
                    _put(parent, field, index, node)
                    yield node.lineno, f"{ast.unparse(node)} → {ast.unparse(other)}", text  # type: ignore[attr-defined]


def _put(parent: ast.AST, field: str, index: int, node: ast.AST) -> None:
    value = getattr(parent, field)
    if isinstance(value, list):
        value[index] = node
    else:
        setattr(parent, field, node)


class Mutated(importlib.abc.MetaPathFinder, importlib.abc.SourceLoader):
    """Serves the changed text of one module."""

    def __init__(self, path: Path, text: str) -> None:
        self.name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        self.path, self.text = path, text

    def find_spec(self, fullname: str, *_: object) -> object:
        package = [str(self.path.parent)] if self.path.stem == "__init__" else None
        return (
            importlib.util.spec_from_file_location(
                fullname, self.path, loader=self, submodule_search_locations=package
            )
            if fullname == self.name
            else None
        )

    def get_data(self, path: str) -> bytes:
        return self.text.encode()

    def get_filename(self, fullname: str) -> str:
        return str(self.path)

    def path_stats(self, path: str) -> dict[str, float]:
        raise OSError("never taken from what was compiled before")


def noticed(path: Path, text: str, tests: list[str]) -> bool:
    """Whether a test fails with the file changed."""
    child = os.fork()
    if child == 0:
        import pytest

        sys.meta_path.insert(0, Mutated(path, text))
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        os._exit(int(pytest.main(["-x", "-q", "-n", "0", "-p", "no:cacheprovider", *tests])))
    end = time.monotonic() + TIME_OUT
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) != 0
        time.sleep(0.05)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return True


def main() -> int:
    """Run the mutants that were asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", default=FILES)
    parser.add_argument("--sample", type=int, help="so many of all mutants, chosen by the seed")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    os.chdir(ROOT)
    sys.dont_write_bytecode = True
    paths = [
        file
        for name in asked.files
        for file in (sorted(Path(name).rglob("*.py")) if Path(name).is_dir() else [Path(name)])
    ]
    everything = [(path.resolve(), *mutant) for path in paths for mutant in mutants(path)]
    chosen = (
        everything if asked.sample is None else random.Random(asked.seed).sample(everything, asked.sample)
    )
    import matplotlib.pyplot  # noqa: F401
    import scipy.stats
    import torch._dynamo
    import torchvision  # noqa: F401

    torch.set_num_threads(1)
    assert scipy.stats
    lived = 0
    for path, line, change, text in chosen:
        tests = TESTS[path.relative_to(ROOT).parts[1]]
        name = f"{path.relative_to(ROOT)}: {change}"
        if name not in HARMLESS and not noticed(path, text, tests):
            lived += 1
            print(f"{path.relative_to(ROOT)}:{line}: {change}", flush=True)
    print(f"{len(chosen)} mutants of {len(everything)}, {lived} not noticed")
    return int(lived > 0)


if __name__ == "__main__":
    sys.exit(main())
