"""A network as plain data: its operations in order, with attributes, shapes, weights and MACs.

    graph.trace(model, (1, 28, 28)).as_data()

`operations` lists what is known, an entry for each operation; `tracing` follows a model's code
and makes a `Node` of each call; `places` names the calls and finds them in the model's source.
An operation that has no entry raises `UnknownOperation`; nothing is guessed.
"""

from mnist_steps.graph.nodes import INPUT, Graph, Node, NotTraceable, UnknownOperation, plain
from mnist_steps.graph.operations import CONSTANTS, OPERATIONS, ranks
from mnist_steps.graph.shapes import count_macs, count_multiplications
from mnist_steps.graph.tracing import BATCH, Symbolic, arguments, perform, trace, without_hooks

__all__ = [
    "BATCH",
    "CONSTANTS",
    "INPUT",
    "OPERATIONS",
    "Graph",
    "Node",
    "NotTraceable",
    "Symbolic",
    "UnknownOperation",
    "arguments",
    "count_macs",
    "count_multiplications",
    "perform",
    "plain",
    "ranks",
    "trace",
    "without_hooks",
]
