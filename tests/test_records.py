"""Records come back as they were written, and what is torn or foreign is skipped and counted."""

import dataclasses
import json
import math

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records_made import estimate, provenance

from landscape import records
from landscape.errors import InputError

NUMBERS = st.floats(allow_nan=True, allow_infinity=True)


def same(a, b):
    return a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b))


@given(value=NUMBERS, error=st.none() | NUMBERS)
def test_every_number_comes_back_bit_for_bit(value, error):
    written = estimate(value, error=error)
    line = records.to_json(written)
    read = records.from_json(line)
    assert same(read.value, value)
    assert same(read.standard_error, error)
    assert dataclasses.replace(read, value=0, standard_error=None) == dataclasses.replace(
        written, value=0, standard_error=None
    )
    jsonschema.validate(json.loads(line, parse_constant=pytest.fail), records.json_schema())


def test_text_of_any_language_and_line_separators_stay_in_one_record(tmp_path):
    written = estimate(origin=provenance(data="imagefolder:root=Bilder\u2028ö\x85\x0c"))
    records.append(tmp_path / "r.jsonl", written)
    assert records.read(tmp_path / "r.jsonl") == records.Records((written,), 0)


def test_numbers_in_details_that_json_has_no_literal_for_become_words():
    line = records.to_json(
        estimate(details={"max": math.inf, "quantiles": (1.0, math.nan), "by": {0: -math.inf}})
    )
    read = records.from_json(line)
    assert read.details == {"max": "Infinity", "quantiles": [1.0, "NaN"], "by": {"0": "-Infinity"}}
    assert records.to_json(read) == line


def test_a_torn_last_line_is_counted_and_what_is_appended_next_is_whole(tmp_path):
    file = tmp_path / "r.jsonl"
    records.append(file, estimate(1.0))
    whole = file.read_bytes()
    for length in range(1, len(whole) - 2, 37):
        file.write_bytes(whole + whole[:length])
        assert records.read(file) == records.Records((estimate(1.0),), 1)
        records.append(file, estimate(2.0))
        held = records.read(file)
        assert ([e.value for e in held.estimates], held.unreadable) == ([1.0, 2.0], 1)


def changed(**fields):
    return json.dumps({**json.loads(records.to_json(estimate())), **fields})


FOREIGN = {
    "another schema": changed(schema="landscape.measure/2"),
    "no schema": '{"value": 1}',
    "a list": "[1, 2]",
    "a number": "3",
    "text": "epoch 3 of 20",
    "depth": "[" * 100_000,
    "bytes": "\udc80\udcff",
    "no value": changed(value=None),
    "a name that is no text": changed(measure=3),
    "settings that are no table": changed(settings=[1]),
    "converged that is no truth": changed(converged="yes"),
    "provenance that is no table": changed(provenance="here"),
    "provenance without dtype": changed(provenance={"landscape": "1"}),
    "a cost that is no number": changed(cost={"gradients": "many"}),
}


@pytest.mark.parametrize("line", list(FOREIGN.values()), ids=list(FOREIGN))
def test_a_foreign_line_is_skipped_and_counted(tmp_path, line):
    file = tmp_path / "r.jsonl"
    records.append(file, estimate(1.0))
    with file.open("ab") as stream:
        stream.write(line.encode(errors="surrogateescape") + b"\n\n")
    records.append(file, estimate(2.0))
    held = records.read(file)
    assert ([e.value for e in held.estimates], held.unreadable) == ([1.0, 2.0], 1)


def test_a_file_that_does_not_exist_is_an_error_that_names_it(tmp_path):
    with pytest.raises(InputError, match=r"none\.jsonl does not exist"):
        records.read(tmp_path / "none.jsonl")


def find(estimates, **changes):
    asked = {"measure": "hessian-trace", "settings": {"rho": 0.05}, "provenance": provenance(), **changes}
    return records.find(estimates, **asked)


KNOWN = estimate(3.0, settings={"rho": 0.05})


def test_a_record_is_found_again_after_a_round_trip_and_the_last_one_wins():
    read = [records.from_json(records.to_json(e)) for e in (KNOWN, dataclasses.replace(KNOWN, value=4.0))]
    found = find(read)
    assert found is not None
    assert found.value == 4.0


def test_a_setting_without_literal_in_json_is_found_again():
    known = estimate(settings={"span": math.inf, "layers": (1, 2)})
    assert find([records.from_json(records.to_json(known))], settings={"span": math.inf, "layers": (1, 2)})


def test_another_measure_or_setting_is_not_the_same_quantity():
    assert find([KNOWN], measure="loss") is None
    assert find([KNOWN], settings={"rho": 0.1}) is None
    assert find([KNOWN], settings={}) is None
    assert find([], settings={}) is None


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(provenance())])
def test_a_record_of_any_other_provenance_is_not_the_same_quantity(field):
    old = getattr(provenance(), field)
    other = old + 1 if isinstance(old, int) else {"seed": 1} if isinstance(old, dict) else f"{old}x"
    assert find([KNOWN], provenance=dataclasses.replace(provenance(), **{field: other})) is None
