"""The small networks from which the tests of the proof that Tr H = Tr G are built."""

import problems
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parametrize

from landscape.objective import Objective

CE = nn.CrossEntropyLoss()


class Net(nn.Module):
    """Two square layers and a head; a case overrides what happens between."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.between(x))

    def between(self, x: Tensor) -> Tensor:
        return torch.relu(self.b(torch.relu(self.a(x))))


def case(between: object) -> nn.Module:
    return type("Case", (Net,), {"between": between})()


def parametrized(kind: nn.Module) -> nn.Module:
    model = Net()
    parametrize.register_parametrization(model.a, "weight", kind)
    return model


def norms(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), *layers, nn.ReLU(), nn.Linear(8, 3))


def objective_of(build: object) -> tuple[Objective, Tensor]:
    """On 17 examples in one batch, and the diagonal of the Hessian by double backward on the model itself."""
    torch.manual_seed(0)
    model = build().double()  # type: ignore[operator]
    x, y = problems.classification(17, 6, 3)
    model.train()
    with torch.no_grad():
        model(x)  # batch-norm statistics that are not the initial ones
    objective = Objective(model.eval(), CE, [(x, y)])
    return objective, diagonal(model, x, y)


def diagonal(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """∂²L/∂θ_j² as autograd has it, whether or not its first derivative is that of the loss."""
    parameters = list(model.parameters())
    # The second derivative of oneDNN's recurrent kernels is wrong.
    with sdpa_kernel(SDPBackend.MATH), torch.backends.mkldnn.flags(enabled=False):
        slopes = torch.autograd.grad(
            CE(model(x), y), parameters, create_graph=True, allow_unused=True, materialize_grads=True
        )
        entries = [
            (
                torch.autograd.grad(entry, parameter, retain_graph=True, materialize_grads=True)[0].flatten()[
                    k
                ]
                if entry.requires_grad
                else entry
            )
            for parameter, slope in zip(parameters, slopes, strict=True)
            for k, entry in enumerate(slope.flatten())
        ]
    return torch.stack(entries).detach()
