"""Mutation testing: changes one operator, bound or constant at a time and runs the tests of its package.

    python tests/mutants.py [FILE[:LINE] | DIRECTORY]… [--sample N] [--seed S] [--mirrored] [--direct]

Every mutant is one change in one file: ``+`` for ``-``, ``*`` for ``/``, ``<`` for ``<=``, ``and`` for ``or``, a number
doubled or one larger, a square root left out, a condition reversed. The tests of a mutant run in a process that is
forked after the libraries were imported, and stop at the first failure. Where a package has many mutants, its tests
first run once unchanged, which records the functions that each test calls: a mutant then meets the tests of its own
function first, and the test that found the previous mutant before all others. A mutant that no test notices is
printed. The exit status is 1 unless each of these is listed in :data:`HARMLESS` with a reason.
"""

import argparse
import ast
import copy
import gc
import hashlib
import importlib.abc
import importlib.util
import json
import os
import resource
import sys
import tempfile
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).parent.parent
FILES = [
    "landscape/curvature/trace.py", "landscape/measures", "landscape/comparison", "landscape/linalg",
    "landscape/checkpoints", "landscape/training/session.py", "landscape/records/reading.py",
]  # fmt: skip
TESTS = {
    "curvature": ["tests/curvature/test_trace.py", "tests/curvature/test_example_probes.py", "tests/measures"],
    "measures": ["tests/measures", "tests/test_typical_mistakes.py"],
    "linalg": ["tests/linalg", "tests/measures/test_coverage.py", "tests/measures/test_spectrum.py"],
    "comparison": ["tests/comparison", "tests/cli/test_compare.py"],
    "checkpoints": [
        "tests/checkpoints", "tests/cli/test_bombs.py", "tests/cli/test_own_code.py", "tests/training/test_subject.py",
    ],
    "training": [
        "tests/training/test_session.py", "tests/training/test_variations.py", "tests/training/test_trainer.py",
        "tests/training/test_resume.py", "tests/training/test_batches.py",
        "tests/training/test_augmentation.py", "tests/training/test_compiling.py",
    ],
    "optim": [
        "tests/optim/test_sam.py", "tests/optim/test_gsam.py", "tests/optim/test_flat_parameters.py",
        "tests/optim/test_vector.py", "tests/optim/test_skipped_on_the_device.py", "tests/optim/test_state.py",
        "tests/optim/test_passes.py", "tests/optim/test_random_state.py", "tests/optim/test_written_inputs.py",
        "tests/optim/test_batch_closure.py", "tests/optim/test_groups.py", "tests/optim/test_closure.py", "tests/optim/test_build.py",
        "tests/optim/test_calls_of_other_libraries.py", "tests/optim/test_sharpness_aware.py",
    ],
    "isolation": [
        "tests/test_precision.py", "tests/objective/test_threads.py", "tests/objective/test_hindrances.py",
        "tests/objective/test_attention.py", "tests/objective/test_objective_leaves_no_trace.py",
    ],
    "draws": ["tests/test_draws.py"],
    "alignment": ["tests/alignment"],
    "surfaces": ["tests/surfaces/test_merge_tree.py", "tests/surfaces/test_barrier_matrix.py"],
    "reductions": ["tests/test_reductions.py", "tests/linalg"],
    "errors": ["tests/test_devices.py", "tests/objective/test_memory_shortage.py"],
    "records": ["tests/records/test_reading.py", "tests/surfaces/test_damage.py", "tests/checkpoints/test_damage.py"],
}  # fmt: skip
"""The tests of a package; those of the file that mirrors the module run before the others."""

SLOW = ["tests/checkpoints/test_memory.py", "tests/linalg/test_interchange.py"]
"""Run only where they mirror the module: tests of memory and of other libraries."""

CPU_SECONDS = 60
"""A mutant whose tests take more counts as noticed: it loops."""

MANY = 12
"""From so many mutants of a package on, recording what its tests call saves more time than it takes."""

MIRRORS = {
    "paired": "verdict", "table": "verdict", "predictors": "rank_correlation", "runs": "selection",
    "alike": "compare", "gradient_noise": "edge_cases",
    "approximation_ratio": "edge_cases", "ascent": "edge_cases", "surrogate_gap": "edge_cases",
    "crossing": "pacbayes_sigma", "change": "pacbayes_sigma", "attention_symmetry": "geodesic_sharpness",
    "average_sharpness": "sharpness", "spectral_density": "spectrum", "weights": "forms", "locating": "recipes",
    "expected": "peak_memory",
}  # fmt: skip
"""The tests that stand for a module where none bears its name."""

