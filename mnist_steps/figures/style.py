"""The style of all figures: SVG that follows the reader's light or dark theme.

Figures are drawn with the colours of PALETTE and then refer to them as CSS variables, so
that a page's style sheet can change them; without one (in Jupyter) the drawn colours hold.
Every figure carries a text that says what it shows, for those who cannot see it.
"""

import html
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from mnist_steps import data
from mnist_steps.errors import MnistStepsError
from mnist_steps.markup import standalone

T = TypeVar("T")
Pair = tuple[float, float]

# Name of the CSS variable --figure-NAME, and its colour on light ground. Train and test differ in
# lightness too, so that they stay apart for colour-blind readers and in print.
PALETTE = {
    "ink": "#24303c",
    "muted": "#67727e",
    "grid": "#d5dbe1",
    "train": "#c2570c",
    "test": "#1d5fbf",
    "accent": "#0f7b5f",
    "wrong": "#b3261e",
}

# What axes take when they are made; `finish` has the rest.
STYLE: Any = {  # Matplotlib would have each key typed
    "font.size": 11,
    "axes.edgecolor": PALETTE["muted"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "grid.color": PALETTE["grid"],
    "grid.linewidth": 0.7,
    "xtick.color": PALETTE["muted"],
    "ytick.color": PALETTE["muted"],
    "figure.facecolor": "none",
}


@dataclass(frozen=True)
class Figure:
    """A finished figure: notebooks and pages show it, `save` writes it to a file.

    alt: what the figure shows, for screen readers
    """

    svg: str
    alt: str

    def _repr_html_(self) -> str:
        return f'<figure class="plot">{self.svg}</figure>'

    __html__ = _repr_html_  # templates take it as it is

    def save(self, path: str | Path, credit: str = "") -> None:
        """As an SVG file that stands by itself, in the colours for light ground.

        credit: a line below the figure
        """
        data.write_atomically(Path(path), standalone(self.svg, credit).encode())


def finish(figure: MatplotlibFigure, alt: str) -> Figure:
    """Turn a Matplotlib figure, drawn in PALETTE, into theme-following SVG with a text."""
    for text in figure.findobj(Text):
        if text.get_color() == "black":  # Matplotlib's own default, unreadable on dark ground
            text.set_color(PALETTE["ink"])
    buffer = io.StringIO()
    # The salt names the SVG's inner parts: different figures on one page must not share names.
    # Text stays text: small, searchable, in the page's font.
    with matplotlib.rc_context({"svg.hashsalt": alt, "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", bbox_inches="tight", pad_inches=0.05, metadata=_BARE)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\n\s*", "\n", svg)
    for name, colour in PALETTE.items():
        svg = svg.replace(colour, f"var(--figure-{name}, {colour})")
    svg = re.sub(r"'?DejaVu Sans'?(, [^;\"]*)?", "system-ui, sans-serif", svg)
    width = float(re.search(r'width="([\d.]+)pt"', svg)[1]) * 4 / 3  # type: ignore[index]
    svg = re.sub(
        r'<svg [^>]*?(viewBox="[^"]*")[^>]*>',
        lambda found: (
            f'<svg {found[1]} xmlns="http://www.w3.org/2000/svg" '
            'xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'style="width: {width:.0f}px" role="img" aria-label="{html.escape(alt)}">'
        ),
        svg,
        count=1,
    )
    return Figure(svg, alt)


_BARE = {"Date": None, "Creator": None, "Format": None, "Type": None}


def colour(name: str) -> str:
    """A colour of PALETTE as figures write it: the page's own, else ours for light ground."""
    return f"var(--figure-{name}, {PALETTE[name]})"


def axes_row(width: float, height: float, columns: int = 1) -> tuple[MatplotlibFigure, list[Axes]]:
    """A figure of `width`×`height` inches in the site's style, and its axes beside each other."""
    with matplotlib.rc_context(STYLE):
        figure = MatplotlibFigure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(1, columns, squeeze=False)
    return figure, list(axes.flat)


def note(axes: Axes, words: str, place: Pair, shift: Pair, name: str = "ink", **text: Any) -> None:
    """Words beside a place on the axes. shift: in points; name: of the colour; text: as Text's"""
    axes.annotate(
        words, place, xytext=shift, textcoords="offset points", color=PALETTE[name], **text
    )


def aim(axes: Axes, height: float, label: str | None = None) -> None:
    """A line across at what is aimed for. label: its name in a legend"""
    axes.axhline(height, color=PALETTE["accent"], linewidth=1.2, zorder=1.9, label=label)


def box(axes: Axes, left: float, top: float, width: float, height: float, **style: Any) -> None:
    """A rectangle in the axes' own units. style: as Rectangle's"""
    axes.add_patch(Rectangle((left, top), width, height, **style))


def with_colours(things: Sequence[T], colours: Sequence[str]) -> Iterator[tuple[T, str]]:
    """Each thing with a colour of its own, named as in PALETTE.

    Raises MnistStepsError when there are fewer colours than things: none is left out silently.
    """
    if len(things) > len(colours):
        raise MnistStepsError(
            f"found {len(things)} lines or parts to draw in one figure, expected at most "
            f"{len(colours)}, one for each colour: draw some of them in another figure."
        )
    return zip(things, colours, strict=False)


def apart(heights: Sequence[float], least: float) -> list[float]:
    """The same heights, moved up where two lie closer than `least`: labels that do not touch."""
    moved = list(heights)
    order = sorted(range(len(heights)), key=lambda place: heights[place])
    for below, above in itertools.pairwise(order):
        moved[above] = max(moved[above], moved[below] + least)
    return moved
