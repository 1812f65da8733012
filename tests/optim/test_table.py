"""Every row can be built from its name, says what it is, and costs what it says."""

import re

import pytest
import torch
from optim.battery import CONTEXT, VARIANTS, build, mlp

from landscape.optim import OPTIMIZERS, SharpnessAware

ALL = list(OPTIMIZERS)


@pytest.mark.parametrize("name", ALL)
def test_a_row_says_what_it_is_and_where_it_comes_from(name: str) -> None:
    row = OPTIMIZERS.row(name)
    assert row.summary
    assert row.reference
    assert not {"model", "base", "lr"} & set(row.options)
    assert row.build.__doc__


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_built_with_its_defaults_from_a_base(name: str) -> None:
    model = mlp()
    built = build(name, model)
    assert isinstance(built, SharpnessAware)
    assert isinstance(built.base, torch.optim.SGD)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_option_of_a_row_has_a_default_or_is_known_to_the_trainer_and_a_place_in_the_docstring(
    name: str,
) -> None:
    row = OPTIMIZERS[name]
    described = "\n".join(
        kind.__doc__ or "" for kind in row.build.__mro__ if issubclass(kind, SharpnessAware)
    )
    for option in row.options.values():
        assert not option.required or option.name in CONTEXT  # which the trainer knows
        assert re.search(rf"^ +(\w+, )*{option.name}(, \w+)*: ", described, re.MULTILINE)


def test_names_with_underscores_are_the_same_names() -> None:
    assert OPTIMIZERS.row("cr_sam") is OPTIMIZERS.row("cr-sam")
