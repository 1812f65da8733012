"""What a network is called with for one batch: a tensor, several in order, or several by name."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from landscape.errors import UsageError

Inputs = Tensor | Sequence[Tensor] | Mapping[str, Tensor]
Rows = slice | Tensor


def tensors_of(inputs: Inputs) -> list[Tensor]:
    """The tensors, in order.

    Raises:
        UsageError: There is something else among them, or nothing at all.
    """
    if isinstance(inputs, Tensor):
        return [inputs]
    found = list(inputs.values()) if isinstance(inputs, Mapping) else inputs
    if not isinstance(found, (list, tuple)) or not found or not all(isinstance(x, Tensor) for x in found):
        kinds = (
            [type(x).__name__ for x in found] if isinstance(found, (list, tuple)) else type(found).__name__
        )
        raise UsageError(
            f"the inputs of a batch are {kinds}; give a tensor, a tuple of tensors for model(*inputs), or a dict of "
            f"tensors for model(**inputs), each with one row an example"
        )
    return list(found)


def answered(model: nn.Module, inputs: Inputs) -> Tensor:
    """What the network answers, one row an example.

    Raises:
        UsageError: It answers with something other than a tensor.
    """
    if isinstance(inputs, Tensor):
        outputs = model(inputs)
    elif isinstance(inputs, Mapping):
        outputs = model(**inputs)
    else:
        outputs = model(*inputs)
    if not isinstance(outputs, Tensor):
        raise UsageError(
            f"the network of a BatchClosure answered with {type(outputs).__name__}, and the loss of each example is "
            f"one of a tensor; wrap it in a module whose forward returns the tensor, such as the logits"
        )
    return outputs


def copied(inputs: Inputs, targets: Tensor) -> tuple[Inputs, Tensor]:
    """Both in memory of their own, for a network or a loss that writes to them; targets that are the inputs stay so."""
    copies = {id(tensor): tensor.clone() for tensor in (*tensors_of(inputs), targets)}
    if isinstance(inputs, Tensor):
        fresh: Inputs = copies[id(inputs)]
    elif isinstance(inputs, Mapping):
        fresh = {name: copies[id(x)] for name, x in inputs.items()}
    else:
        fresh = tuple(copies[id(x)] for x in inputs)
    return fresh, copies[id(targets)]


def chosen(inputs: Inputs, rows: Rows) -> Inputs:
    """Some of the examples."""
    if isinstance(inputs, Tensor):
        return inputs[on_device_of(inputs, rows)]
    if isinstance(inputs, Mapping):
        return {name: x[on_device_of(x, rows)] for name, x in inputs.items()}
    return tuple(x[on_device_of(x, rows)] for x in inputs)


def on_device_of(tensor: Tensor, rows: Rows) -> Rows:
    """Rows as an index of a tensor."""
    return rows.to(tensor.device) if isinstance(rows, Tensor) else rows
