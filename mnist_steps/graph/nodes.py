"""A traced network as plain data: its operations, and the two ways in which a trace can fail."""

from dataclasses import dataclass, field
from typing import Any

from mnist_steps.errors import MnistStepsError

Attributes = dict[str, Any]

INPUT = "(input)"  # how nodes name the network's input; no module can be called so


class NotTraceable(MnistStepsError):
    """The model's code cannot be followed: the message says what stopped the trace, and where."""


class UnknownOperation(MnistStepsError):
    """The model uses an operation that this package has no rule for."""


@dataclass(frozen=True)
class Node:
    """One operation.

    name: the module's qualified name ('layer1.0.conv1'); a function's own name within the module
        that calls it ('layer1.0.add'); a repeated use gets a number ('layer1.0.relu_1')
    op: the class of torch.nn where there is one ('Conv2d'), also for functional calls; else
        the function's name ('add', 'cat', 'reshape')
    inputs: names of earlier nodes, of `INPUT`, or of parameters that the operation uses directly
    attributes: all that decides the operation besides weights; axes count the batch as 0
    output_shape: without the batch axis; the full shape if the node does not depend on the input
    params: number of weights used here; what a shared module's nodes repeat, the graph's
        `total_params` counts once
    macs: multiply-accumulate operations for one image, see `count_macs`
    parameters: shapes of the weights and buffers used here, by qualified name; a weight that
        several layers share has one name, the first
    module: qualified name of the module called; None for functions
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: Attributes
    output_shape: tuple[int, ...]
    params: int = 0
    macs: int = 0
    parameters: dict[str, tuple[int, ...]] = field(default_factory=dict)
    module: str | None = None

    def as_data(self) -> dict[str, Any]:
        return {name: plain(value) for name, value in vars(self).items()}


@dataclass(frozen=True)
class Graph:
    """A traced network.

    input_shape: of one image, without the batch axis
    nodes: the operations in execution order
    outputs: names of the nodes that the network returns
    total_params: all weights of the model, each counted once, whether the trace uses it or not
    """

    input_shape: tuple[int, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    total_params: int

    def __getitem__(self, name: str) -> Node:
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    @property
    def total_macs(self) -> int:
        return sum(node.macs for node in self.nodes)

    def input_shapes(self) -> dict[str, list[tuple[int, ...]]]:
        """By the operation's name, the shapes of what it takes, as `output_shape` says them.

        Parameters that it uses directly are left out.
        """
        shapes = {INPUT: self.input_shape} | {node.name: node.output_shape for node in self.nodes}
        return {
            node.name: [shapes[one] for one in node.inputs if one in shapes] for node in self.nodes
        }

    def as_data(self) -> dict[str, Any]:
        """Plain data for JSON: the same for the same network, wherever and by whatever it ran."""
        return {
            "input_shape": list(self.input_shape),
            "nodes": [node.as_data() for node in self.nodes],
            "outputs": list(self.outputs),
            "total_params": self.total_params,
        }


def plain(value: Any) -> Any:
    """Lists, numbers, strings, True, False and None only, so that JSON keeps it as it is."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(one) for one in value]
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise MnistStepsError(f"the attribute {value!r} cannot be written as plain data")
