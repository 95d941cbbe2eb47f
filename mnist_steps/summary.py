"""The layer table: what each layer gives out, weighs, computes and sees.

One row per operation, from the same trace as the receptive fields, so functional calls have
rows too. Shown are the multiplications of convolutions and linear layers; multiply-accumulate
operations, `macs`, are counted as torchinfo does (see graph.count_macs for the two places where
it is wrong), memory as torchsummary does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import nn

from mnist_steps import graph, markup, receptive_field
from mnist_steps.graph import Graph
from mnist_steps.markup import Html
from mnist_steps.receptive_field import Layer, times

MB = 1024**2
BYTES = 4  # of a float32


@dataclass(frozen=True)
class Row:
    """One layer.

    output_shape: (C, H, W), without the batch
    params, macs: weights, and multiply-accumulate operations for one image
    multiplications: for one image, see graph.count_multiplications
    size, jump: receptive field and its step in input pixels, (height, width); None where the
        layer does not depend on the image, or has no single jump
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    params: int
    macs: int
    multiplications: int
    size: tuple[int, ...] | None
    jump: tuple[int | None, ...] | None


@dataclass(frozen=True)
class Table:
    """The rows and their totals; prints as text and shows as HTML in a notebook.

    total_params: every weight of the model once, though a shared layer has a row for each use
    input_mb, params_mb: of one image and of all weights, in float32
    forward_backward_mb: the outputs of all rows and as much again for their gradients,
        torchsummary's estimate for one image
    """

    title: str
    input_shape: tuple[int, ...]
    rows: tuple[Row, ...]
    total_params: int
    total_macs: int

    @property
    def total_multiplications(self) -> int:
        return sum(row.multiplications for row in self.rows)

    @property
    def input_mb(self) -> float:
        return BYTES * prod(self.input_shape) / MB

    @property
    def forward_backward_mb(self) -> float:
        return 2 * BYTES * sum(prod(row.output_shape) for row in self.rows) / MB

    @property
    def params_mb(self) -> float:
        return BYTES * self.total_params / MB

    @property
    def total_mb(self) -> float:
        return self.input_mb + self.forward_backward_mb + self.params_mb

    def as_data(self) -> dict[str, Any]:
        """Plain data for JSON."""
        totals = (
            "total_params", "total_macs", "total_multiplications",
            "input_mb", "forward_backward_mb", "params_mb", "total_mb",
        )  # fmt: skip
        rows = [graph.plain(vars(row)) for row in self.rows]
        described = {"title": self.title, "input_shape": list(self.input_shape), "rows": rows}
        return described | {name: getattr(self, name) for name in totals}

    def __str__(self) -> str:
        return self._shown.text

    def _repr_html_(self) -> str:
        return self._shown.markup

    __html__ = _repr_html_

    @property
    def _shown(self) -> Html:
        rows = [cells(row) for row in self.rows]
        return markup.table(COLUMNS, rows, self.caption, words=(1,), foot=self._totals(), wide=WIDE)

    @property
    def caption(self) -> str:
        return f"{self.title} on an input of {times(self.input_shape)}"

    def _totals(self) -> list[str]:
        return [
            f"{self.total_params:,} parameters, {self.total_multiplications:,} multiplications per "
            "image, in convolutions and linear layers",
            f"memory: input {self.input_mb:.2f} MB, forward and backward "
            f"{self.forward_backward_mb:.2f} MB, parameters {self.params_mb:.2f} MB, "
            f"total {self.total_mb:.2f} MB",
        ]


COLUMNS = ("layer", "kind", "output", "parameters", "multiplications", "field", "jump")
WIDE = (1, 4, 6)  # columns that a phone leaves out


def summarize(model: nn.Module, input_shape: tuple[int, ...], everything: bool = False) -> Table:
    """The model's layer table.

    input_shape: of one image: (1, 28, 28)
    everything: with rows for activations, dropout and reshapes too (the minor ones of
        graph.OPERATIONS), which then also count in forward_backward_mb
    Raises as receptive_field.analyze does.
    """
    analysis = receptive_field.analyze(model, input_shape)
    layers = {layer.name: layer for layer in analysis}
    return of_graph(type(model).__name__, analysis.graph, layers, everything)


def of_graph(
    title: str, traced: Graph, layers: Mapping[str, Layer], everything: bool = False
) -> Table:
    """The layer table of a network that was traced and analyzed before; else as `summarize`.

    layers: by the names that the graph has for them
    """
    rows = []
    products = graph.count_multiplications(traced)
    for node in traced.nodes:
        if graph.OPERATIONS[node.op].minor and not everything:
            continue
        layer = layers.get(node.name)
        rows.append(
            Row(
                name=node.name,
                kind=node.op,
                output_shape=node.output_shape,
                params=node.params,
                macs=node.macs,
                multiplications=products[node.name],
                size=layer.size if layer else None,
                jump=layer.jump if layer else None,
            )
        )
    return Table(title, traced.input_shape, tuple(rows), traced.total_params, traced.total_macs)


def cells(row: Row) -> tuple[str, ...]:
    """A row as text, one for each of COLUMNS."""
    return (
        row.name,
        row.kind,
        times(row.output_shape),
        f"{row.params:,}",
        f"{row.multiplications:,}" if row.multiplications else "–",
        "–" if row.size is None else times(row.size),
        "–" if row.jump is None or None in row.jump else times(row.jump),
    )
