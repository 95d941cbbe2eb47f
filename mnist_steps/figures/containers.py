"""Figures that are more than one picture: panels side by side, and figures that move on the site.

A figure of several panels is several pictures, not one wide one: on a narrow screen they stand
below each other and keep the size of their letters. A moving figure is a picture with data beside
it. On the site a module of docs/javascripts/figures/ puts controls in its place; without
JavaScript, and in Jupyter, the picture stays.
"""

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mnist_steps.errors import MnistStepsError
from mnist_steps.figures.style import Figure
from mnist_steps.markup import json_script

MOST_BYTES = 30_000  # of a moving figure's data: it travels with its page


@dataclass(frozen=True)
class Panels:
    """Pictures beside each other, as many as the screen has room for.

    caption: below all of them, for what every reader should know
    folded: further panels that open below, None for nothing
    """

    figures: tuple[Figure, ...]
    caption: str = ""
    folded: "Folded | None" = None

    @property
    def alt(self) -> str:
        """What all of them show, for screen readers."""
        return " ".join(figure.alt for figure in self.figures)

    def _repr_html_(self) -> str:
        shown = "".join(figure._repr_html_() for figure in self.figures)
        # Jupyter has no style sheet of ours, so the one rule that matters stands here.
        parts = [f'<div style="display: flex; flex-wrap: wrap; gap: 0 1.2em">{shown}</div>']
        if self.caption:
            parts.append(f'<p class="panels-caption">{html.escape(self.caption)}</p>')
        if self.folded:
            parts.append(self.folded._repr_html_())
        return f'<div class="panels">{"".join(parts)}</div>'

    __html__ = _repr_html_  # templates take it as it is


def panels(*figures: Figure) -> Panels:
    return Panels(figures)


@dataclass(frozen=True)
class Beside:
    """Figures that are as wide as their place, in two columns where there is room for two."""

    figures: tuple[Figure, ...]

    @property
    def alt(self) -> str:
        return " ".join(figure.alt for figure in self.figures)

    def _repr_html_(self) -> str:
        return f'<div class="beside">{"".join(one._repr_html_() for one in self.figures)}</div>'

    __html__ = _repr_html_  # templates take it as it is


def beside(*figures: Figure) -> Beside:
    return Beside(figures)


@dataclass(frozen=True)
class Folded:
    """A figure that opens below its title."""

    title: str
    figure: Figure | Panels | Beside

    @property
    def alt(self) -> str:
        return self.figure.alt

    def _repr_html_(self) -> str:
        return (
            f'<details class="fold"><summary>{html.escape(self.title)}</summary>'
            f"{self.figure._repr_html_()}</details>"
        )

    __html__ = _repr_html_  # templates take it as it is


def folded(title: str, figure: Figure | Panels | Beside) -> Folded:
    return Folded(title, figure)


@dataclass(frozen=True)
class Moving:
    """A figure that answers its reader.

    module: its script, docs/javascripts/figures/MODULE.js
    still: what is seen where no script runs: the same figure in one of its states
    data: what the script computes with, plain and not larger than MOST_BYTES as JSON
    """

    module: str
    still: Figure | Panels
    data: Mapping[str, Any]

    def __post_init__(self) -> None:
        size = len(self._json)
        if size > MOST_BYTES:
            raise MnistStepsError(
                f"the figure {self.module!r} has {size:,} bytes of data, expected at most "
                f"{MOST_BYTES:,}: give it fewer values or fewer digits of each."
            )

    @property
    def alt(self) -> str:
        return self.still.alt

    @property
    def _json(self) -> str:
        return json_script(self.data)

    def _repr_html_(self) -> str:
        return (
            f'<div class="moving" data-moving="{self.module}">'
            f'<div class="moving-still">{self.still._repr_html_()}</div>'
            f"{self._json}</div>"
        )

    __html__ = _repr_html_
