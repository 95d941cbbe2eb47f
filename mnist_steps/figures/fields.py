"""Receptive fields: how they grow, and what one unit sees."""

from collections.abc import Sequence

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from mnist_steps.figures.containers import Panels
from mnist_steps.figures.images import show_digit
from mnist_steps.figures.style import (
    PALETTE,
    Figure,
    aim,
    apart,
    axes_row,
    box,
    finish,
    note,
    with_colours,
)
from mnist_steps.receptive_field import Analysis, EffectiveField, Layer

NETWORK_COLOURS = ("test", "train", "muted", "wrong", "ink")


def growth(analyses: Analysis | dict[str, Analysis], image_size: int) -> Figure:
    """The field's height, layer by layer, against the image.

    analyses: one network, or several by name
    image_size: in pixels; where a field grows past it, more context cannot help
    Raises MnistStepsError for more networks than NETWORK_COLOURS.
    """
    if isinstance(analyses, Analysis):
        analyses = {"": analyses}
    # A telephone shows several lines with their names; the names of layers need the room.
    figure, (axes,) = axes_row(8.2 if len(analyses) == 1 else 4.8, 3.6)
    aim(axes, image_size)
    note(axes, f"image: {image_size}", (0, image_size), (2, 4), "accent")
    described = []
    ends: dict[str, tuple[int, int, str]] = {}  # where each line ends, and its colour
    for (name, analysis), colour in with_colours(list(analyses.items()), NETWORK_COLOURS):
        layers = [layer for layer in analysis if _changes_field(analysis, layer)]
        sizes = [1] + [layer.size[0] for layer in layers]
        axes.step(range(len(sizes)), sizes, where="post", color=PALETTE[colour])
        axes.plot(range(len(sizes)), sizes, "o", markersize=4, color=PALETTE[colour])
        ends[name] = len(sizes) - 1, sizes[-1], colour
        steps = ", ".join(f"{layer.name} {layer.size[0]}" for layer in layers)
        described.append(f"{name or 'the network'}: {steps}")
    # Names stand in a column at the right, each tied to the end of its line: lines may meet.
    longest = max(place for place, *_ in ends.values())
    highest = max(image_size, *(size for _, size, _ in ends.values()))
    heights = apart([size for _, size, _ in ends.values()], 0.075 * highest)
    for height, (name, (place, size, colour)) in zip(heights, ends.items(), strict=True):
        if not name:
            continue  # the only one
        axes.plot([place, longest + 0.6], [size, height], color=PALETTE[colour], linewidth=0.6)
        axes.text(longest + 0.7, height, name, color=PALETTE[colour], va="center", fontsize=10)
    if len(analyses) == 1:
        axes.set_xticks(range(len(sizes)), ["input"] + [layer.name for layer in layers])
        axes.tick_params(axis="x", rotation=60 if len(sizes) > 12 else 0, labelsize=9)
    else:
        axes.set_xlim(right=longest + 0.6)  # names stand outside: the aim would cross them
        axes.set_xlabel("layers that enlarge the field or the jump")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(ylabel="field, pixels", ylim=(0, None))
    return finish(figure, f"Size of the receptive field after each layer: {'; '.join(described)}.")


def _changes_field(analysis: Analysis, layer: Layer) -> bool:
    """Whether a layer's field or jump differs from that of the layer before it."""
    position = analysis.layers.index(layer)
    if position == 0:
        return True
    before = analysis.layers[position - 1]
    return layer.has_map and (layer.size, layer.jump) != (before.size, before.jump)


