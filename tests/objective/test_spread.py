"""A network whose weights lie on several devices: the numbers of one device, by passes that cross between them."""

import copy
import re

import numpy as np
import pretend_device
import problems
import pytest
import torch
from short_measures import short
from torch import Tensor, nn

from landscape.errors import InputError
from landscape.measures import MEASURES, measure
from landscape.objective import Objective
from landscape.surfaces.sampling import sample_surface

CE = nn.CrossEntropyLoss()
X, Y = problems.classification(24, 6, 3, dtype=torch.float32)
PRETEND = pytest.mark.skipif(bool(pretend_device.reason_without()), reason=pretend_device.reason_without())
UNSTEADY = {
    "dominant-eigenvalue",
    "top-eigenvalues",
    "layer-eigenvalues",
    "spectral-density",
    "block-spectra",
}
"""Measures by iterations that another rounding may end a step earlier, within their residual."""


class Divided(nn.Module):
    """Moves its activations itself, as networks that are divided over devices do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(x)).to(self.norm.weight.device)
        scores: Tensor = self.last(self.norm(hidden)).to(x.device)
        return scores


def networks() -> tuple[nn.Module, nn.Module]:
    """The same network on the CPU, and with its later layers on another device."""
    torch.manual_seed(0)
    whole = Divided().eval()
    spread = copy.deepcopy(whole)
    for layer in (spread.norm, spread.last):
        layer.to(pretend_device.pretend_device())
    return whole, spread


@PRETEND
@pytest.mark.parametrize("copied", [True, False])
def test_derivatives_of_a_network_on_two_devices_are_those_of_one(copied: bool) -> None:
    whole, spread = networks()
    expected, found = (Objective(m, CE, [(X, Y)], copy=copied) for m in (whole, spread))
    assert any("weights on 2 devices" in note for note in found.notes)
    assert found.point.device.type == "cpu"
    assert torch.equal(found.point, expected.point)
    assert found.loss == pytest.approx(expected.loss, rel=1e-6)
    assert torch.allclose(found.gradient, expected.gradient, atol=1e-6)
    vectors = torch.eye(expected.dimension)
    for product in ("hessian_product", "gauss_newton_product", "empirical_fisher_product"):
        ours, theirs = (getattr(each, product)(vectors) for each in (found, expected))
        assert torch.allclose(ours, theirs, atol=1e-6), product
    assert found.engine.confirmed
    assert found.evaluate(found.point + 0.1).loss == pytest.approx(
        expected.evaluate(expected.point + 0.1).loss, rel=1e-6
    )
    if copied:
        assert {p.device.type for p in spread.parameters()} == {"cpu", "pretend"}
        assert all(
            torch.equal(a.cpu(), b) for a, b in zip(spread.parameters(), whole.parameters(), strict=True)
        )


@PRETEND
@pytest.mark.parametrize("name", [*MEASURES])
def test_every_measure_of_a_network_on_two_devices_is_that_of_one(name: str) -> None:
    whole, spread = (Objective(m, CE, [(X, Y)]) for m in networks())
    (expected,), (found,) = (measure(each, [short(name)]) for each in (whole, spread))
    if "trace" in name:  # by other probes than of single examples, which need the whole network on one device
        trace, scale = whole.hessian_product(torch.eye(whole.dimension)).trace().item(), 1.0
        if name == "normalized-trace":
            scale = expected.value / measure(whole, [short("hessian-trace")])[0].value
        assert found.standard_error is not None
        assert abs(found.value - scale * trace) <= 4 * found.standard_error
        return
    near = pytest.approx(expected.value, rel=0.05 if name in UNSTEADY else 1e-4, abs=1e-6, nan_ok=True)
    assert found.value == near


@PRETEND
def test_a_surface_of_a_network_on_two_devices_is_that_of_one() -> None:
    grids = [
        sample_surface(Objective(m, CE, [(X, Y)]), "random", points=3, compile=False) for m in networks()
    ]
    assert np.allclose(*(grid.loss for grid in grids), rtol=1e-5)


@PRETEND
def test_a_network_that_does_not_move_its_activations_is_refused_with_what_to_do() -> None:
    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3))
    model[1].to(pretend_device.pretend_device())
    with pytest.raises(InputError, match=r"on several devices has to move its activations.* device="):
        _ = Objective(model, CE, [(X, Y)]).loss
    assert Objective(model, CE, [(X, Y)], device="cpu").loss > 0


@PRETEND
def test_hooks_of_accelerate_move_activations() -> None:
    hooks = pytest.importorskip("accelerate.hooks")
    whole, _ = networks()
    spread = nn.Sequential(
        copy.deepcopy(whole.first), nn.Tanh(), copy.deepcopy(whole.norm), copy.deepcopy(whole.last)
    )
    for number, place in enumerate((torch.device("cpu"), *[pretend_device.pretend_device()] * 3)):
        spread[number].to(place)
        hooks.add_hook_to_module(spread[number], hooks.AlignDevicesHook(place))
    hooks.add_hook_to_module(spread, hooks.AlignDevicesHook(io_same_device=True))
    expected, found = (Objective(m, CE, [(X, Y)]) for m in (whole, spread.eval()))
    vector = torch.ones(expected.dimension)
    assert torch.allclose(found.hessian_product(vector), expected.hessian_product(vector), atol=1e-6)


@PRETEND
@pytest.mark.thorough
def test_a_language_model_on_two_devices_has_the_numbers_of_one() -> None:
    transformers, hooks = map(pytest.importorskip, ("transformers", "accelerate.hooks"))
    torch.manual_seed(0)
    shape = {"vocab_size": 50, "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2}
    options = {"attn_implementation": "eager", "bos_token_id": 0, "eos_token_id": 0}
    whole = transformers.GPT2LMHeadModel(transformers.GPT2Config(**shape, **options)).eval()
    spread, other = copy.deepcopy(whole), pretend_device.pretend_device()
    places = dict.fromkeys(
        ("transformer.wte", "transformer.wpe", "transformer.h.0", "lm_head"), torch.device("cpu")
    )
    for name in ("transformer.h.1", "transformer.ln_f"):
        spread.get_submodule(name).to(other)
        places[name] = other
    hooks.attach_align_device_hook_on_blocks(spread, places, offload=dict.fromkeys(places, False))
    hooks.add_hook_to_module(spread, hooks.AlignDevicesHook(io_same_device=True), append=True)
    tokens = torch.randint(50, (3, 12))
    names = ["loss", "gradient-norm", "dominant-eigenvalue", "layer-eigenvalues:by=block", "gradient-noise"]
    expected, found = (measure(Objective(m, "next-token", [tokens]), names) for m in (whole, spread))
    assert [each.value for each in found] == pytest.approx([each.value for each in expected], rel=1e-4)


def test_layers_of_a_device_map_on_one_device_are_computed_and_offloaded_ones_are_refused(tmp_path) -> None:
    accelerate = pytest.importorskip("accelerate")
    whole = Divided().eval()
    expected = Objective(whole, CE, [(X, Y)]).gradient
    for each in ({"": "cpu"}, {"first": "cpu", "norm": "cpu", "last": "cpu"}):
        mapped = accelerate.dispatch_model(copy.deepcopy(whole), each)
        assert torch.equal(Objective(mapped, CE, [(X, Y)]).gradient, expected)
    places = {"first": "cpu", "norm": "cpu", "last": "disk"}
    offloaded = accelerate.dispatch_model(
        copy.deepcopy(whole), places, main_device="cpu", offload_dir=tmp_path
    )
    with pytest.raises(InputError) as refused:
        Objective(offloaded, CE, [(X, Y)])
    assert re.search(r"cpu, disk by device_map.*offloaded.*shard_weights=True", str(refused.value))


def test_a_network_of_a_device_map_is_not_moved_to_one_device() -> None:
    model = Divided().eval()
    model.hf_device_map = {"first": 0, "last": 1}  # type: ignore[assignment]
    with pytest.raises(InputError, match=r"spread over 0, 1 by device_map.*leave device= out"):
        Objective(model, CE, [(X, Y)], device="cpu")
