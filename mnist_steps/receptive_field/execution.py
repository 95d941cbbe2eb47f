"""The traced calls, performed on the real layers one by one, so that each result can be seen."""

import copy
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx, nn

from mnist_steps import graph
from mnist_steps.graph import Symbolic

Perform = Callable[[fx.Node, nn.Module, tuple[Any, ...], dict[str, Any]], Any]


def twin_of(model: nn.Module, device: torch.device | str = "cpu") -> nn.Module:
    """A copy to run: in evaluation mode, without the reader's hooks."""
    return graph.without_hooks(copy.deepcopy(model)).to(device).eval()


def several(images: Tensor) -> Tensor:
    """One image twice, more as they are: what squeezes axes must not lose that of the batch."""
    return images if len(images) > 1 else images.repeat(2, *[1] * (images.dim() - 1))


def execute(
    symbolic: Symbolic,
    twin: nn.Module,
    images: Tensor,
    see: Callable[[str, Any], None],
    perform: Perform = graph.perform,
) -> None:
    """Run the traced calls on the real layers and show each result, by its graph name, to `see`.

    images: two or more, see `several`
    A value is dropped after its last use. perform: does one call, as graph.perform does
    """
    values: dict[fx.Node, Any] = {}
    uses = {node: len(node.users) for node in symbolic.graph.nodes}
    for node in symbolic.graph.nodes:
        args, kwargs = graph.arguments(node, values)
        if node.op == "placeholder":
            values[node] = images
        elif node.op == "get_attr":
            values[node] = _attribute(twin, symbolic, str(node.target), images.device)
        elif node.op == "output":
            return
        else:
            values[node] = perform(node, twin, args, kwargs)
            see(symbolic.names[node], values[node])
        for source in node.all_input_nodes:
            uses[source] -= 1
            if not uses[source]:
                del values[source]


def _attribute(twin: nn.Module, symbolic: Symbolic, target: str, device: torch.device) -> Any:
    """A parameter or buffer; a constant that `forward` made is known to the traced copy only."""
    try:
        return attrgetter(target)(twin)
    except AttributeError:
        return attrgetter(target)(symbolic.root).to(device)