FORECASTS = ("decay", "forecast", "tell", "_cost", "trace_cost")
"""Functions, files and calls that say how long something takes: no results, and left as they are."""

HARMLESS: dict[str, str] = {
    "landscape/records/reading.py check_regular: 512 * getattr(status, 'st_blocks', status.st_size) → "
    "513 * getattr(status, 'st_blocks', status.st_size)": "the limit means about a thousandth",
    "landscape/linalg/hutchinson.py module: 1 << 28 → 1 << 29": "memory of a block, not the numbers",
    "landscape/linalg/hutchinson.py module: 1 << 28 → 2 << 28": "memory of a block, not the numbers",
    "landscape/linalg/slq.py stochastic_lanczos_quadrature: max(1e-30, max(map(abs, diagonal))) → "
    "max(2e-30, max(map(abs, diagonal)))": "above zero for the zero operator, whatever it is",
    "landscape/linalg/slq.py stochastic_lanczos_quadrature: 1e-07 * max(1e-30, max(map(abs, diagonal))) → "
    "2e-07 * max(1e-30, max(map(abs, diagonal)))": "between float32's rounding and any direction that has weight",
    "landscape/linalg/hutchinson.py hutchinson: max(1, 4 * a.dimension) → max(2, 4 * a.dimension)": "n is 1 or more",
    "landscape/linalg/hutchpp.py hutchpp: max(1, 4 * a.dimension) → max(2, 4 * a.dimension)": "n is 1 or more",
    "landscape/linalg/lanczos.py _followed: return True → return False": "another random vector confirms the same",
    "landscape/comparison/predictors.py predictors: 1 if math.isnan(p.overall.tau) else -abs(p.overall.tau) → "
    "2 if math.isnan(p.overall.tau) else -abs(p.overall.tau)": "both come after every −|τ|",
    "landscape/comparison/rank_correlation.py rank_correlation: -1 → -2": "numpy infers any negative length",
    "landscape/comparison/intervals.py _power: 2 * edge → 3 * edge": "the power is 1 but for rounding on both sides",
    "landscape/comparison/intervals.py _power: shift > 8 → shift > 9": "where both hold the power is above 0.97",
    "landscape/comparison/intervals.py _power: shift > 8 → shift >= 8": "where both hold the power is above 0.97",
    "landscape/comparison/intervals.py _power: shift > 8 → shift <= 8": "where both hold the power is above 0.97",
    "landscape/comparison/intervals.py _power: np.where((shift > 8) & (shift > 2 * edge), 1.0, power) → "
    "np.where((shift > 8) & (shift > 2 * edge), 2.0, power)": "compared with a power of at most 1",
    "landscape/linalg/lanczos.py module: CHAIN = 16 → CHAIN = 17": "rows of memory, not the numbers",
    "landscape/linalg/lanczos.py module: 1 << 31 → 2 << 31": "memory of the basis, not the numbers",
    "landscape/linalg/lanczos.py module: 1 << 31 → 1 << 32": "memory of the basis, not the numbers",
    "landscape/linalg/lanczos.py lanczos: max(min(n, room, max_products + 1), min(n, count + 2)) + 1 → "
    "max(min(n, room, max_products + 1), min(n, count + 2)) + 2": "a row of memory",
    "landscape/linalg/lanczos.py lanczos: max_products + 1 → max_products + 2": "a row of memory",
    "landscape/linalg/lanczos.py __post_init__: torch.zeros(0, 0, dtype=torch.float64) → torch.zeros(0, "
    "1, dtype=torch.float64)": "replaced by the first product, before it no column is taken",
    "landscape/linalg/lanczos.py __post_init__: torch.zeros(0, 0, dtype=torch.float64) → torch.zeros(1, "
    "0, dtype=torch.float64)": "replaced by the first product, before it no column is taken",
    "landscape/linalg/lanczos.py pairs: self._broken = True → self._broken = False": "the value is NaN already and meets no tolerance",
    "landscape/linalg/lanczos.py _order: stable=True → stable=False": "torch keeps the order of so few equal values, and either of them is right",
    "landscape/linalg/lanczos.py _followed: True if self._complete else None → False if self._complete "
    "else None": "a complete spectrum ends the confirmation either way",
    "landscape/linalg/lanczos.py _multiply: 1e-13 * float(self._ritz.abs().max()) → 2e-13 * "
    "float(self._ritz.abs().max())": "both at the level of float64's rounding",
    "landscape/linalg/lanczos.py _followed: self.a.dimension - self._rows → self.a.dimension + self._rows": "a stricter bound, so that even fewer eigenvectors escape",
    "landscape/linalg/lanczos.py confirm: self._rows + CHAIN → self._rows - CHAIN": "an earlier or later restart, not the numbers",
    "landscape/linalg/lanczos.py confirm: len(self._basis) <= min(self.a.dimension, self._rows + CHAIN) "
    "→ len(self._basis) < min(self.a.dimension, self._rows + CHAIN)": "a restart one row later, not the numbers",
    "landscape/linalg/lanczos.py run: self.count + 4 → self.count + 5": "what a restart keeps beyond the requested pairs costs products, not numbers",
    "landscape/linalg/lanczos.py confirm: self.count + 1 → self.count + 2": "what a restart keeps beyond the requested pairs costs products, not numbers",
    "landscape/linalg/lanczos.py _restart: len(self._ritz) - 1 → len(self._ritz) - 2": "what a restart keeps beyond the requested pairs costs products, not numbers",
    "landscape/linalg/lanczos.py lanczos: count + 2 → count + 3": "a row of memory",
    "landscape/linalg/lanczos.py run: self.count + 4 → self.count - 4": "what a restart keeps beyond the requested pairs costs products, not numbers",
    "landscape/linalg/lanczos.py run: (outside @ self._vectors[:, self._requested]).abs() → outside @ "
    "self._vectors[:, self._requested]": "the order of the pending directions costs products, not numbers",
    "landscape/linalg/lanczos.py overlap: max(1, dimension) → max(2, dimension)": "a single direction that is left completes the spectrum before the bound is used",
    "landscape/linalg/lanczos.py _orthogonalised: first + second → first - second": "the second is the rounding error of the first",
    "landscape/linalg/lanczos.py confirm: -1 → -2": "what can be missed are copies of the pairs, which the chain meets "
    "before it rules out values beyond the last pair but one",
    "landscape/linalg/lanczos.py pairs: torch.ones(1, 1) → torch.ones(1, 2)": "one of the columns is taken",
    "landscape/checkpoints/names.py _prefix: len(starts) > 1 → len(starts) >= 1": "a single start of other shapes is found again as the closest prefix",
    "landscape/checkpoints/names.py _closest: :50 → :51": "a limit for files that have thousands",
    "landscape/checkpoints/opening.py open_file: stream.read(512) → stream.read(513)": "the marks of all kinds lie before",
    "landscape/checkpoints/pinned.py module: 2 ** 22 → 3 ** 22": "the size of a piece",
    "landscape/checkpoints/pinned.py module: 2 ** 22 → 2 ** 23": "the size of a piece",
    "landscape/linalg/power_iteration.py power_iteration: value + residual → value - residual": "both are finite or the result is not; neither differs but at overflow",
    "landscape/linalg/interchange.py product: copy=False → copy=True": "a copy has the same numbers",
    "landscape/linalg/interchange.py from_scipy: matrix.shape[0] → matrix.shape[1]": "square",
    "landscape/linalg/interchange.py as_operator: shape[0] → shape[1]": "both are n",
    "landscape/linalg/operator.py dense: matrix.shape[0] → matrix.shape[1]": "square",
    "landscape/curvature/trace.py by_example: torch.randint(0, 2 ** 62, (), generator=self.generator) → "
    "torch.randint(1, 2 ** 62, (), generator=self.generator)": "a seed",
    "landscape/curvature/trace.py by_example: 2 ** 62 → 3 ** 62": "a seed",
    "landscape/curvature/trace.py by_example: 2 ** 62 → 2 ** 63": "a seed",
    "landscape/curvature/trace.py by_example: min(freedom, 1000000000.0) → min(freedom, 2000000000.0)": "where the number of draws changes the interval no more",
    "landscape/measures/average_sharpness.py average_sharpness: block=1 → block=2": "a draw is one pair, whatever block",
    "landscape/measures/average_sharpness.py report: pairs >= MIN_PAIRS → pairs < MIN_PAIRS": "a forecast, not the number",
    "landscape/measures/average_sharpness.py report: pairs >= MIN_PAIRS → pairs > MIN_PAIRS": "a forecast, not the number",
    "landscape/measures/average_sharpness.py rises: point + sign * noise → point - sign * noise": "the same pair ±ε",
    "landscape/measures/path_norm.py _sums: 0 * ones → 0 / ones": "zeros either way",
    "landscape/measures/basin_width.py __init__: 0.01 * size_of_weights(objective) → 0.01 / size_of_weights(objective)": "where a search starts",
    "landscape/measures/basin_width.py __init__: 0.01 * size_of_weights(objective) → 0.02 * size_of_weights(objective)": "where a search starts",
    "landscape/measures/basin_width.py report: self.tolerance * mean → self.tolerance / mean": "a forecast, not the number",
    "landscape/measures/basin_width.py report: count >= MIN_DIRECTIONS → count < MIN_DIRECTIONS": "a forecast, not the number",
    "landscape/measures/basin_width.py report: count >= MIN_DIRECTIONS → count > MIN_DIRECTIONS": "a forecast, not the number",
    "landscape/measures/basin_width.py widths: Crossing(math.nan, 0.0, math.inf) → Crossing(math.nan, 1.0, math.inf)": "the residual of what is not a number",
    "landscape/measures/gradient_noise.py _normality: 1e-12 * abs(norms.mean()) → 2e-12 * "
    "abs(norms.mean())": "between float64's rounding of equal norms and any spread that has a distribution",
    "landscape/measures/reading.py _interval: reading.value + error → reading.value - error": "finite together",
    "landscape/measures/layer_eigenvalues.py product: 1: → 2:": "Lanczos multiplies one vector, which has no second axis",
    "landscape/training/session.py __init__: self.batches(0) → self.batches(1)": "every epoch has as many batches",
    "landscape/training/session.py __init__: determinism.derived_seed(recipe.seed, 0, 'optimizer') → "
    "determinism.derived_seed(recipe.seed, 1, 'optimizer')": "another seed, as good and as reproducible",
    "landscape/training/session.py finish_epoch: optimizer.sam_steps / optimizer.steps if optimizer.steps else 0.0 → "
    "optimizer.sam_steps / optimizer.steps if optimizer.steps else 1.0": "an epoch has a step",
    "landscape/curvature/trace.py by_example: freedom >= MIN_FREEDOM → freedom > MIN_FREEDOM": "a real number",
    "landscape/checkpoints/reading.py module: stored: int = 0 → stored: int = 1": "every reader says how many",
    "landscape/checkpoints/checkpoint.py _built: seed=0 → seed=1": "the weights of the file replace all of them",
    "landscape/checkpoints/locating.py _in_folder: :5 → :6": "how many names a message lists",
    "landscape/checkpoints/conversion.py _apart: storage.nbytes() == tensor.nbytes → storage.nbytes() != tensor.nbytes": "whether memory is copied",
    "landscape/records/reading.py _converted: dtype.itemsize + 8 if whole_number else 0 → dtype.itemsize + 8 if whole_number else 1": "below three bytes either way",
    "landscape/records/reading.py _array: stream.read(12) → stream.read(13)": "the header is read to its end afterwards",
    "landscape/records/reading.py _array: stream.read(1) → stream.read(2)": "at the end of the member",
    "landscape/records/reading.py _array: max(there, 1) → max(there, 2)": "a bound for values without bytes",
    "landscape/records/reading.py _array: allow_pickle=False → allow_pickle=True": "objects were refused before",
    "landscape/records/reading.py _array: (2, 0) → (2, 1)": "there is no version 2.1",
    "landscape/records/reading.py _array: max(0, fields + length - len(start)) → max(1, fields + length - len(start))": "a header ends by its own length",
    "landscape/records/reading.py _array: fields + length - len(start) → fields + length + len(start)": "a header ends by its own length",
    "landscape/records/reading.py read_arrays: :160 → :161": "the length of a message",
    "landscape/checkpoints/recipes.py module: _LARGEST = 1e+300 → _LARGEST = 2e+300": "no setting is near",
    "landscape/checkpoints/recipes.py __torch_dispatch__: self.left < 0 → self.left < 1": "a byte of more than a billion",
    "landscape/checkpoints/recipes.py __torch_dispatch__: 16 << 10 → 17 << 10": "about what a layer costs",
    "landscape/checkpoints/recipes.py __torch_dispatch__: 16 << 10 → 16 << 11": "about what a layer costs",
    "landscape/checkpoints/archive.py module: 2 ** 18 → 3 ** 18": "the size of a piece",
    "landscape/checkpoints/archive.py module: 2 ** 18 → 2 ** 19": "the size of a piece",
    "landscape/training/session.py _closure: itertools.count(1) → itertools.count(2)": "labels that only have to differ",
    "landscape/checkpoints/pickled_names.py read: len(texts) > 1 → len(texts) >= 1": "a name of one text is broken, and refused",
    "landscape/draws.py module: 1 << 22 → 2 << 22": "memory, not the numbers",
    "landscape/draws.py module: 1 << 22 → 1 << 23": "memory, not the numbers",
    "landscape/draws.py module: 1 << 14 → 2 << 14": "memory, not the numbers",
    "landscape/draws.py module: 1 << 14 → 1 << 15": "memory, not the numbers",
    "landscape/draws.py one_by_one: max(1, columns) → max(2, columns)": "how many short rows are drawn at once",
    "landscape/draws.py _drawn: max(1, len(blocks)) → max(2, len(blocks))": "how many short rows are drawn at once",
    "landscape/draws.py _drawn: stop - start → stop + start": "a copy more",
    "landscape/draws.py _drawn: len(part) * width → len(part) / width": "a copy more",
    "landscape/draws.py _byte_signs: torch.arange(256, device='cpu') → torch.arange(257, device='cpu')": "a row that no byte asks for",
    "landscape/draws.py of: torch.randint(0, 2 ** 62, (), generator=generator, device=generator.device, "
    "dtype=torch.int64) → torch.randint(1, 2 ** 62, (), generator=generator, device=generator.device, "
    "dtype=torch.int64)": "a seed",
    "landscape/draws.py _rounds: _ROUNDS + 1 → _ROUNDS + 2": "nothing is due in a round that is no multiple of four",
    "landscape/draws.py _signed: word + 2 ** 63 → word - 2 ** 63": "the same modulo 2⁶⁴",
    "landscape/optim/gradients_at.py __init__: (0, math.nan) → (1, math.nan)": "replaced by the first pass, before it no vector is the last one",
    "landscape/optim/vector.py module: SMALL = 1e-12 → SMALL = 2e-12": "far below the length of any gradient",
    "landscape/optim/vector.py unit: norm.device.type == 'cpu' → norm.device.type != 'cpu'": "on the CPU the same number, elsewhere a read, which the tests of waits count",
    "landscape/optim/vector.py unit: not isinstance(times, Tensor) → isinstance(times, Tensor)": "the same number by other calls",
    "landscape/isolation/precision.py _exact_products: on_gpu or torch.get_float32_matmul_precision() != "
    "'highest' → on_gpu and torch.get_float32_matmul_precision() != 'highest'": "of torch before 2.9",
    "landscape/isolation/precision.py _exact_products: torch.get_float32_matmul_precision() != 'highest' "
    "→ torch.get_float32_matmul_precision() == 'highest'": "of torch before 2.9",
    "landscape/isolation/precision.py _no_reduced_float32: (torch.backends.cudnn, 'allow_tf32', False) → "
    "(torch.backends.cudnn, 'allow_tf32', True)": "of torch before 2.9",
    "landscape/isolation/precision.py _no_reduced_products: _SCOPES[0] → _SCOPES[1]": "what does not inherit it is set by itself",
    "landscape/isolation/precision.py remark: stacklevel=2 → stacklevel=3": "the line that a warning names",
    "landscape/reductions.py module: 1 << 16 → 2 << 16": "memory, and numbers up to rounding",
    "landscape/reductions.py module: 1 << 16 → 1 << 17": "memory, and numbers up to rounding",
    "landscape/reductions.py module: 1 << 24 → 2 << 24": "memory, and numbers up to rounding",
    "landscape/reductions.py module: 1 << 24 → 1 << 25": "memory, and numbers up to rounding",
    "landscape/optim/flat_parameters.py module: 1 << 14 → 2 << 14": "a buffer, not the numbers",
    "landscape/optim/flat_parameters.py module: 1 << 14 → 1 << 15": "a buffer, not the numbers",
    "landscape/optim/flat_parameters.py begin_step: self.is_written = False → self.is_written = True": "every pass says it anew",
}
"""Mutants that may live, ``file function: change`` → why."""

SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


REVERSED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.Gt: ast.LtE, ast.GtE: ast.Lt,
}  # fmt: skip


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """What a node may be replaced by.

    A bound is moved from ``<`` to ``<=`` only where a side is visibly a whole number: a real number is hardly ever
    equal to another, so that no test could tell. Every comparison is reversed.
    """
    if isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in SWAPS and not _is_text(node):
        yield _with(node, op=SWAPS[type(node.op)]())
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        tables = [REVERSED] if type(node.ops[0]) in REVERSED else [SWAPS]
        if type(node.ops[0]) in REVERSED and any(map(_is_whole, (node.left, node.comparators[0]))):
            tables.append(SWAPS)
        for table in tables:
            yield _with(node, ops=[table[type(node.ops[0])](), *node.ops[1:]])
    elif isinstance(node, ast.BoolOp):
        yield _with(node, op=SWAPS[type(node.op)]())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        yield node.operand
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield _with(node, value=node.value + 1 if isinstance(node.value, int) else node.value * 2 or 1.0)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield _with(node, value=not node.value)
    elif (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("sqrt", "abs")
    ):
        yield node.args[0] if node.args else node.func.value


def _is_whole(node: ast.AST) -> bool:
    """Whether an expression is a count: an integer other than 0, a length, or a limit such as ``MIN_PROBES``."""
    if isinstance(node, ast.Constant):
        return type(node.value) is int and node.value != 0
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "len"
    return isinstance(node, ast.Name) and node.id.lstrip("_").startswith(
        ("MIN", "MOST", "LONGEST", "FEWEST", "max")
    )


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
    """Line, what is changed, and the whole text of every mutant of a file.

    Annotations, the words of errors, forecasts and the defaults of arguments, which are choices, stay as they are.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    ignored: set[int] = set()
    functions: dict[int, str] = {}
    for node in ast.walk(tree):
        skipped: list[ast.AST | None] = []
        if isinstance(node, (ast.FunctionDef, ast.Lambda)):
            skipped += [*node.args.defaults, *node.args.kw_defaults]  # choices, not results
        if isinstance(node, ast.FunctionDef):
            functions.update((id(inner), node.name) for inner in ast.walk(node))
            skipped += [node.returns, *node.decorator_list, *([node] if node.name in FORECASTS else [])]
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in FORECASTS:
            skipped.append(node)
        elif isinstance(node, ast.ClassDef):
            skipped += node.decorator_list
        elif isinstance(node, (ast.AnnAssign, ast.arg)):
            skipped.append(node.annotation)
        elif isinstance(node, ast.keyword) and node.arg == "strict":  # of zip: an assertion of our own
            skipped.append(node.value)
        elif isinstance(node, ast.Raise):
            skipped.append(node.exc)
        elif isinstance(node, ast.JoinedStr):
            skipped.append(node)
        ignored.update(id(inner) for part in skipped if part for inner in ast.walk(part))
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            for index, node in enumerate(value if isinstance(value, list) else [value]):
                if not isinstance(node, ast.AST) or id(node) in ignored:
                    continue
                for other in changes(node):
                    # A number alone does not say which of them it is.
                    shown = parent if isinstance(node, ast.Constant) else node
                    before = ast.unparse(shown)
                    _put(parent, field, index, ast.copy_location(other, node))
                    text = ast.unparse(ast.fix_missing_locations(tree))
                    after = ast.unparse(shown if shown is parent else other)
                    _put(parent, field, index, node)
                    where = functions.get(id(node), "module")
                    yield node.lineno, f"{where}: {before} → {after}", text  # type: ignore[attr-defined]


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


def room_tests(room: str) -> list[str]:
    """The test files of a package, except for the slow ones."""
    files = {
        str(file)
        for name in TESTS[room]
        for file in (sorted(Path(name).glob("test_*.py")) if Path(name).is_dir() else [Path(name)])
    }
    return sorted(files - set(SLOW))


def _room(path: Path) -> str:
    """The package of a module, or the module itself where it is in none."""
    return path.relative_to(ROOT).parts[1].removesuffix(".py")


def ordered_tests(path: Path) -> list[list[str]]:
    """The test files of a module: those that bear its name, then the others of its package."""
    room = _room(path)
    named = (path.stem, MIRRORS.get(path.stem, path.stem))
    files = {*room_tests(room), *(file for file in SLOW if f"tests/{room}/" in file)}
    mirrored = {file for file in files if Path(file).stem.removeprefix("test_") in named}
    return [part for part in (sorted(mirrored), sorted(files - mirrored - set(SLOW))) if part]


class Recorder:
    """A pytest plugin that records the functions of ``landscape`` that each test calls, and how long it takes."""

    def __init__(self) -> None:
        self.calls: dict[str, set[tuple[str, str]]] = defaultdict(set)
        self.seconds: Counter[str] = Counter()
        self.current = ""

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Counts calls for the next test."""
        self.current = nodeid
        threading.settrace(self.trace)
        sys.settrace(self.trace)

    def pytest_runtest_logreport(self, report: object) -> None:
        """Adds the time of a phase of a test."""
        self.seconds[report.nodeid] += report.duration  # type: ignore[attr-defined]

    def trace(self, frame: FrameType, event: str, argument: object) -> None:
        """Called by Python at the start of every function."""
        if "/landscape/" in frame.f_code.co_filename:
            self.calls[self.current].add((frame.f_code.co_filename, frame.f_code.co_name))


