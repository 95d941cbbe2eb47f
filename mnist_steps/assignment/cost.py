"""What training a network costs, known before it begins: work and memory for one image.

Multiply-accumulate operations alone would not do. A pool looks at every value of every window and
has no weights; a convolution that pads by anything but zeros first makes a larger copy of its
input.
"""

from math import prod

from mnist_steps.graph import Graph, Node

BICUBIC = 16  # values that an upsampled value is computed from, at most


def work(graph: Graph) -> dict[str, int]:
    """For each operation, by name: how many values it multiplies, reads, copies or writes."""
    given = graph.input_shapes()
    return {
        node.name: node.macs
        + sum(map(prod, given[node.name]))
        + prod(node.output_shape) * window(node, given[node.name][0])
        + padded(node, given[node.name][0])
        for node in graph.nodes
    }


def values(graph: Graph) -> int:
    """How many numbers a training step keeps for one image: outputs, and padded inputs."""
    given = graph.input_shapes()
    return sum(prod(node.output_shape) + padded(node, given[node.name][0]) for node in graph.nodes)


def window(node: Node, given: tuple[int, ...]) -> int:
    """How many values of its input an output value is computed from, weights aside.

    given: the input's shape, channels first
    """
    if node.op.startswith("Adaptive"):
        # Windows tile the axis and overlap by at most one value.
        sizes = zip(given[1:], node.output_shape[1:], strict=True)
        return prod(-(-before // after) + 1 for before, after in sizes)
    if node.op.startswith("Upsampl"):
        return BICUBIC
    if node.op == "LocalResponseNorm":
        return int(node.attributes["size"])
    if "Conv" not in node.op and "kernel_size" in node.attributes:
        return prod(node.attributes["kernel_size"])
    return 1


def padded(node: Node, given: tuple[int, ...]) -> int:
    """The values in the padded copy that a convolution makes of its input; 0 where it makes none.

    given: the input's shape, channels first
    """
    if not node.op.startswith("Conv") or node.op.startswith("ConvTranspose"):
        return 0
    padding = node.attributes["padding"]
    windows = zip(node.attributes["dilation"], node.attributes["kernel_size"], strict=True)
    spans = [dilation * (kernel - 1) for dilation, kernel in windows]
    uneven = padding == "same" and any(span % 2 for span in spans)
    if padding == "same":
        both_sides = spans
    else:
        both_sides = [0] * len(spans) if padding == "valid" else [2 * one for one in padding]
    if not any(both_sides) or (node.attributes["padding_mode"] == "zeros" and not uneven):
        return 0
    sizes = zip(given[1:], both_sides, strict=True)
    return given[0] * prod(size + more for size, more in sizes)


def learns(graph: Graph) -> bool:
    """Whether a weight has any part in what the network returns."""
    nodes = {node.name: node for node in graph.nodes}
    waiting, seen = list(graph.outputs), set()
    while waiting:
        name = waiting.pop()
        if name in nodes and name not in seen:
            seen.add(name)
            if nodes[name].params:
                return True
            waiting += nodes[name].inputs
    return False
