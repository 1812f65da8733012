"""``landscape verify`` prints what it compared, and its exit code says whether all agree."""

import dataclasses
import json

from landscape.verification import other_tools as verification


def test_the_exit_code_is_4_if_one_number_is_beyond_the_stated_errors_and_0_if_none_is(
    landscape, runs, monkeypatch
):
    checkpoint = runs / "sgd-0" / "checkpoint.pt"
    agreed = landscape("verify", checkpoint, "--limit", 64)
    assert agreed.code == 0, agreed.err
    assert agreed.out.count(" ok") == 6
    assert max(map(len, agreed.out.splitlines())) <= 80
    as_json = json.loads(landscape("verify", checkpoint, "--limit", 64, "--format", "json").out)
    assert [row["agrees"] for row in as_json] == [True] * 6
    honest = verification._eigsh

    def one_per_cent_off(*given):
        found = honest(*given)
        return dataclasses.replace(found, value=1.01 * found.value)

    monkeypatch.setattr(verification, "_eigsh", one_per_cent_off)
    lines = landscape("verify", checkpoint, "--limit", 64, "--format", "jsonl")
    rows = list(map(json.loads, lines.out.splitlines()))
    assert (lines.code, [row["agrees"] for row in rows].count(False)) == (4, 1)
    assert rows[0].keys() == as_json[0].keys()
    differing = landscape("verify", checkpoint, "--limit", 64)
    assert differing.code == 4
    assert "DIFFERS" in differing.out
    assert "dominant-eigenvalue by scipy eigsh" in differing.err
