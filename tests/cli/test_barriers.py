"""``landscape barriers``: a matrix on the screen, and the same numbers as CSV and JSON."""

import csv
import io
import json

import pytest

SMALL = ("--points", "3", "--limit", "20", "--device", "cpu", "-q")


def test_the_matrix_the_lines_and_the_objects_have_the_same_numbers(landscape, runs):
    asked = ("barriers", "runs/sgd-0", "runs/sgd-1", "runs/sam-0", "--align", "--split", "both", *SMALL)
    table = landscape(*asked)
    assert table.code == 0, table.err
    assert max(map(len, table.out.splitlines())) <= 80
    rows = list(csv.DictReader(io.StringIO(landscape(*asked, "--format", "csv").out)))
    objects = json.loads(landscape(*asked, "--format", "json").out)
    assert len(rows) == 2 * len(objects) == 6
    for row in rows:
        (pair,) = [
            each for each in objects if (each["first"], each["second"]) == (row["first"], row["second"])
        ]
        assert float(row["barrier"]) == pair["barriers"][row["loss"]]["height"]
        assert float(row["aligned_barrier"]) == pair["aligned"][row["loss"]]["height"]
        assert pair["aligned_distance"] <= pair["distance"]
        assert f"{float(row['barrier']):.4g}" in table.out
    assert table.out.startswith("barrier of loss")
    assert "\n\nbarrier of test loss" in table.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["runs/sgd-0"], "name at least two"),
        (["runs/sgd-0", "runs/sgd-1", "--align", "--parameters", "layers.1.*"], "leave out --parameters"),
    ],
)
def test_what_has_no_barrier_is_refused(landscape, runs, arguments, says):
    refused = landscape("barriers", *arguments, *SMALL)
    assert refused.code == 2
    assert says in refused.error
