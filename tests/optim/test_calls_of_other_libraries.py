"""The calls of davda54/sam and its kin: each is answered with the call that is to be written."""

import copy
import pickle

import pytest
import torch
from torch import nn

from landscape.errors import UsageError
from landscape.optim import GSAM, SAM

NET = nn.Linear(3, 2)


def sgd() -> torch.optim.SGD:
    return torch.optim.SGD(NET.parameters(), lr=0.1)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda: SAM(NET.parameters(), torch.optim.SGD, rho=0.05, lr=0.1, momentum=0.9),
            "SAM(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), rho=0.05)",
        ),
        (
            lambda: GSAM(NET.parameters(), base_optimizer=torch.optim.AdamW, alpha=0.2, lr=1e-3),
            "GSAM(torch.optim.AdamW(model.parameters(), lr=0.001), alpha=0.2)",
        ),
        (lambda: SAM(NET, lr=0.1), "SAM(torch.optim.SGD(model.parameters(), lr=0.1))"),
        (lambda: SAM(torch.optim.Adam), "SAM(torch.optim.Adam(model.parameters(), lr=0.1))"),
        (lambda: SAM(sgd(), lr=0.2), "SAM takes no lr, which is an option of its base optimizer"),
    ],
)
def test_another_form_of_the_call_is_translated(call, says):
    with pytest.raises(UsageError) as failure:
        call()
    assert says in str(failure.value)


def test_the_translated_call_works():
    assert SAM(torch.optim.SGD(NET.parameters(), lr=0.1, momentum=0.9), rho=0.05).rho == 0.05
    assert SAM(base=sgd()).rho == 0.05


def test_the_two_steps_are_one():
    optimizer = SAM(sgd())
    assert not hasattr(optimizer, "first_step")
    for name in ("first_step", "second_step"):
        with pytest.raises(AttributeError, match=rf"SAM has no {name}.*optimizer.step\(closure\)"):
            getattr(optimizer, name)(zero_grad=True)
    with pytest.raises(AttributeError, match="no attribute 'frist_step'"):
        _ = optimizer.frist_step


def test_an_unknown_option_and_copies_are_as_ever():
    with pytest.raises(TypeError, match="unexpected keyword argument 'rh'"):
        SAM(sgd(), rh=0.1)
    assert (
        copy.deepcopy(SAM(sgd(), rho=0.2)).rho == pickle.loads(pickle.dumps(SAM(sgd(), rho=0.2))).rho == 0.2
    )


def test_the_error_of_a_property_is_not_hidden():
    class Broken(SAM):
        @property
        def half(self) -> float:
            return self.nothing_of_this_name

    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        _ = Broken(sgd()).half
