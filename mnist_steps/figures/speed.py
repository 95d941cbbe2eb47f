"""Where a step's time goes."""

from collections.abc import Mapping

from mnist_steps.figures.fluid import fluid, line, symbol, text
from mnist_steps.figures.style import Figure, colour, with_colours

PART_COLOURS = ("muted", "train", "test", "accent", "wrong", "ink")
LEFT, RIGHT = 21.0, 96.0  # percent of the width: where bars begin and end
TOP, ROW, BAR = 48, 38, 26  # pixels: above the bars, from one to the next, of one
COLUMNS = (0.0, 30.0, 67.0)  # percent, of the legend: a phone has room for them


def step_parts(steps: Mapping[str, Mapping[str, float]]) -> Figure:
    """Where the time of a training step goes, in shares of it: one bar a network.

    steps: by the network's name, the seconds of each part, in order
    Raises MnistStepsError for more parts than PART_COLOURS.
    """
    names = list(dict.fromkeys(part for parts in steps.values() for part in parts))
    colours = dict(with_colours(names, PART_COLOURS))
    bottom = TOP + ROW * len(steps)
    drawn = []
    for place, (name, chosen) in enumerate(colours.items()):  # many parts are too thin for a name
        x, y = COLUMNS[place % len(COLUMNS)], 2 + 20 * (place // len(COLUMNS))
        drawn.append(symbol(x, y, "M0 0H10V12H0Z", f'fill="{colour(chosen)}"'))
        drawn.append(text(x, y + 10, name, "ink", shift=15, small=True))
    for percent in range(0, 101, 20):
        x = LEFT + (RIGHT - LEFT) * percent / 100
        drawn.append(line(x, TOP, x, bottom, "grid", 0.8))
        drawn.append(text(x, bottom + 16, f"{percent}", "muted", "middle"))
    drawn.append(text((LEFT + RIGHT) / 2, bottom + 36, "percent of a step", "muted", "middle"))
    described = []
    for row, (name, parts) in enumerate(steps.items()):
        whole, top, left = sum(parts.values()), TOP + ROW * row + (ROW - BAR) / 2, LEFT
        drawn.append(text(0, top + 10, name, "ink"))
        drawn.append(text(0, top + 25, f"{1000 * whole:.1f} ms", "muted", small=True))
        for part, seconds in parts.items():
            width = (RIGHT - LEFT) * seconds / whole
            drawn.append(_bar(left, top, width, BAR, colours[part]))
            left += width
        shares = ", ".join(f"{part} {seconds / whole:.0%}" for part, seconds in parts.items())
        described.append(f"{name}, {1000 * whole:.1f} ms: {shares}")
    return fluid(drawn, bottom + 42, f"Where a training step's time goes. {'; '.join(described)}.")


def _bar(x: float, y: float, width: float, height: float, name: str) -> str:
    """x and width in percent, y and height in pixels; name: of the colour."""
    return (
        f'<rect x="{x:.2f}%" y="{y:g}" width="{width:.2f}%" height="{height:g}" '
        f'fill="{colour(name)}"/>'
    )
