"""How many functions of the library lie between a question and torch: few enough to be read in one sitting."""

import sys
from collections.abc import Callable
from pathlib import Path

import problems

import landscape
from landscape.curvature.operators import OPERATORS
from landscape.objective import Objective
from landscape.surfaces.plane import build_plane

ROOT = str(Path(landscape.__file__).parent)


def walks(run: Callable[[], object], ends: set[str]) -> list[list[str]]:
    """The functions of the library on the stack whenever one of torch with such a name is called."""
    stack: list[str] = []
    paths: list[list[str]] = []

    def profile(frame: object, event: str, argument: object) -> None:
        code = frame.f_code  # type: ignore[attr-defined]
        ours = code.co_filename.startswith(ROOT)
        if event == "call" and ours:
            stack.append(code.co_qualname)
        elif event == "return" and ours and stack and stack[-1] == code.co_qualname:
            stack.pop()
        elif event == "call" and code.co_qualname in ends:
            paths.append(list(stack))

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(before)
    return paths


def objective() -> Objective:
    plain = problems.small_objective(batch=30)
    plain.hessian_product(plain.point)  # the first checks come before the first product, and only there
    return plain


def test_a_hessian_product_takes_at_most_nine_stops() -> None:
    plain = objective()
    matrix = OPERATORS["hessian"](plain.at(plain.point))
    plain.evaluate(2 * plain.point)  # the network has moved: the graphs are built again
    for _ in range(2):
        paths = walks(lambda: matrix @ plain.point, {"grad", "backward", "Linear.forward"})
        assert paths
        assert max(map(len, paths)) <= 9, max(paths, key=len)


def test_a_point_of_a_surface_takes_at_most_twenty_five_stops_and_goes_through_the_mean() -> None:
    plain = objective()
    plane = build_plane("random", plain)
    paths = walks(lambda: landscape.sample_surface(plain, plane, points=3), {"Linear.forward"})
    assert paths
    assert max(map(len, paths)) <= 25
    assert all("Mean.over" in path for path in paths)
