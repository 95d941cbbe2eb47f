"""All seeds of stages: where each run ended, how sure their mean is, and how they got there.

Accuracies stand on an axis of errors, logarithmic: a step to the right makes the mistakes fewer by
the same factor everywhere, so that 97 and 99.5 percent fit into one figure.
"""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mnist_steps.experiments import evidence
from mnist_steps.experiments.evidence import Interval, Verdict
from mnist_steps.experiments.study import OURS, Outcome, Store
from mnist_steps.figures.fluid import (
    Axis,
    below,
    curve,
    dot,
    fluid,
    level,
    line,
    stretched,
    text,
)
from mnist_steps.figures.style import Figure, with_colours
from mnist_steps.markup import typeset
from mnist_steps.stages import BUDGET, TARGET, Stage

MARKS = (50, 90, 95, 97, 98, 98.5, 99, 99.2, 99.4, 99.5, 99.6, 99.7, 99.8, 99.9)
ROW = 42  # pixels from one row of dots to the next
TOP = 24  # above the rows: the target's name
DOT = 3.6  # radius


@dataclass(frozen=True)
class Row:
    """A stage's runs as they were judged.

    views: how many views of each image judged them: 1, or 9
    runs: how many runs there are; the verdict is of those that noted these figures
    """

    stage: Stage
    views: int
    runs: int
    finals: Sequence[float]
    verdict: Verdict | None

    @property
    def described(self) -> str:
        name = f"Stage {self.stage.number}, {self.stage.title}"
        views = "one view" if self.views == 1 else f"the mean of {self.views} views"
        if self.verdict is None:
            return f"{name}: by {views} no run was judged."
        found = self.verdict
        sure = found.interval
        interval = f", 95 % interval {sure:.3f}" if sure else ""
        return (
            f"{name}, by {views}: mean {found.mean:.3f} %{interval}, runs from "
            f"{min(self.finals):.2f} to {max(self.finals):.2f}; {found.end} of {found.runs} end at "
            f"{found.target} or above, {found.hold} hold it."
        )


def rows_of(stage: Stage, outcomes: Sequence[Outcome], views: int | None = None) -> list[Row]:
    """A stage's runs by one view of each image, by several, or both, one view first.

    views: 1 or 9 for one row; None for both where the stage's recipe has several
    A stage that has no more than one view has one row, whatever is asked for.
    """
    several = stage.recipe.views
    found = []
    if views == 1 or views is None or several == 1:
        noted = [one.one_view_accuracies for one in outcomes]
        found.append(_row(stage, 1, len(outcomes), [each for each in noted if each is not None]))
    if several > 1 and views != 1:
        found.append(_row(stage, several, len(outcomes), [one.test_accuracies for one in outcomes]))
    return found


def _row(stage: Stage, views: int, runs: int, accuracies: Sequence[list[float]]) -> Row:
    verdict = evidence.verdict(accuracies) if accuracies else None
    return Row(stage, views, runs, [each[-1] for each in accuracies], verdict)


def seeds(
    stages: Sequence[Stage],
    views: int | None = None,
    sizes: bool = False,
    store: Store = OURS,
) -> Figure:
    """Each run a dot where it ended; the mean with its 95 % interval; how many end and hold.

    views: as for `rows_of`
    sizes: the number of parameters beside it
    """
    rows = [row for stage in stages for row in rows_of(stage, store.outcomes(stage), views)]
    errors = [100 - final for row in rows for final in row.finals] + [100 - TARGET]
    axis = Axis(30 if sizes else 1.5, 76, 1.12 * max(errors), 0.88 * max(min(errors), 0.01))
    bottom = TOP + ROW * len(rows)
    parts = _ground(axis, len(rows))
    if sizes:
        parts += _sizes(rows)
    for position, row in enumerate(rows):
        parts += _row_of_dots(row, axis, TOP + ROW * position)
    for x, words in ((86, "end"), (98, "hold")):
        parts.append(text(x, 14, words, "muted", "end", small=True))
    several = any(row.views > 1 for row in rows)
    sure = any(row.verdict is not None and row.verdict.interval for row in rows)
    legend = _legend(several, sure)
    parts += below(legend, 1.5 if not sizes else 0, bottom + 38)
    alt = "Test accuracy of each run after its last epoch. " + " ".join(
        (f"{row.stage.parameters:,} parameters. " if sizes else "") + row.described for row in rows
    )
    widest = 960 if sizes else 720
    return fluid(parts, bottom + 38 + 17 * len(legend), alt, widest)


