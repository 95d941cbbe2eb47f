"""Test digits as pictures on a page: which a change has taught a network, and which it has cost."""

import html
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mnist_steps import data
from mnist_steps.errors import MnistStepsError
from mnist_steps.experiments.study import OURS, Store
from mnist_steps.figures.drawing import address_of
from mnist_steps.markup import Html
from mnist_steps.stages import Stage

SHOWN = 4  # digits of each kind, at most


@dataclass(frozen=True)
class Misread:
    """How often each test image was not recognised.

    runs: how many runs there are
    times: by the image's position, in how many of them; never 0
    """

    runs: int
    times: Counter[int]

    def share(self, position: int) -> float:
        return self.times[position] / self.runs


def misread(stage: Stage, store: Store = OURS) -> Misread:
    """By the runs of the study. Raises MnistStepsError where there are none."""
    outcomes = store.outcomes(stage)
    if not outcomes:
        raise MnistStepsError(
            f"stage {stage.number} has no study to look at. Make it with: mnist-steps study "
            f"--stages {stage.number}"
        )
    return Misread(len(outcomes), Counter(place for one in outcomes for place in one.wrong))


def newly(before: Stage, after: Stage, store: Store = OURS) -> Html:
    """Which test digits most runs of a stage read and most of the stage before did not; and back.

    A digit is newly right when at least half of the runs before misread it and fewer than half
    of those after do; newly wrong the other way. Those with the largest change are shown.
    """
    old, new = misread(before, store), misread(after, store)
    right, wrong = (_turned(*pair) for pair in ((old, new), (new, old)))
    words = (
        f"At least half of the runs of stage {before.number} ({old.runs}) misread these, and fewer "
        f"than half of stage {after.number} ({new.runs}) do"
    )
    groups = [
        (f"Newly right: {len(right)} test digits", right),
        (f"Newly wrong: {len(wrong)} that were right before", wrong),
    ]
    markup = "".join(
        f'<div><p class="digits-title"><strong>{title}</strong></p>'
        f"{_pictures(positions, old, new)}</div>"
        for title, positions in groups
    )
    note = (
        f"{words}. Below each digit: what it is, and how many runs misread it before → after; the "
        f"{SHOWN} with the largest change."
    )
    text = "\n".join(
        [note]
        + [f"{title}: {', '.join(map(str, positions[:SHOWN]))}" for title, positions in groups]
    )
    return Html(f'<div class="newly beside">{markup}</div><p class="figure-note">{note}</p>', text)


def _turned(old: Misread, new: Misread) -> list[int]:
    """Positions of images that most old runs and few new ones misread, largest change first."""
    found = [at for at in old.times if old.share(at) >= 0.5 > new.share(at)]
    return sorted(found, key=lambda at: (new.share(at) - old.share(at), at))


def _pictures(positions: Sequence[int], old: Misread, new: Misread) -> str:
    mnist = data.mnist().test
    shown = []
    for at in positions[:SHOWN]:
        # Where a line is too short for both, the second begins with the arrow.
        words = f"{old.times[at]}/{old.runs} →&nbsp;{new.times[at]}/{new.runs}"
        label = mnist.labels[at]
        alt = f"Test digit {at}, a {label}"
        shown.append(
            f'<li><img src="{address_of(mnist.images[at])}" alt="{html.escape(alt)}" '
            f'width="56" height="56"><strong>{label}</strong><br>{words}</li>'
        )
    return f'<ul class="digits" role="list">{"".join(shown)}</ul>' if shown else "<p>None.</p>"
