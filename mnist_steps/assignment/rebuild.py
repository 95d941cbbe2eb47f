"""A network built again from its description, and all that the grader measures about it.

The description holds no weights and no code, only names, operations and checked numbers
(see `schema`). The network built from it has fresh weights from torch's random generator.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
from torch import Tensor, nn

from mnist_steps import graph, receptive_field
from mnist_steps.assignment import schema
from mnist_steps.assignment.schema import Description, GraphRefused, Operation
from mnist_steps.errors import MnistStepsError
from mnist_steps.graph import INPUT, Graph
from mnist_steps.receptive_field import Layer

MOST_MACS = 1_000_000_000  # for one image; stage 1 needs 159 million
MOST_VALUES = 1_000_000  # in all layers' outputs for one image; stage 1 has 0.4 million


class RebuiltNetwork(nn.Module):
    """The described operations, one after the other, with new random weights.

    Takes images (N, 1, 28, 28) and returns log-probabilities (N, 10).
    """

    def __init__(self, description: Description) -> None:
        super().__init__()
        self.operations = description.operations
        for operation in self.operations:
            if operation.layer is not None:
                _put(self, operation.layer, operation)

    def forward(self, images: Tensor) -> Tensor:
        values = {INPUT: images}
        for operation in self.operations:
            given = [values[name] for name in operation.inputs]
            if operation.layer is not None:
                values[operation.name] = self.get_submodule(operation.layer)(*given)
            else:
                values[operation.name] = FUNCTIONS[operation.op](operation, given)
        return values[self.operations[-1].name]


FUNCTIONS: dict[str, Callable[[Operation, list[Tensor]], Tensor]] = {
    "add": lambda operation, given: given[0] + given[1],
    "cat": lambda operation, given: torch.cat(given, dim=1),
    "mean": lambda operation, given: given[0].mean(
        dim=(2, 3), keepdim=operation.attributes["keepdim"]
    ),
    "reshape": lambda operation, given: given[0].flatten(1),
    "identity": lambda operation, given: given[0].contiguous(),
}


def _put(root: nn.Module, path: str, operation: Operation) -> None:
    """Add the operation's layer at its path, with the containers on the way, unless it is there."""
    *containers, last = path.split(".")
    for name in containers:
        if name not in root._modules:
            root.add_module(name, nn.Module())
        root = root.get_submodule(name)
    if last not in root._modules:
        root.add_module(last, make_layer(operation))


def make_layer(operation: Operation) -> nn.Module:
    """The operation's layer. Raises GraphRefused for settings that torch refuses."""
    given = dict(operation.attributes)
    for name in ("return_indices", "divisor_override"):  # the schema allows their defaults only
        given.pop(name, None)
    given = {name: tuple(one) if isinstance(one, list) else one for name, one in given.items()}
    try:
        layer: nn.Module = getattr(nn, operation.op)(**given)
    except (ValueError, TypeError, RuntimeError) as error:
        raise GraphRefused(f"{operation.name}: {_first_line(error)}.") from error
    return layer


@dataclass(frozen=True)
class Network:
    """A described network that was built, traced again and found to be within bounds.

    graph: of the network built from the description, with the submission's own names
    """

    description: Description
    graph: Graph

    def build(self) -> nn.Module:
        """A new network with random weights from torch's global generator, on the CPU."""
        return RebuiltNetwork(self.description)

    def build_for_speed(self) -> nn.Module:
        """As `build`, with the same weights, in the form that `mnist_steps.engine` can compute.

        That is nn.Sequential, where every layer takes what the one before it gives; other networks
        stay as they are.
        """
        built, operations = self.build(), self.description.operations
        before = [(INPUT,), *((operation.name,) for operation in operations[:-1])]
        places = [operation.layer for operation in operations if operation.layer is not None]
        if (
            [tuple(operation.inputs) for operation in operations] != before
            or len(places) != len(set(places))
            or not all(one.layer is not None or one.op == "reshape" for one in operations)
        ):
            return built
        return nn.Sequential(
            *(
                nn.Flatten() if one.layer is None else built.get_submodule(one.layer)
                for one in operations
            )
        )

    @property
    def parameters(self) -> int:
        return self.graph.total_params

    @cached_property
    def layers(self) -> dict[str, Layer]:
        """Receptive fields, by the submission's own names, in execution order."""
        with torch.device("meta"):
            analysis = receptive_field.analyze(self.build(), schema.INPUT_SHAPE)
        names = _names(self.description, analysis.graph)
        return {names[layer.name]: layer for layer in analysis.layers}


def rebuild(description: Description) -> Network:
    """Build the network, trace it, and check what only the built network shows.

    Raises GraphRefused when layers do not fit together, when the result is not ten numbers for
    one image, or when the network computes or remembers too much.
    """
    with torch.device("meta"):  # nothing is allocated before the bounds are known
        model = RebuiltNetwork(description)
    try:
        found = graph.trace(model, schema.INPUT_SHAPE)
    except MnistStepsError as error:
        raise GraphRefused(f"the layers do not fit together: {_first_line(error)}.") from error
    names = _names(description, found)
    found = Graph(
        input_shape=found.input_shape,
        nodes=tuple(
            dataclasses.replace(
                node,
                name=names[node.name],
                inputs=tuple(names.get(one, one) for one in node.inputs),
            )
            for node in found.nodes
        ),
        outputs=tuple(names[one] for one in found.outputs),
        total_params=found.total_params,
    )
    shape = found.nodes[-1].output_shape
    if shape != (schema.CLASSES,):
        raise GraphRefused(
            f"the network returns {' × '.join(map(str, shape))} values for one image, expected "
            f"{schema.CLASSES}: one for each digit."
        )
    values = sum(prod(node.output_shape) for node in found.nodes)
    for what, count, most in (
        ("multiply-accumulate operations", found.total_macs, MOST_MACS),
        ("values in the outputs of all layers", values, MOST_VALUES),
    ):
        if count > most:
            raise GraphRefused(f"{count:,} {what} for one image, expected at most {most:,}.")
    return Network(description, found)


def read(text: bytes | str) -> Network:
    """From the jail's JSON to a network that can be trained. Raises GraphRefused."""
    return rebuild(schema.parse(text))


def _names(description: Description, found: Graph) -> dict[str, str]:
    """The trace's names to the description's. Each operation gives exactly one node, in order."""
    pairs = zip(found.nodes, description.operations, strict=True)
    return {node.name: operation.name for node, operation in pairs}


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