class Order:
    """A pytest plugin that runs some tests in an order of their own, and names the first one that fails."""

    def __init__(self, nodes: Sequence[str], pipe: int) -> None:
        self.rank = {node: rank for rank, node in enumerate(nodes)}
        self.pipe = pipe

    def pytest_collection_modifyitems(self, items: list) -> None:  # type: ignore[type-arg]
        """Sorts the tests; without an order all of them run."""
        if self.rank:
            items[:] = sorted(
                (item for item in items if item.nodeid in self.rank), key=lambda item: self.rank[item.nodeid]
            )

    def pytest_runtest_logreport(self, report: object) -> None:
        """Hands the name of a failed test to the parent process, and ends this one."""
        if report.failed:  # type: ignore[attr-defined]
            os.write(self.pipe, report.nodeid.encode())  # type: ignore[attr-defined]
            os._exit(1)


class Package:
    """The tests of a package: which of them a mutant has to meet, and in what order."""

    def __init__(self, files: list[str], *, recorded: bool) -> None:
        self.calls: dict[str, set[tuple[str, str]]] = {}
        self.seconds: dict[str, float] = {}
        self.last_failed: dict[Path, list[str]] = defaultdict(list)
        if recorded:
            self._record(files)

    def _record(self, files: list[str]) -> None:
        with tempfile.NamedTemporaryFile("w+") as answer:
            child = os.fork()
            if child == 0:
                recorder = Recorder()
                status = _pytest(files, recorder)
                sys.settrace(None)
                calls = {node: sorted(functions) for node, functions in recorder.calls.items()}
                # What the tests import late would be imported again by every mutant.
                homes = {
                    name: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()
                }
                modules = [name for name, file in homes.items() if not file.startswith((str(ROOT), "<"))]
                json.dump([calls, recorder.seconds, modules], answer)
                answer.flush()
                os._exit(int(status))
            if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
                raise SystemExit(f"the tests fail without any mutant: {' '.join(files)}")
            answer.seek(0)
            calls, self.seconds, modules = json.load(answer)
        self.calls = {node: {(file, name) for file, name in functions} for node, functions in calls.items()}
        own = {"landscape", "cli", "conftest", "__main__"}
        for name in modules:
            if name.partition(".")[0] not in own and name.isprintable():
                try:
                    importlib.import_module(name)
                except Exception:  # of an optional part: a mutant imports what it needs itself
                    continue
        gc.freeze()  # pytest collects garbage five times, which takes longer than most tests

    def runs(
        self, path: Path, function: str, options: argparse.Namespace
    ) -> list[tuple[list[str], list[str]]]:
        """The runs of pytest for a mutant: files, and the tests in them, which are all if none is named."""
        groups = ordered_tests(path)[: 1 if options.mirrored else None]
        if not self.calls:
            return [(group, []) for group in groups]
        files = [file for group in groups for file in group]
        nodes = [node for node in self.seconds if _file(node) in files]
        own = [node for node in nodes if (str(path), function) in self.calls.get(node, ())]
        # What runs at import matters to every test.
        own = nodes if function == "module" else own
        recent = {node: -rank for rank, node in enumerate(self.last_failed[path])}
        own.sort(key=lambda node: (recent.get(node, 1), _file(node) not in groups[0], self.seconds[node]))
        # The other tests may still depend on it through a cache or through a fixture that they share.
        others = [] if options.direct else [node for node in nodes if node not in set(own)]
        runs = [(list(dict.fromkeys(map(_file, run))), run) for run in (own, others) if run]
        slow = [file for file in files if file in SLOW]  # not recorded
        return [*runs, *([(slow, [])] if slow else [])]

    def noticed(self, path: Path, text: str, function: str, options: argparse.Namespace) -> bool:
        """Whether a test fails with the file changed."""
        runs = self.runs(path, function, options)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
            sys.meta_path.insert(0, Mutated(path, text))
            os._exit(int(any(_pytest(files, Order(nodes, writing)) for files, nodes in runs)))
        os.close(writing)
        with os.fdopen(reading) as pipe:
            failed = pipe.read()
        recent = self.last_failed[path]
        if failed in recent:
            recent.remove(failed)
        recent.extend([failed] if failed else [])
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0


