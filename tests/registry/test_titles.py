"""Every optimizer has the name that papers write, and nothing else is changed."""

import sys

import pytest

from landscape.optim import OPTIMIZERS
from landscape.registry.titles import row_title, title


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if not OPTIMIZERS[name].is_base])
def test_the_title_of_an_optimizer_is_how_its_module_begins(name):
    written = (sys.modules[OPTIMIZERS[name].build.__module__].__doc__ or "").partition(":")[0]
    assert title(name) == written
    assert title(name) == title(name.replace("-", "_"))


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if OPTIMIZERS[name].is_base])
def test_every_base_has_a_title(name):
    assert title(name) != name
    assert title(name).lower() == name


def test_options_are_written_with_their_symbols():
    assert title("gsam:rho=0.1,alpha=0.4") == "GSAM (ρ = 0.1, α = 0.4)"
    assert title("looksam:k=10") == "LookSAM (k = 10)"
    assert title("n-step-sam:ascent_steps=3") == "n-step SAM (ascent steps = 3)"
    assert title("adamw:beta1=0.5") == "AdamW (β₁ = 0.5)"


@pytest.mark.parametrize(
    "text", ["", " ", "resnet18", "0.1", "my run", "sam-0", "SAM", "sam:rho=1,rho=2", "a:b"]
)
def test_other_text_stays(text):
    assert title(text) == text


def test_the_label_of_a_row_has_titles_where_its_field_is_an_optimizer():
    assert row_title("sam:rho=0.1", "optimizer") == "SAM (ρ = 0.1)"
    assert row_title("sam lr=0.5", "optimizer, lr") == "SAM lr=0.5"
    assert row_title("0.5 optimizer=sam", "lr, optimizer") == "0.5 optimizer=SAM"
    assert row_title("sam", "model") == "sam"
    assert row_title("sam and more", "optimizer") == "sam and more"