def _legend(several: bool, sure: bool) -> list[str]:
    """several: whether a row has rings; sure: whether one has an interval"""
    ring = ["○ a run judged by the mean of nine views"] if several else []
    return [
        "● a run, each test digit judged once",
        *ring,
        "┃ mean, its figure above" + ("   ━ its 95 % interval" if sure else ""),
        f"end: at {TARGET} % or above after the last epoch",
        "hold: after each of the last three",
    ]


def _ground(axis: Axis, rows: int) -> list[str]:
    """Lines and names of the axis of accuracies, and the target."""
    parts = [text(axis(100 - TARGET), 14, "target", "accent", "middle", small=True)]
    kept = [axis(100 - TARGET)]
    for mark in sorted(MARKS, key=lambda mark: mark != TARGET):  # the target's name first
        x = axis(100 - mark)
        aim = mark == TARGET
        if not aim and not (
            axis.start + 3 <= x <= axis.end and min(abs(x - at) for at in kept) > 9
        ):
            continue
        kept.append(x)
        parts += _upright(x, rows, *(("accent", 1.4) if aim else ("grid", 0.8)))
        name = "accent" if aim else "muted"
        parts.append(text(x, TOP + ROW * rows + 16, f"{mark:g}", name, "middle"))
    return parts


def _upright(x: float, rows: int, name: str, width: float) -> list[str]:
    """A line down all rows that leaves out their words."""
    return [
        line(x, TOP + ROW * row + 18, x, TOP + ROW * (row + 1) - 2, name, width)
        for row in range(rows)
    ]


def _sizes(rows: Sequence[Row]) -> list[str]:
    counts = [row.stage.parameters for row in rows]
    axis = Axis(1.5, 24, 1.1 * max(counts), 0.9 * min(counts))
    x = axis(BUDGET)  # fewer than so many are allowed
    parts = [
        *_upright(x, len(rows), "accent", 1.4),
        text(x, TOP + ROW * len(rows) + 16, f"{BUDGET:,}", "accent", "middle"),
        text(0, 14, "parameters", "muted", small=True),
    ]
    for position, count in enumerate(counts):
        x, y = axis(count), TOP + ROW * position + 28
        parts.append(dot(x, y, 4.5, "ink"))
        # The number stands where it does not run out of the figure. On a phone there is no place
        # beside the budget's line for all of them.
        right = count < BUDGET or x < (axis.start + axis.end) / 2
        anchor = "start" if right else "end"
        parts.append(text(x, y + 4, f"{count:,}", "ink", anchor, 8, small=True, above=True))
    return parts


def _row_of_dots(row: Row, axis: Axis, top: float) -> list[str]:
    middle = top + 28
    parts = [text(0 if axis.start > 20 else 1.5, top + 13, _name(row), "ink")]
    if row.verdict is None:
        return [*parts, text(76, middle + 4, "not judged so yet", "muted", "end")]
    found = row.verdict
    parts.append(text(76, top + 13, f"{found.mean:.3f}", "ink", "end"))
    parts += _dots(axis, middle, row.finals, found.interval, ring=row.views > 1)
    for x, count in ((86, found.end), (98, found.hold)):
        parts.append(text(x, middle + 4, f"{count}/{found.runs}", "ink", "end"))
    return parts


def _dots(
    axis: Axis, y: float, finals: Sequence[float], interval: Interval | None, ring: bool
) -> list[str]:
    """Runs as dots or rings, their mean as a stroke, and its interval as a bar."""
    parts = []
    if interval:
        low, high = (axis(100 - value) for value in (interval.low, interval.high))
        parts.append(line(low, y, high, y, "muted", 6, 0.45))
    for place, final in enumerate(sorted(finals)):
        height = y + (place % 3 - 1) * DOT  # neighbours do not hide each other
        parts.append(dot(axis(max(100 - final, 0.01)), height, DOT, "test", 0.65, ring))
    x = axis(100 - statistics.fmean(finals))
    return [*parts, line(x, y - 9, x, y + 9, "ink", 2.4)]


def _name(row: Row) -> str:
    views = "" if row.views == 1 else f", {row.views} views"
    if row.verdict is not None and row.verdict.runs < row.runs:
        views += f" ({row.verdict.runs} of {row.runs} runs)"
    return f"{row.stage.number}. {row.stage.title}{views}"


# --- Rung by rung ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Rung:
    """Some runs on the way from one network to another, each rung with one change more.

    title: what changed; finals: in percent; seconds: of a training, on average
    views: how many views of each image judged them
    """

    title: str
    finals: Sequence[float]
    seconds: float
    views: int = 1


