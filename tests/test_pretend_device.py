"""The pretended device computes as the CPU does, and refuses what CUDA refuses."""

import copy
import gc
import io

import pretend_device
import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from waits import Waits

pytestmark = pytest.mark.skipif(bool(pretend_device.reason_without()), reason=pretend_device.reason_without())


@pytest.fixture(scope="module")
def foreign() -> torch.device:
    return pretend_device.pretend_device()


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.last = nn.Embedding(11, 8), nn.Linear(8, 3)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)

    def forward(self, words: Tensor) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):
            return self.last(self.block(self.words(words)).mean(1))


def _convolutional() -> nn.Module:
    first = (nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
    second = (nn.ConvTranspose2d(4, 8, 2, groups=2), nn.GroupNorm(2, 8), nn.SiLU(), nn.AdaptiveAvgPool2d(1))
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(8, 3))


CASES = {
    "layers": lambda: (
        nn.Sequential(nn.Linear(5, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3)),
        torch.randn(6, 5),
    ),
    "convolutions": lambda: (_convolutional(), torch.randn(6, 3, 8, 8)),
    "attention": lambda: (Attending(), torch.randint(11, (6, 4))),
}


@pytest.mark.parametrize("name", CASES)
def test_values_gradients_and_second_derivatives_are_those_of_the_cpu(
    name: str, foreign: torch.device
) -> None:
    torch.manual_seed(0)
    model, inputs = CASES[name]()
    labels, results = torch.arange(6) % 3, []
    for place in (torch.device("cpu"), foreign):
        net = copy.deepcopy(model).to(place)
        assert all(type(p) is nn.Parameter and p.device == place for p in net.parameters())
        loss = nn.functional.cross_entropy(net(inputs.to(place)), labels.to(place))
        weights = list(net.parameters())
        first = torch.autograd.grad(loss, weights, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), weights, materialize_grads=True)
        results.append([x.detach().cpu() for x in (loss, *first, *second, *net.buffers())])
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-5)


def test_a_write_through_a_view_reaches_its_base(foreign: torch.device) -> None:
    base = torch.ones(4, device=foreign)
    base[1:3].mul_(3)
    twin = copy.deepcopy(base)
    base.view(2, 2).T[0].add_(1)
    assert base.tolist() == [2, 3, 4, 1]
    assert twin.tolist() == [1, 3, 3, 1]
    weight = nn.Parameter(base)
    weight.data = twin
    twin.zero_()
    assert (weight * 1).tolist() == [0, 0, 0, 0]


def test_memory_lives_as_long_as_a_view_of_it(foreign: torch.device) -> None:
    views = [torch.full((1000,), float(i), device=foreign).view(10, 100)[3] for i in range(50)]
    gc.collect()
    rubbish = [torch.full((1000,), -1.0) for _ in range(50)]
    assert [float(view.sum()) for view in views] == [100.0 * i for i in range(50)]
    assert len(rubbish) == 50


def test_transforms_of_functions(foreign: torch.device) -> None:
    x = torch.arange(6.0).view(2, 3)
    cubes = torch.func.vmap(torch.func.hessian(lambda v: v.pow(3).sum()))
    assert torch.equal(cubes(x.to(foreign)).cpu(), cubes(x))
    assert torch.equal(torch.func.jvp(torch.square, (x.to(foreign),), (x.to(foreign),))[1].cpu(), 2 * x * x)


MIXTURES = {
    "a sum": lambda near, far: near + far,
    "a product": lambda near, far: near @ far.T,
    "a list": lambda near, far: torch.cat([near, far]),
    "an index": lambda near, far: near[torch.tensor([1], device=far.device)],
    "an output": lambda near, far: torch.zeros(()).add_(far.sum()),
    "a generator": lambda near, far: torch.randn(3, device=far.device, generator=torch.Generator()),
}


@pytest.mark.parametrize("name", MIXTURES)
def test_devices_are_not_mixed(name: str, foreign: torch.device) -> None:
    near = torch.ones(2, 2)
    with pytest.raises(RuntimeError, match="device"):
        MIXTURES[name](near, near.to(foreign))


def test_numbers_and_indices_of_the_cpu_are_accepted(foreign: torch.device) -> None:
    far = torch.eye(2, device=foreign)
    assert (far + torch.tensor(1.0)).tolist() == [[2, 1], [1, 2]]
    assert far[torch.tensor([1, 0])].tolist() == [[0, 1], [1, 0]]


def test_what_waits_is_counted(foreign: torch.device) -> None:
    far = torch.eye(2).to(foreign)
    with Waits(foreign.type) as none:
        total = far.sum().sqrt() + 1
        torch.where(torch.isfinite(total).all(), far, torch.zeros_like(far)).add_(torch.tensor(1.0))
        torch.ones(2).to(foreign, non_blocking=True)
        torch.ones(2).square().tolist()
        far[:, 0] = far[:, 1].clone()
    assert (none.total, none.uploads) == (0, 0)
    with Waits(foreign.type) as waits:
        far[[0, 1]]
        float(total), bool(total > 0), far.tolist(), far.cpu(), far[far > 0], torch.equal(far, far)
        torch.ones(2).to(foreign)
    assert waits.operations == {"_local_scalar_dense": 2, "copy to the host": 2, "index": 1, "equal": 1}
    assert waits.uploads >= 1


def test_it_has_a_generator_of_its_own(foreign: torch.device) -> None:
    module, cpu = torch.get_device_module(foreign), torch.get_rng_state()
    state = module.get_rng_state()
    first = torch.randn(3, device=foreign)
    module.set_rng_state(state)
    assert torch.equal(torch.randn(3, device=foreign).cpu(), first.cpu())
    nn.functional.dropout(first)
    assert torch.equal(torch.get_rng_state(), cpu)


def test_it_is_saved_and_loaded(foreign: torch.device) -> None:
    file = io.BytesIO()
    torch.save(torch.arange(3, device=foreign), file)
    for place in (foreign, torch.device("cpu")):
        file.seek(0)
        loaded = torch.load(file, weights_only=True, map_location=place)
        assert (loaded.device, loaded.tolist()) == (place, [0, 1, 2])


def test_the_rest_of_the_process_is_not_disturbed(foreign: torch.device) -> None:
    weight = torch.ones(2, requires_grad=True)
    weight.square().sum().backward()
    assert weight.grad is not None
    data = torch.utils.data.TensorDataset(torch.ones(2, 1))
    assert [b[0].tolist() for b in torch.utils.data.DataLoader(data, pin_memory=True)] == [[[1.0]], [[1.0]]]
    assert nn.DataParallel(nn.Linear(1, 1)).device_ids == []
