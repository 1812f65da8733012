"""Networks whose examples see each other, and networks that cannot be applied to a part of a batch: a table.

A row is a function under ``@mixing`` or ``@whole``, with a docstring that says what it does. ``between`` maps the
first layer's result ``(B, 6)`` on; batches have 24 rows.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

ROWS = 24
Between = Callable[["Mixer", Tensor], Tensor]

MIXING: dict[str, Between] = {}
"""Examples see each other: no way that takes a batch apart may be used."""

WHOLE: dict[str, Between] = {}
"""Examples do not see each other, but some probe of single ones fails or is of no use."""


NO_HESSIAN = ("a value that hides a mixing derivative",)
"""The gradient is not that of the loss, so that there is no Hessian."""


def mixing(between: Between) -> Between:
    """Adds a row to :data:`MIXING`."""
    MIXING[between.__name__.replace("_", " ")] = between
    return between


def whole(between: Between) -> Between:
    """Adds a row to :data:`WHOLE`."""
    WHOLE[between.__name__.replace("_", " ")] = between
    return between


class Mixer(nn.Module):
    """A layer, what a row of the table does, and a head; with a gain that is zero and a state of the batch's size."""

    def __init__(self, between: Between, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.inner, self.head = nn.Linear(8, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.gain = nn.Parameter(torch.zeros(1))
        self.norm = nn.BatchNorm1d(6)
        self.register_buffer("state", torch.linspace(-1, 1, ROWS * 6, dtype=torch.float64).reshape(ROWS, 6))
        self._between, self._activation = between, activation

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self._activation(self._between(self, self._activation(self.first(x)))))


@mixing
def pairs(self: Mixer, x: Tensor) -> Tensor:
    """An example and its neighbour, of an even batch."""
    return (x.reshape(-1, 2, 6) + x.reshape(-1, 2, 6).flip(1)).reshape(-1, 6)


@mixing
def neighbours(self: Mixer, x: Tensor) -> Tensor:
    """The one before, in any batch."""
    return x + 0.5 * x.roll(1, 0)


@mixing
def clips_of_four_where_they_divide_the_batch(self: Mixer, x: Tensor) -> Tensor:
    """Groups of four; alone where there are other numbers."""
    return x if len(x) % 4 else x + x.reshape(-1, 4, 6).mean(1, keepdim=True).expand(-1, 4, 6).reshape(-1, 6)


@mixing
def ghost_groups(self: Mixer, x: Tensor) -> Tensor:
    """Statistics of groups of eight."""
    return torch.cat([(one - one.mean(0)) / (one.var(0, unbiased=False) + 0.1).sqrt() for one in x.split(8)])


@mixing
def causal_attention_over_the_batch(self: Mixer, x: Tensor) -> Tensor:
    """``batch_first`` forgotten: an example sees those before it."""
    scores = (x @ x.T / 3).masked_fill(torch.ones(len(x), len(x)).triu(1).bool(), float("-inf"))
    return torch.softmax(scores, dim=1) @ x


@mixing
def cumulative_sums(self: Mixer, x: Tensor) -> Tensor:
    """Over the batch."""
    return x.cumsum(0) / 5


@mixing
def a_mixing_branch_of_weight_zero(self: Mixer, x: Tensor) -> Tensor:
    """ReZero: the outputs do not show it here, the curvature does."""
    return x + self.gain * self.inner(x - x.mean(0))


@mixing
def a_value_that_hides_a_mixing_derivative(self: Mixer, x: Tensor) -> Tensor:
    """The outputs show nothing at any point."""
    return x + x.mean(0) - x.mean(0).detach()


@mixing
def a_full_graph(self: Mixer, x: Tensor) -> Tensor:
    """A fixed matrix times the batch."""
    return torch.eye(ROWS, dtype=x.dtype).roll(1, 0) @ x + x


@mixing
def noise_of_a_generator_by_place(self: Mixer, x: Tensor) -> Tensor:
    """What is added to an example depends on its place in the batch."""
    return x * (1 + torch.rand(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype))


@mixing
def a_stored_state(self: Mixer, x: Tensor) -> Tensor:
    """A row for each example of the batch."""
    return x + self.state


@mixing
def a_fixed_batch_size(self: Mixer, x: Tensor) -> Tensor:
    """Any other size fails."""
    return x.view(ROWS, 6)


@mixing
def statistics_of_the_batch_with_zero_gain(self: Mixer, x: Tensor) -> Tensor:
    """Batch norm by hand, whose gain starts at zero."""
    return x + self.gain * functional.batch_norm(x, None, None, training=True)


@whole
def squeezed(self: Mixer, x: Tensor) -> Tensor:
    """Loses the batch where there is one example."""
    return x.unsqueeze(2).mean(2, keepdim=True).squeeze()


@whole
def a_small_first_chunk(self: Mixer, x: Tensor) -> Tensor:
    """The network sees one example, then the rest."""
    return torch.cat([self.inner(x[:1]), self.inner(x[1:])])


@whole
def a_loop_over_examples(self: Mixer, x: Tensor) -> Tensor:
    """One at a time."""
    return torch.cat([self.inner(one) for one in x.split(1)])


@whole
def steps(self: Mixer, x: Tensor) -> Tensor:
    """``heaviside`` has no derivative in autograd."""
    return x * torch.heaviside(x.detach(), torch.ones((), dtype=x.dtype))


@whole
def an_odd_kernel(self: Mixer, x: Tensor) -> Tensor:
    """A branch on values."""
    return self.inner(x) if float(x.detach().sum()) > -1e9 else x
