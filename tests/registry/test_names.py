"""Names a user can type."""

from typing import Literal

import pytest

from landscape.errors import UsageError
from landscape.registry.names import NameTable, Row, Specification, split, split_of


def thing(
    seen: object,
    *,
    rho: float = 0.05,
    steps: int = 3,
    mode: Literal["a", "b"] = "a",
    on: bool = True,
    limit: int | None = None,
    context: str = "",
) -> dict[str, object]:
    return {
        "seen": seen,
        "rho": rho,
        "steps": steps,
        "mode": mode,
        "on": on,
        "limit": limit,
        "context": context,
    }


TABLE = NameTable("thing", [Row("some-thing", thing, "a thing", hidden=frozenset({"context"}))])


def test_options_get_the_type_of_the_annotation() -> None:
    built = TABLE.build("some-thing:rho=1,steps=5,mode=b,on=false,limit=none", 7, context="c", other=1)
    assert built == {
        "seen": 7,
        "rho": 1.0,
        "steps": 5,
        "mode": "b",
        "on": False,
        "limit": None,
        "context": "c",
    }
    assert isinstance(built["rho"], float)


def test_underscores_and_dashes_are_both_accepted() -> None:
    assert TABLE.parse("some_thing:rho=2").name == "some-thing"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("some-thin", "did you mean 'some-thing'"),
        ("some-thing:rh=1", "no option 'rh' .did you mean 'rho'"),
        ("some-thing:context=1", "no option 'context'"),
        ("some-thing:steps=1.5", "steps=1.5 is not a whole number"),
        ("some-thing:mode=c", "mode=c is not one of a, b"),
        ("some-thing:rho=1,rho=2", "set twice"),
        ("some-thing:rho=1,x", "'x' in .* is not option=value"),
        (" ", "empty name"),
    ],
)
def test_a_mistake_is_answered_with_the_way_out(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        TABLE.parse(text)


def test_options_are_behind_the_last_colon_only() -> None:
    assert split("imagefolder:/data/x") == Specification("imagefolder:/data/x", {})
    assert split("torchvision:resnet18:num_classes=10") == Specification(
        "torchvision:resnet18", {"num_classes": "10"}
    )


def test_the_text_of_a_specification_parses_to_itself() -> None:
    specification = TABLE.parse("some-thing:rho=0.1,mode=b")
    assert TABLE.parse(str(specification)) == specification


def test_settings_are_all_options_with_their_values() -> None:
    assert TABLE.settings("some-thing:rho=0.1") == {
        "rho": 0.1,
        "steps": 3,
        "mode": "a",
        "on": True,
        "limit": None,
    }


@pytest.mark.parametrize(("count", "shown"), [(12, "n11"), (13, "n5, … (13, see `landscape list`)")])
def test_a_message_lists_a_few_names_only(count, shown):
    table = NameTable("thing", [Row(f"n{i}", dict, "") for i in range(count)])
    with pytest.raises(UsageError) as caught:
        table.row("zzz")
    assert str(caught.value).endswith(shown)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("test:accuracy", ("test", "accuracy")),
        ("train:hessian-trace", ("train", "hessian-trace")),
        (" test:surrogate-gap:rho=0.1", ("test", "surrogate-gap:rho=0.1")),
        ("surrogate-gap:rho=0.1", (None, "surrogate-gap:rho=0.1")),
        ("accuracy", (None, "accuracy")),
        ("test", (None, "test")),
        ("tests:accuracy", (None, "tests:accuracy")),
    ],
)
def test_the_split_in_front_of_a_measure_is_taken_off(text, expected):
    assert split_of(text) == expected