def rungs(steps: Sequence[Rung]) -> Figure:
    """Each rung's runs as dots, their mean with its interval, and how long a training takes."""
    errors = [100 - final for step in steps for final in step.finals] + [100 - TARGET]
    axis = Axis(1.5, 66, 1.12 * max(errors), 0.88 * max(min(errors), 0.01))
    bottom = TOP + ROW * len(steps)
    parts = _ground(axis, len(steps))
    for x, words in ((82, "mean"), (98, "seconds")):
        parts.append(text(x, 14, words, "muted", "end", small=True))
    described = []
    for place, step in enumerate(steps):
        top, mean = TOP + ROW * place, statistics.fmean(step.finals)
        interval = evidence.interval(step.finals)
        parts.append(text(1.5, top + 13, f"{place + 1}. {step.title}", "ink"))
        parts += _dots(axis, top + 28, step.finals, interval, ring=step.views > 1)
        for x, figure in ((82, f"{mean:.3f}"), (98, f"{step.seconds:.1f}")):
            parts.append(text(x, top + 32, figure, "ink", "end"))
        sure = f", 95 % interval {interval:.3f}" if interval else ""
        described.append(
            f"{place + 1}, {step.title}: mean {mean:.3f} %{sure}, {len(step.finals)} runs, "
            f"{step.seconds:.1f} seconds"
        )
    legend = [
        "● a run, each test digit judged once",
        "○ a run judged by the mean of nine views",
        "┃ mean   ━ its 95 % interval",
    ]
    return fluid(
        [*parts, *below(legend, 1.5, bottom + 38)], bottom + 38 + 17 * len(legend),
        f"Test accuracy of each run after its last epoch, rung by rung. {'; '.join(described)}.",
    )  # fmt: skip


# --- Epoch by epoch -------------------------------------------------------------------------