def one_axis(layers: Sequence[tuple[str, int, int, int]], input_size: int, unit: int) -> Figure:
    """One axis of a small network as rows of units, with what one unit of the last layer sees.

    layers: name, kernel, stride and dilation of each, without padding
    unit: which unit of the last layer to follow back to the input
    """
    sizes = [input_size]
    for _, kernel, stride, dilation in layers:
        sizes.append((sizes[-1] - (kernel - 1) * dilation - 1) // stride + 1)
    centers = [[float(x) for x in range(input_size)]]  # of each row's units, in input pixels
    for (_, kernel, stride, dilation), size in zip(layers, sizes[1:], strict=True):
        below = centers[-1]
        reach = (kernel - 1) * dilation
        centers.append([(below[u * stride] + below[u * stride + reach]) / 2 for u in range(size)])
    seen = [{unit}]  # of each row, from the last back to the input
    for _, kernel, stride, dilation in reversed(layers):
        seen.append({u * stride + tap * dilation for u in seen[-1] for tap in range(kernel)})
    seen.reverse()

    figure, (axes,) = axes_row(4.6, 0.62 * len(sizes) + 0.3)  # a telephone shows it whole
    axes.set_axis_off()
    for row, (places, chosen) in enumerate(zip(centers, seen, strict=True)):
        for u, x in enumerate(places):
            box(
                axes, x - 0.42, 1.4 * row - 0.35, 0.84, 0.7, linewidth=1,
                edgecolor=PALETTE["muted"], facecolor=PALETTE["test" if u in chosen else "grid"],
                alpha=0.85 if u in chosen else 0.45,
            )  # fmt: skip
        label = "input" if row == 0 else layers[row - 1][0]
        axes.text(-1.2, 1.4 * row, label, ha="right", va="center")
        if row:
            _, kernel, stride, dilation = layers[row - 1]
            for u in chosen:
                for tap in range(kernel):
                    x = centers[row - 1][u * stride + tap * dilation]
                    axes.plot([places[u], x], [1.4 * row - 0.35, 1.4 * row - 1.05], linewidth=1,
                              color=PALETTE["test"])  # fmt: skip
    axes.set(xlim=(-3.6, input_size), ylim=(-0.6, 1.4 * len(sizes) - 0.7))
    inputs = sorted(seen[0])
    return finish(
        figure,
        f"Rows of units, the input below. Unit {unit} of {layers[-1][0]} sees {len(inputs)} of the "
        f"input's {input_size} units, from {inputs[0]} to {inputs[-1]}.",
    )


def field(layer: Layer, image: Tensor, row: int, col: int) -> Figure:
    """What one unit sees, on an image: its box as a frame, the pixels that reach it filled."""
    figure, (axes,) = axes_row(3.4, 3.4)
    _draw_field(axes, layer, image, row, col)
    return finish(figure, _describe_field(layer, row, col))


def field_and_effective(
    layer: Layer, effective: EffectiveField, image: Tensor, row: int, col: int
) -> Panels:
    """Side by side: the pixels that can reach a unit, and how much each one really does."""
    left, (axes,) = axes_row(3.4, 3.6)
    _draw_field(axes, layer, image, row, col)
    axes.set_title("can reach the unit")
    right, (axes,) = axes_row(3.4, 3.6)
    show_digit(axes, image, strength=0.25)
    weight = effective.map / effective.map.max()
    colour = torch.tensor(matplotlib.colors.to_rgb(PALETTE["train"])).expand(*weight.shape, 3)
    shown = torch.cat((colour, weight.sqrt()[..., None]), dim=2)
    height, width = weight.shape
    axes.imshow(shown.numpy(), extent=(0, width, height, 0), interpolation="nearest")
    _frame(axes, height, width)
    axes.set_title(f"really does: {effective.share:.0%} within {effective.size} pixels")
    return Panels(
        (
            finish(left, _describe_field(layer, row, col)),
            finish(
                right,
                "The gradient's share of each pixel, averaged over digits: "
                f"{effective.share:.0%} of it lies within a square of {effective.size} pixels.",
            ),
        )
    )


def _draw_field(axes: Axes, layer: Layer, image: Tensor, row: int, col: int) -> None:
    show_digit(axes, image)
    for y, x in layer.mask(row, col).nonzero().tolist():
        box(axes, x, y, 1, 1, facecolor=PALETTE["test"], alpha=0.4, linewidth=0)
    height, width = layer.input_size
    top, left, bottom, right = layer.box(row, col)
    box(axes, left, top, right - left, bottom - top, fill=False, edgecolor=PALETTE["train"],
        linewidth=1.8)  # fmt: skip
    _frame(axes, height, width)


def _frame(axes: Axes, height: int, width: int) -> None:
    """The border of an image."""
    box(axes, 0, 0, width, height, fill=False, edgecolor=PALETTE["muted"], linewidth=0.8)
    axes.set(xlim=(-0.5, width + 0.5), ylim=(height + 0.5, -0.5))


def _describe_field(layer: Layer, row: int, col: int) -> str:
    top, left, bottom, right = layer.box(row, col)
    return (
        f"An image of {layer.input_size[0]} by {layer.input_size[1]} pixels with what unit "
        f"{row}, {col} of {layer.name} sees: a box of {bottom - top} by {right - left} pixels, "
        f"of which {layer.pixels(row, col)} reach the unit."
    )
