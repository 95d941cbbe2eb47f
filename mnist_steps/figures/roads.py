"""Roads to a small network: accuracy against what a network costs, each road a shape of its own."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mnist_steps.experiments.evidence import Interval
from mnist_steps.figures.containers import Beside
from mnist_steps.figures.fluid import Axis, fluid, level, line, symbol, text
from mnist_steps.figures.style import Figure, colour

# By name: a colour of PALETTE, and a path around (0, 0), about 10 pixels large.
SHAPES = {
    "redesign": ("test", "M-5 0A5 5 0 1 0 5 0A5 5 0 1 0 -5 0Z"),
    "single weights": ("wrong", "M0 -6L6 5L-6 5Z"),
    "channels": ("train", "M-4.5 -4.5H4.5V4.5H-4.5Z"),
    "low rank": ("accent", "M0 -6.5L6.5 0L0 6.5L-6.5 0Z"),
    "quantization": ("ink", "M0 6L6 -5L-6 -5Z"),
    "distillation": ("muted", "M-2 -6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z"),
}
WORST = 97.0  # percent: what is below stands at the bottom
MARKS = (97, 98, 98.5, 99, 99.2, 99.4, 99.5, 99.6, 99.7)
LEFT, RIGHT = 11.0, 96.0  # percent of the width
TOP, HEIGHT = 40, 270  # pixels


@dataclass(frozen=True)
class Place:
    """A network on the figure.

    road: one of SHAPES; label: a few letters beside it, '' for none
    mean: test accuracy in percent; interval: of the mean, if there is one
    """

    road: str
    label: str
    size: float
    microseconds: float
    mean: float
    interval: Interval | None


def roads_compared(places: Sequence[Place], target: float) -> Beside:
    """Two pictures: accuracy against the bytes of a file, and against time for an image.

    target: in percent
    """
    return Beside(
        (
            _picture(places, [one.size for one in places], "bytes of the file", "bytes", target),
            _picture(
                places, [one.microseconds for one in places],
                "microseconds for an image, one thread", "µs", target,
            ),
        )
    )  # fmt: skip


def _picture(
    places: Sequence[Place], values: Sequence[float], axis: str, unit: str, target: float
) -> Figure:
    across = Axis(LEFT, RIGHT, 0.7 * min(values), 1.5 * max(values))
    highest = max(one.interval.high if one.interval else one.mean for one in places)
    errors = Axis(HEIGHT, TOP, 100 - WORST, max(0.85 * (100 - highest), 0.01))

    def down(accuracy: float) -> float:
        return errors(min(100 - accuracy, 100 - WORST))

    parts = [text(0, 14, "test accuracy in percent", "muted")]
    for mark in MARKS:
        if 100 - mark >= errors.last:
            parts += level(down(mark), LEFT, RIGHT, f"{mark:g}", mark == target)
    low, high = (math.log10(end) for end in (across.first, across.last))
    for power in range(math.ceil(low), math.floor(high) + 1):
        x = across(10.0**power)
        parts.append(line(x, TOP - 8, x, HEIGHT, "grid", 0.8))
        parts.append(text(x, HEIGHT + 18, _short(10**power, unit), "muted", "middle"))
    parts.append(text((LEFT + RIGHT) / 2, HEIGHT + 36, axis, "muted", "middle"))
    named: list[tuple[float, float]] = []
    for place, value in zip(places, values, strict=True):
        x, y = across(value), down(place.mean)
        # A label that would run over another one is left out: the text and the table have it.
        free = all(abs(x - a) > 10 or abs(y - b) > 12 for a, b in named)
        if place.label and free:
            named.append((x, y))
        parts += _mark(place, x, down, labelled=free)
    used = [road for road in SHAPES if any(place.road == road for place in places)]
    for number, road in enumerate(used):
        x, y = (2, 52)[number % 2], HEIGHT + 58 + 20 * (number // 2)
        parts += [_shape(road, x + 2, y), text(x + 2, y + 4, road, "ink", shift=11)]
    below = HEIGHT + 62 + 20 * ((len(used) - 1) // 2)
    listed = "; ".join(
        f"{place.road}, {place.label or 'no name'}: {value:,.0f} {unit}, {place.mean:.2f} %"
        + (f" ({place.interval:.2f})" if place.interval else "")
        for place, value in zip(places, values, strict=True)
    )
    return fluid(parts, below + 8, f"Test accuracy against {axis}. {listed}.")


def _short(value: float, unit: str) -> str:
    """A tick: '10 kB', '1 ms'."""
    units = ("B", "kB", "MB", "GB") if unit == "bytes" else ("µs", "ms", "s", "ks")
    power = int(math.log10(value) + 1e-9) // 3
    return f"{value / 1000**power:g} {units[power]}"


def _mark(place: Place, x: float, down: Callable[[float], float], labelled: bool) -> list[str]:
    parts, y = [_shape(place.road, x, down(place.mean))], down(place.mean)
    if place.interval:
        ends = down(place.interval.low), down(place.interval.high)
        parts.insert(0, line(x, ends[0], x, ends[1], SHAPES[place.road][0], 2, 0.5))
    if place.label and labelled:
        anchor = "end" if x > 88 else "start"
        parts.append(text(x, y + 4, place.label, "ink", anchor, shift=9, small=True))
    return parts


def _shape(road: str, x: float, y: float) -> str:
    name, path = SHAPES[road]
    return symbol(x, y, path, f'fill="{colour(name)}" fill-opacity="0.85"')
