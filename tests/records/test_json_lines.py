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
SCHEMA = jsonschema.Draft202012Validator(records.json_schema())
KNOWN = estimate(3.0, settings={"rho": 0.05})


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
    SCHEMA.validate(json.loads(line, parse_constant=pytest.fail))


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
    "a literal that is not JSON": changed(value="NaN").replace('"NaN"', "NaN"),
    "a field that is not known": changed(verdict="good"),
}


def mutants():
    """Every field of a record, and of what is in it, with values of other types and of absurd sizes."""
    wrong = [[], ["x"], {}, {"x": 1}, 10**400, -(10**400), True, 10**4000, "\x1b[2J"]
    for place in ((), ("provenance",), ("cost",), ("details",), ("provenance", "recipe")):
        whole = json.loads(records.to_json(RICH))
        names = whole
        for key in place:
            names = names[key]
        for name in names:
            for value in wrong:
                changed = json.loads(records.to_json(RICH))
                inside = changed
                for key in place:
                    inside = inside[key]
                inside[name] = value
                yield (*place, name), changed


RICH = estimate(
    1.5,
    error=0.1,
    settings={"rho": 0.1, "layers": ["a", "b"]},
    details={
        "residual": 0.1,
        "undefined": "no",
        "normality_p": 0.5,
        "grid": [0.0],
        "density": [1.0],
        "density_error": None,
        "qq": {"theoretical": [0.0], "ordered": [1.0]},
        "anything": {"deep": [1, "x", None]},
    },
)
FLOATS = {"value", "standard_error", "residual", "normality_p", "loss_value"} | {
    "gradients",
    "products",
    "evaluations",
    "seconds",
}
TEXTS = {
    "measure",
    "unit",
    "undefined",
    "device",
    "model",
    "data",
    "split",
    "loss",
    "checkpoint",
    "landscape",
}


def test_a_field_of_another_type_is_refused_as_the_published_schema_says():
    """One description: what is read is what the schema allows, field by field."""
    read_though_refused = []
    refused = []
    for place, fields in mutants():
        try:
            record = records.from_json(json.dumps(fields))
        except InputError as failure:
            refused.append(str(failure))
            continue
        if not SCHEMA.is_valid(fields):
            read_though_refused.append(place)
        within = dataclasses.asdict(record)
        for key in place:
            within = within[key]
        if place[-1] in FLOATS:
            assert isinstance(within, float)
        if place[-1] in TEXTS and "recipe" not in place:
            assert isinstance(within, str)
    assert read_though_refused == []
    assert len(refused) > 200
    assert "\x1b" not in "".join(refused)


def test_numbers_that_are_formatted_are_numbers_also_where_they_are_not_finite():
    read = records.from_json(records.to_json(estimate(details={"residual": math.nan, "grid": [math.inf]})))
    assert f"{read.details['residual']:.1e}" == "nan"
    assert read.details["grid"] == [math.inf]


def test_every_field_of_the_dataclasses_is_in_the_schema():
    properties = records.json_schema()["properties"]
    assert {f.name for f in dataclasses.fields(KNOWN)} == set(properties) - {"schema", "epoch", "step"}
    for name, part in (("provenance", provenance()), ("cost", KNOWN.cost)):
        assert [f.name for f in dataclasses.fields(part)] == list(properties[name]["properties"])


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


@pytest.mark.parametrize(
    "field", [f.name for f in dataclasses.fields(provenance()) if f.name != "checkpoint_file"]
)
def test_a_record_of_any_other_provenance_is_not_the_same_quantity(field):
    old = getattr(provenance(), field)
    other = old + 1 if isinstance(old, (int, float)) else {"seed": 1} if isinstance(old, dict) else f"{old}x"
    assert find([KNOWN], provenance=dataclasses.replace(provenance(), **{field: other})) is None


def test_a_file_of_another_name_holds_the_same_weights():
    assert find([KNOWN], provenance=provenance(checkpoint_file="copy.pt")) is KNOWN


@pytest.mark.parametrize("field", ["examples", "loss_value"])
def test_a_record_of_before_does_not_say_enough_to_be_used_again(field):
    line = json.loads(records.to_json(KNOWN))
    del line["provenance"][field]
    old = records.from_json(json.dumps(line))
    assert getattr(old.provenance, field) is None
    assert find([old]) is None


def test_examples_that_cannot_be_hashed_may_have_changed():
    opaque = provenance(examples=None)
    assert find([estimate(settings={"rho": 0.05}, origin=opaque)], provenance=opaque) is None


@pytest.mark.parametrize(
    ("dtype", "near", "far"), [("float32", 1e-5, 1e-3), ("float64", 1e-14, 1e-11)], ids=["float32", "float64"]
)
def test_the_loss_at_the_point_must_be_the_one_that_was_recorded(dtype, near, far):
    known = estimate(settings={"rho": 0.05}, origin=provenance(dtype=dtype, loss_value=2.0))
    for change, same in ((near, True), (-near, True), (far, False), (-far, False), (math.nan, False)):
        now = provenance(dtype=dtype, loss_value=2.0 * (1 + change))
        assert (find([known], provenance=now) is not None) == same
    assert find([known], provenance=provenance(dtype=dtype, loss_value=None)) is known


def test_what_has_changed_since_is_said_of_the_record_that_answers_the_same_question():
    def reason(record=KNOWN, **now):
        asked = {"measure": "hessian-trace", "settings": {"rho": 0.05}, "provenance": provenance(**now)}
        return records.outdated([record], **asked)

    assert reason() is None
    assert reason(examples="0" * 12) == "the examples have changed"
    assert reason(code="0" * 12) == "the Python code has changed"
    assert reason(checkpoint="b" * 64) == "the weights have changed"
    assert reason(loss_value=0.75) == "its loss is 0.5, and here it is 0.75"
    assert reason(torch="9.9") == "torch was 2.6.0 and is 9.9"
    for other in (
        {"split": "test"},
        {"num_examples": 7},
        {"checkpoint": "b" * 64, "checkpoint_file": "other.pt"},
    ):
        assert reason(**other) is None
    assert records.outdated([KNOWN], measure="loss", settings={}, provenance=provenance()) is None