CURVE_COLOURS = ("muted", "test", "train", "accent")
PLOT = (11.0, 80.0)  # percent: where the lines begin and end
HEIGHT = 230  # pixels
KINDS = {
    "test_accuracy": "test accuracy in percent",
    "train_accuracy": "training accuracy in percent",
    "test_loss": "test loss",
    "train_loss": "training loss",
}
LOSS_MARKS = (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


def all_curves(stages: Sequence[Stage], of: str = "test_accuracy", store: Store = OURS) -> Figure:
    """Each run a thin line over its epochs, the mean of a stage's runs a thick one.

    of: one of KINDS; runs are drawn as their recipe judges them
    Raises MnistStepsError for more stages than CURVE_COLOURS.
    """
    accuracy = of.endswith("accuracy")
    drawn = []
    for stage, name in with_colours(stages, CURVE_COLOURS):
        runs = [[_height(value, accuracy) for value in one.epochs[of]]
                for one in store.outcomes(stage)]  # fmt: skip
        if runs:
            means = [statistics.fmean(each) for each in zip(*runs, strict=True)]
            drawn.append((stage, name, runs, means))
    values = [value for _, _, runs, _ in drawn for run in runs for value in run]
    low, high = 0.9 * min(values), 1.1 * max(values)
    # An accuracy grows upward as its errors shrink; a loss is high where it is high.
    down = Axis(HEIGHT, 28, high, low) if accuracy else Axis(HEIGHT, 28, low, high)
    named = MARKS if accuracy else LOSS_MARKS
    marks = {_height(mark, accuracy): f"{mark:g}" for mark in named}
    epochs = max(len(means) for *_, means in drawn)
    parts = []
    last = -100.0
    for value, words in sorted(marks.items(), key=lambda mark: down(mark[0])):
        y = down(value)
        if low < value < high and y - last > 20:
            last = y
            parts += level(y, *PLOT, words)

    def across(epoch: int) -> float:
        return PLOT[0] + (PLOT[1] - PLOT[0]) * (epoch - 1) / max(epochs - 1, 1)

    for epoch in range(1, epochs + 1):
        if epochs <= 8 or epoch % 5 == 0 or epoch == 1:
            parts.append(text(across(epoch), HEIGHT + 20, f"{epoch}", "muted", "middle"))
    parts.append(text(sum(PLOT) / 2, HEIGHT + 38, "epoch", "muted", "middle"))
    parts.append(text(0, 14, KINDS[of], "muted"))
    lines = []
    for _, name, runs, means in drawn:
        thin = [(run, 0.8, 0.55) for run in runs]
        for values, width, opacity in [*thin, (means, 2.6, 1)]:
            points = [(across(epoch), down(value)) for epoch, value in enumerate(values, start=1)]
            lines.append(curve(points, name, width, opacity))
    parts.append(stretched(lines, HEIGHT))
    taken: list[float] = []
    for stage, name, _, means in sorted(drawn, key=lambda each: down(each[3][-1])):
        y = max(down(means[-1]) + 4, (taken[-1] + 16) if taken else 0)
        taken.append(y)
        parts.append(text(across(len(means)), y, f"stage {stage.number}", name, shift=6))
    described = "; ".join(
        f"stage {stage.number}, {len(runs)} runs: the mean goes from {_shown(means[0], accuracy)} "
        f"over {_shown(means[len(means) // 2], accuracy)} in epoch {len(means) // 2 + 1} to "
        f"{_shown(means[-1], accuracy)}"
        for stage, _, runs, means in drawn
    )
    return fluid(parts, HEIGHT + 46, f"{KINDS[of]}, epoch by epoch, of all seeds: {described}.")


def _height(value: float | None, accuracy: bool) -> float:
    """What the logarithmic axis takes: the error of an accuracy; a loss that was not finite."""
    if value is None:
        return LOSS_MARKS[-1]
    return max(100 - value, 0.01) if accuracy else max(value, 1e-4)


def _shown(height: float, accuracy: bool) -> str:
    return f"{100 - height:.2f}" if accuracy else f"{height:.3f}"


# --- What a change did ----------------------------------------------------------------------

LINEAR = 0.1  # percentage points: so far to both sides of zero the axis of effects is linear
EFFECT_MARKS = (-100, -30, -10, -3, -1, -0.3, -0.1, 0, 0.1, 0.3, 1, 3, 10, 30, 100)


@dataclass(frozen=True)
class BentAxis:
    """Differences to percent of a figure's width: linear around zero, logarithmic beyond LINEAR.

    A broken network and a better schedule lie a factor of a thousand apart.
    low, high: the differences at its two ends
    """

    low: float
    high: float

    def __call__(self, value: float) -> float:
        low, high = _bent(self.low), _bent(self.high)
        return 2 + 82 * (_bent(value) - low) / (high - low)


def _bent(value: float) -> float:
    size = abs(value) / LINEAR
    return math.copysign(size if size <= 1 else 1 + math.log10(size), value)


def effects(
    points: Iterable[tuple[str, float, tuple[float, float] | None, bool]], baseline: str
) -> Figure:
    """Differences from a baseline with their intervals: first those that are shown, then the rest.

    points: label, difference in percentage points, its interval if there is one, and whether the
        difference is larger than chance
    baseline: what zero is
    """
    ranked = sorted(points, key=lambda point: point[1], reverse=True)
    ends = [-LINEAR, LINEAR]
    for _, difference, interval, _ in ranked:
        ends += [difference, *(interval or ())]
    axis = BentAxis(1.2 * min(ends), 1.2 * max(ends))
    parts, described, y = [], [], 0.0
    for title, kind in (("larger than chance", True), ("not larger than chance", False)):
        group = [point for point in ranked if point[3] == kind]
        if not group:
            continue
        y += 18
        heading = f"{title}: {len(group)} of {len(ranked)}"
        parts.append(text(0, y, heading, "ink", above=True))
        for label, difference, interval, _ in group:
            parts += _effect(axis, y + 18, label, difference, interval, "test" if kind else "muted")
            y += 32
        y += 10
        described.append(
            f"{title}, {len(group)} of {len(ranked)}: "
            + "; ".join(
                f"{label} {difference:+z.2f}"
                + (f" from {interval[0]:+z.2f} to {interval[1]:+z.2f}" if interval else "")
                for label, difference, interval, _ in group
            )
        )
    zero = axis(0)
    parts.insert(0, line(zero, 24, zero, y, "ink", 1.2))
    last = -100.0
    for mark in EFFECT_MARKS:
        x = axis(mark)
        if axis.low <= mark <= axis.high and (x - last > 9 or not mark):
            last = x
            words = typeset(f"{mark:+g}") if mark else "0"
            parts.append(text(x, y + 14, words, "muted", "middle"))
    words = f"percentage points above or below {baseline}"
    parts.append(text(zero, y + 32, words, "muted", "middle"))
    return fluid(
        parts, y + 38,
        f"Differences from {baseline} in percentage points with their intervals, the largest "
        f"gain above. {'. '.join(described)}.",
    )  # fmt: skip


def _effect(
    axis: BentAxis,
    y: float,
    label: str,
    difference: float,
    interval: tuple[float, float] | None,
    name: str,
) -> list[str]:
    """A row: its label, and below it the interval and the difference."""
    # The line of zero does not run through a label.
    parts = [text(2, y, label, name, above=True)]
    if interval is not None:
        low, high = (axis(end) for end in interval)
        parts.append(line(low, y + 9, high, y + 9, name, 3))
    parts.append(dot(axis(difference), y + 9, 4.5, name))
    return [*parts, text(98, y + 13, typeset(f"{difference:+z.2f}"), name, "end")]
