"""The shape of a layer's output and the arithmetic that it takes, by formula.

Shapes have rules for the layers that nearly all networks consist of. The meta device would tell
them too, but to run a convolution there torch imports sympy, and to run a batch normalization its
whole compiler: 1.6 seconds in which nothing is computed.

A rule takes the number of spatial axes, the operation's attributes, and the input's shape with the
batch. It gives None where running the layer has to tell, also why it fails.
"""

from collections.abc import Callable
from math import prod

from torch import Tensor, nn

from mnist_steps.graph.nodes import Attributes, Graph, Node

Shape = tuple[int, ...]
Rule = Callable[[int, Attributes, Shape], Shape | None]


def same(rank: int, settings: Attributes, shape: Shape) -> Shape | None:
    return shape


def normalized(rank: int, settings: Attributes, shape: Shape) -> Shape | None:
    return shape if len(shape) == rank + 2 and shape[1] == settings["num_features"] else None


def adaptive(rank: int, settings: Attributes, shape: Shape) -> Shape | None:
    if len(shape) != rank + 2 or settings.get("return_indices"):
        return None
    sizes = zip(settings["output_size"], shape[2:], strict=True)
    return (*shape[:2], *(new or old for new, old in sizes))


def window(rank: int, settings: Attributes, shape: Shape) -> Shape | None:
    """Of convolutions and pools."""
    padding = settings["padding"]
    if len(shape) != rank + 2 or isinstance(padding, str):
        return None
    if settings.get("ceil_mode") or settings.get("return_indices"):
        return None
    if settings.get("padding_mode", "zeros") != "zeros":
        return None
    if settings.get("in_channels", shape[1]) != shape[1]:
        return None
    sizes = []
    for axis, (size, kernel) in enumerate(zip(shape[2:], settings["kernel_size"], strict=True)):
        if "out_channels" not in settings and 2 * padding[axis] > kernel:
            return None  # torch refuses such pools
        span = settings.get("dilation", [1] * rank)[axis] * (kernel - 1) + 1
        sizes.append((size + 2 * padding[axis] - span) // settings["stride"][axis] + 1)
    channels = settings.get("out_channels", shape[1])
    return (shape[0], channels, *sizes) if min(sizes) > 0 else None


def count_macs(
    op: str,
    output_shape: tuple[int, ...],
    weights: list[Tensor],
    input_shape: tuple[int, ...],
) -> int:
    """Multiply-accumulate operations for one image, as torchinfo counts mult-adds.

    A convolution's or linear layer's weight acts once per output position, and so does its bias.
    A transposed convolution's weight acts once per *input* position. Other weights
    (normalization, PReLU) count once each: after training they fold into their neighbours.
    What has no weights counts nothing, and neither does a factor such as a layer scale.
    shapes without the batch axis; weights: parameters, not buffers
    """
    matrices = sum(value.numel() for value in weights if value.dim() > 1)
    vectors = sum(value.numel() for value in weights if value.dim() <= 1)
    if op.startswith("ConvTranspose"):
        return matrices * prod(input_shape[1:]) + vectors * prod(output_shape[1:])
    if op.startswith("Conv"):
        return (matrices + vectors) * prod(output_shape[1:])
    if op == "Linear":
        return (matrices + vectors) * prod(output_shape[:-1])
    return matrices + vectors if hasattr(nn, op) else 0


def count_multiplications(graph: Graph) -> dict[str, int]:
    """Of each operation, by name, for one image; 0 for all but convolutions and linear layers.

    What the pages count: each weight of its matrix once per position, without biases, which are
    added, and without normalization, which folds into its neighbour after training.
    """
    taken = graph.input_shapes()
    return {
        node.name: _multiplications(node, next(iter(taken[node.name]), ())) for node in graph.nodes
    }


def _multiplications(node: Node, input_shape: tuple[int, ...]) -> int:
    weights = sum(prod(shape) for shape in node.parameters.values() if len(shape) > 1)
    if node.op.startswith("ConvTranspose"):
        return weights * prod(input_shape[1:])
    if node.op.startswith("Conv"):
        return weights * prod(node.output_shape[1:])
    return weights * prod(node.output_shape[:-1]) if node.op == "Linear" else 0
