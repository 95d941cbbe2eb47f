"""What training a network costs, known before it begins: work and memory for one image.

Multiply-accumulate operations alone would not do. A pool looks at every value of every window and
has no weights; a convolution that pads by anything but zeros first makes a larger copy of its
input.
"""

from math import prod

from mnist_steps.graph import INPUT, Graph, Node


def work(graph: Graph) -> dict[str, int]:
    """For each operation, by name: how many values it multiplies, compares, copies or writes."""
    given = _input_shapes(graph)
    return {
        node.name: node.macs
        + looked_at(node, given[node.name])
        + padded(node, given[node.name])
        + prod(node.output_shape)
        for node in graph.nodes
    }


def values(graph: Graph) -> int:
    """How many numbers a training step keeps for one image: outputs, and padded inputs."""
    given = _input_shapes(graph)
    return sum(prod(node.output_shape) + padded(node, given[node.name]) for node in graph.nodes)


def looked_at(node: Node, given: tuple[int, ...]) -> int:
    """The values in all windows of a pool, counted once for each window; 0 for other operations."""
    if node.op.startswith("Adaptive"):
        # Windows tile the axis and may overlap by one value at each border.
        sizes = zip(given[1:], node.output_shape[1:], strict=True)
        return given[0] * prod(before + after for before, after in sizes)
    if node.op in ("MaxPool2d", "AvgPool2d"):
        return prod(node.output_shape) * prod(node.attributes["kernel_size"])
    return 0


def padded(node: Node, given: tuple[int, ...]) -> int:
    """The values in the padded copy that a convolution makes of its input; 0 where it makes none.

    given: the input's shape (C, H, W)
    """
    if node.op != "Conv2d":
        return 0
    padding = node.attributes["padding"]
    spans = [
        dilation * (kernel - 1)
        for dilation, kernel in zip(
            node.attributes["dilation"], node.attributes["kernel_size"], strict=True
        )
    ]
    if padding == "same":
        both_sides, uneven = spans, any(span % 2 for span in spans)
    else:
        both_sides, uneven = [0, 0] if padding == "valid" else [2 * one for one in padding], False
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


def _input_shapes(graph: Graph) -> dict[str, tuple[int, ...]]:
    """By the operation's name, the shape of its first input."""
    shapes = {INPUT: graph.input_shape} | {node.name: node.output_shape for node in graph.nodes}
    return {node.name: shapes[node.inputs[0]] for node in graph.nodes}