def _file(node: str) -> str:
    return node.partition("::")[0]


def _pytest(files: list[str], plugin: object) -> int:
    """Exit status of a silent run that stops at the first failure."""
    import pytest

    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    return pytest.main(["-x", "-q", "-n", "0", "-m", "", "-p", "no:cacheprovider", *files], plugins=[plugin])


def main() -> int:
    """Runs the mutants that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", default=FILES, metavar="FILE[:LINE]")
    parser.add_argument("--sample", type=int, help="number of mutants, drawn from all by the seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mirrored", action="store_true", help="only the tests that bear the module's name")
    parser.add_argument("--direct", action="store_true", help="only the tests that call the changed function")
    options = parser.parse_args()
    os.chdir(ROOT)
    # Not the link to the package that an editable installation makes, which is another path.
    sys.path.insert(0, str(ROOT))
    sys.dont_write_bytecode = True
    everything = []
    for name in options.files:
        file, _, line = name.partition(":")
        for path in sorted(Path(file).rglob("*.py")) if Path(file).is_dir() else [Path(file)]:
            if path.stem not in FORECASTS:
                everything += [(path.resolve(), *m) for m in mutants(path) if line in ("", str(m[0]))]
    selected = everything
    if options.sample is not None:
        # By a hash of each one's name, so that code that changes elsewhere leaves the sample nearly as it is.
        key = [hashlib.sha256(f"{options.seed} {m[0].name} {m[2]}".encode()).digest() for m in everything]
        selected = [everything[k] for k in sorted(range(len(key)), key=key.__getitem__)][: options.sample]
    import matplotlib.pyplot
    import pytest
    import scipy.stats
    import torch._dynamo
    import torchvision

    torch.set_num_threads(1)
    assert all((matplotlib.pyplot, pytest, scipy.stats, torchvision))
    packages: dict[str, Package] = {}
    totals: dict[str, Counter[str]] = defaultdict(Counter)
    rooms = Counter(_room(path) for path, *_ in selected)
    left = Counter(path for path, *_ in selected)
    for path, number, change, text in selected:
        file, room = str(path.relative_to(ROOT)), _room(path)
        totals[file]["mutants"] += 1
        if room not in packages:
            packages[room] = Package(room_tests(room), recorded=rooms[room] >= MANY)
        if f"{file} {change}" in HARMLESS:
            totals[file]["harmless"] += 1
        elif not packages[room].noticed(path, text, change.partition(":")[0], options):
            totals[file]["not noticed"] += 1
            print(f"{file}:{number} {change}", flush=True)
        left[path] -= 1
        if not left[path] and not options.sample:
            counts = ", ".join(f"{count} {name}" for name, count in totals[file].items())
            print(f"{file}: {counts}", flush=True)
    lived = sum(counts["not noticed"] for counts in totals.values())
    print(f"{len(selected)} mutants of {len(everything)}, {lived} not noticed")
    return int(lived > 0)


if __name__ == "__main__":
    sys.exit(main())
