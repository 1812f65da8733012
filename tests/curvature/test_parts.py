"""Blocks and heads as parts of θ, and the blocks of the Hessian that belong to them, against the dense Hessian."""

import problems
import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from landscape.curvature.heads import Rows, rows_of_heads
from landscape.curvature.parts import Partition, block_of_hessian, parts_by
from landscape.errors import UsageError
from landscape.linalg.jensen_shannon import distances_over_probes, jensen_shannon
from landscape.measures import block_spectra, layer_eigenvalues
from landscape.models.decoder import Decoder
from landscape.objective import Objective

TOKENS, LENGTH = 5, 4


class Scores(nn.Module):
    """The decoder with its scores as ``(B, classes, T)``, as cross-entropy takes them."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = Decoder(width=4, depth=2, heads=2, length=LENGTH, vocabulary=TOKENS)

    def forward(self, tokens: Tensor) -> Tensor:
        scores: Tensor = self.decoder(tokens).mT
        return scores


@pytest.fixture(scope="module")
def case() -> tuple[Objective, Tensor]:
    """A decoder of two blocks with two heads each in float64, and the dense Hessian."""
    torch.manual_seed(0)
    model = Scores().double()
    for parameter in model.parameters():
        parameter.data = parameter.data + 0.3 * torch.randn_like(parameter)
    tokens = torch.randint(0, TOKENS, (6, LENGTH + 1))
    objective = Objective(model, nn.CrossEntropyLoss(), [(tokens[:, :-1], tokens[:, 1:])])
    parameters = list(model.parameters())
    with sdpa_kernel(SDPBackend.MATH):  # the fused kernel has no second derivative
        loss = nn.functional.cross_entropy(model(tokens[:, :-1]), tokens[:, 1:])
        slopes = torch.autograd.grad(loss, parameters, create_graph=True)
        slope = torch.cat([each.flatten() for each in slopes])
        rows = torch.autograd.grad(slope, parameters, torch.eye(len(slope)).double(), is_grads_batched=True)
    return objective, torch.cat([each.flatten(start_dim=1) for each in rows], dim=1)


def coordinates(objective: Objective, by: Partition) -> dict[str, Tensor]:
    """The numbers of the coordinates of each part."""
    numbers = torch.arange(objective.dimension).double()
    return {part.name: part.of(objective, numbers).long() for part in parts_by(objective, by)}


@pytest.mark.parametrize("by", ["tensor", "block", "head"])
def test_the_product_of_a_part_is_that_of_its_block_of_the_dense_hessian(
    by: Partition, case: tuple[Objective, Tensor]
) -> None:
    objective, hessian = case
    places = coordinates(objective, by)
    for part in parts_by(objective, by):
        block, where = block_of_hessian(objective, part), places[part.name]
        assert block.dimension == part.size(objective) == len(where)
        dense = hessian[where][:, where]
        vectors = torch.randn(len(where), 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        assert torch.allclose(block @ vectors, dense @ vectors, atol=1e-12)
        assert torch.allclose(block @ vectors[:, 0], dense @ vectors[:, 0], atol=1e-12)


def test_blocks_are_those_of_the_network_and_every_coordinate_is_in_one(
    case: tuple[Objective, Tensor],
) -> None:
    objective, _ = case
    blocks = coordinates(objective, "block")
    names = ["embedding", "positions", "blocks.0", "blocks.1", "norm", "head"]
    assert list(blocks) == [f"decoder.{name}" for name in names]
    assert torch.cat(list(blocks.values())).sort().values.tolist() == list(range(objective.dimension))


@pytest.mark.parametrize("by", ["block", "head"])
def test_eigenvalues_of_parts_are_those_of_the_dense_blocks(
    by: Partition, case: tuple[Objective, Tensor]
) -> None:
    objective, hessian = case
    reading = layer_eigenvalues(objective, by=by, tolerance=1e-6)
    assert reading.converged
    for name, where in coordinates(objective, by).items():
        spectrum = torch.linalg.eigvalsh(hessian[where][:, where])
        expected = float(spectrum[spectrum.abs().argmax()])
        assert reading.details["layers"][name] == pytest.approx(expected, rel=1e-5), name


def test_a_head_is_what_a_change_of_its_queries_keys_and_values_touches() -> None:
    """With the values of one head at zero, nothing else of that head matters, and the other head goes on."""
    torch.manual_seed(0)
    model = Decoder(width=4, depth=1, heads=2, length=LENGTH, vocabulary=TOKENS)
    attention = model.blocks[0].attn
    names = [name for name, _ in model.named_parameters()]
    heads = rows_of_heads(model, names)
    assert list(heads) == ["blocks.0.attn.head.0", "blocks.0.attn.head.1"]
    hidden = torch.randn(1, LENGTH, 4)
    outputs = []
    attention.out = nn.Identity()
    for head in heads.values():
        changed = attention.qkv.weight.data.clone()
        for name, rows in head:
            if name.endswith("weight"):
                attention.qkv.weight.data.narrow(rows.dim, rows.start, rows.count).add_(1.0)
        after = attention(hidden)
        attention.qkv.weight.data.copy_(changed)
        outputs.append((after - attention(hidden)).abs().amax(dim=(0, 1)) > 0)
    assert outputs[0].tolist() == [True, True, False, False]
    assert outputs[1].tolist() == [False, False, True, True]


def test_heads_of_other_attentions_are_their_rows_or_columns() -> None:
    plain = nn.MultiheadAttention(4, 2)
    names = [name for name, _ in plain.named_parameters()]
    assert rows_of_heads(plain, names)["head.1"] == [
        (name, Rows(0, first, 2)) for name in ("in_proj_weight", "in_proj_bias") for first in (2, 6, 10)
    ]
    assert rows_of_heads(plain, []) == {}
    transformers = pytest.importorskip("transformers")
    small = {"vocab_size": 11, "bos_token_id": 1, "eos_token_id": 2}
    with torch.device("meta"):
        gpt2 = transformers.GPT2Model(transformers.GPT2Config(n_layer=1, n_embd=8, n_head=2, **small))
        llama = transformers.LlamaModel(
            transformers.LlamaConfig(
                num_hidden_layers=1,
                hidden_size=8,
                intermediate_size=8,
                num_attention_heads=4,
                num_key_value_heads=2,
                **small,
            )
        )
    heads = rows_of_heads(gpt2, [name for name, _ in gpt2.named_parameters()])
    assert heads["h.0.attn.head.1"] == [
        *(("h.0.attn.c_attn.weight", Rows(1, first, 4)) for first in (4, 12, 20)),
        *(("h.0.attn.c_attn.bias", Rows(0, first, 4)) for first in (4, 12, 20)),
    ]
    grouped = rows_of_heads(llama, [name for name, _ in llama.named_parameters()])
    assert list(grouped) == ["layers.0.self_attn.head.0-1", "layers.0.self_attn.head.2-3"]
    assert [rows for _, rows in grouped["layers.0.self_attn.head.2-3"]] == [
        Rows(0, 4, 4),
        Rows(0, 2, 2),
        Rows(0, 2, 2),
    ]


def test_a_network_without_heads_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="by=head: Sequential has no free attention weights"):
        layer_eigenvalues(problems.small_objective(), by="head")


def test_the_product_of_a_part_does_less_than_a_full_one(case: tuple[Objective, Tensor]) -> None:
    """Of the last layer, no layer before it is passed: counted in nodes of autograd that are visited."""
    objective, _ = case
    objective.hessian_product(objective.point)
    last = parts_by(objective, "block")[-1]
    visits = []
    for vector, block in (
        (objective.point, None),
        (last.padded(objective, last.of(objective, objective.point)), last.tensors),
    ):
        with torch.profiler.profile() as profile:
            objective.hessian_product(vector, block=block)
        visits.append(sum(event.count for event in profile.key_averages() if "Backward" in event.key))
    assert 4 * visits[1] < visits[0]


def test_the_distances_of_blocks_are_those_of_their_dense_spectra(
    case: tuple[Objective, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    objective, hessian = case
    # The same products, as a test above shows, in a hundredth of the time.
    monkeypatch.setattr(Objective, "hessian_product", lambda _, vectors, block: hessian @ vectors)
    reading = block_spectra(objective, probes=24, steps=20, smoothing=0.02)
    details = reading.details
    grid, width = torch.tensor(details["grid"], dtype=torch.float64), details["width"]
    curves = []
    for name, where in coordinates(objective, "block").items():
        spectrum = torch.linalg.eigvalsh(hessian[where][:, where])
        assert details["sizes"][name] == len(spectrum)
        curves.append(torch.exp(-0.5 * ((grid - spectrum[:, None]) / width) ** 2).mean(dim=0))
    exact = jensen_shannon(torch.stack(curves))
    found, errors = (torch.tensor(details[key]) for key in ("distances", "distance_errors"))
    # Noise in the densities also makes distances larger, by a few thousandths here.
    assert bool(((found - exact).abs() <= 4 * errors + 0.02).all())
    pairs = len(exact) * (len(exact) - 1)
    assert abs(reading.value - float(exact.sum() / pairs)) <= 4 * reading.standard_error + 0.01
    assert 0 < reading.standard_error < 0.05


def test_the_distance_is_that_of_scipy() -> None:
    distance = pytest.importorskip("scipy.spatial.distance")
    densities = torch.rand(4, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    densities[2, 10:] = 0
    densities[3, :10] = 0
    found = jensen_shannon(densities)
    for i in range(4):
        for j in range(4):
            expected = distance.jensenshannon(densities[i].numpy(), densities[j].numpy(), base=2)
            assert float(found[i, j]) == pytest.approx(float(expected), abs=1e-7)
    assert float(found[2, 3]) == pytest.approx(1.0)


def test_the_jackknife_error_is_the_spread_over_repetitions() -> None:
    generator = torch.Generator().manual_seed(0)
    values, errors = [], []
    for _ in range(200):
        curves = torch.rand(2, 12, 20, dtype=torch.float64, generator=generator)
        curves[1] += torch.linspace(0, 2, 20).double()
        found = distances_over_probes(curves)
        values.append(float(found.values[0, 1]))
        errors.append(float(found.errors[0, 1]))
        assert found.mean == pytest.approx(values[-1])
        assert found.mean_error == pytest.approx(errors[-1])
    spread = float(torch.tensor(values).std())
    assert sum(errors) / len(errors) == pytest.approx(spread, rel=0.25)


def test_one_probe_has_no_error() -> None:
    objective, _ = problems.tiny_case()
    reading = block_spectra(objective, probes=1, steps=3)
    assert reading.standard_error is None
    assert reading.details["distance_errors"] is None
