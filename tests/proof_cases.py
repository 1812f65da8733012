"""The small networks from which the tests of the proof that Tr H = Tr G are built."""

import problems
import torch
from torch import Tensor, nn
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
    """On 17 examples in one batch, and the diagonal of the Hessian."""
    torch.manual_seed(0)
    model = build().double()  # type: ignore[operator]
    x, y = problems.classification(17, 6, 3)
    model.train()
    with torch.no_grad():
        model(x)  # batch-norm statistics that are not the initial ones
    objective = Objective(model.eval(), CE, [(x, y)])
    return objective, objective.hessian_product(torch.eye(objective.dimension, dtype=torch.float64)).diag()
