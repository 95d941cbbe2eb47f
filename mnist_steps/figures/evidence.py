"""What many runs say: how far above a target is safe, what a search found, what size buys."""

import itertools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence

from mnist_steps.experiments.frontier import Public
from mnist_steps.figures.containers import Beside
from mnist_steps.figures.fluid import (
    Axis,
    area,
    curve,
    dot,
    fluid,
    level,
    line,
    stretched,
    symbol,
    text,
)
from mnist_steps.figures.style import Figure, colour, with_colours
from mnist_steps.stages import TARGET


def _even(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Values to percent of the width, evenly."""
    return lambda value: start + (end - start) * (value - low) / (high - low)


# --- How far above ----------------------------------------------------------------------------

BELL = 108  # pixels, of one bell with its dots


def bells(named: Mapping[str, Sequence[float]]) -> Figure:
    """Where runs end, the bell of their mean and spread, and how much of it lies below the target.

    named: by what trained them, the final accuracies of at least two runs, in percent
    """
    spreads = {
        name: statistics.NormalDist(statistics.fmean(finals), statistics.stdev(finals))
        for name, finals in named.items()
    }
    low = min(min(TARGET, one.mean - 3 * one.stdev) for one in spreads.values())
    high = max(one.mean + 3 * one.stdev for one in spreads.values())
    across = _even(low, high, 2, 98)
    tallest = max(one.pdf(one.mean) for one in spreads.values())
    bottom = 22 + BELL * len(named)
    parts = [text(across(TARGET), 14, f"target {TARGET:g}", "accent", "middle", small=True)]
    parts.append(line(across(TARGET), 20, across(TARGET), bottom, "accent", 1.4))
    described = []
    for row, (name, finals) in enumerate(named.items()):
        bell, ground = spreads[name], 22 + BELL * (row + 1) - 18
        steps = [low + (high - low) * place / 160 for place in range(161)]
        points = [(across(at), ground - (BELL - 62) * bell.pdf(at) / tallest) for at in steps]
        short = [point for at, point in zip(steps, points, strict=True) if at <= TARGET]
        missed = [(across(low), ground), *short, (across(TARGET), ground)]
        parts.append(stretched([area(missed, "wrong", 0.3), curve(points, "test", 2)], bottom))
        parts.append(line(2, ground, 98, ground, "grid", 1))
        for place, final in enumerate(sorted(finals)):
            parts.append(dot(across(final), ground + 8 + (place % 2) * 5, 3, "test", 0.65))
        share, below = bell.cdf(TARGET), sum(final < TARGET for final in finals)
        parts.append(text(0, ground - BELL + 30, name, "ink", above=True))
        words = f"below: {100 * share:.0f} % of the bell, {below} of {len(finals)} runs"
        parts.append(text(0, ground - BELL + 47, words, "muted", above=True))
        described.append(
            f"{name}: mean {bell.mean:.3f}, standard deviation {bell.stdev:.3f}; "
            f"{100 * share:.0f} % of the bell and {below} of {len(finals)} runs lie below "
            f"{TARGET:g}"
        )
    marks = [round(low, 1) + place / 10 for place in range(int(10 * (high - low)) + 2)]
    for mark in marks:
        if low <= mark <= high and abs(across(mark) - across(TARGET)) > 4:
            parts.append(text(across(mark), bottom + 16, f"{mark:.1f}", "muted", "middle"))
    parts.append(text(across(TARGET), bottom + 16, f"{TARGET:.1f}", "accent", "middle"))
    return fluid(
        parts, bottom + 24,
        "Where runs end, in percent of the test digits, with the bell that their mean and spread "
        f"make. {'; '.join(described)}.",
    )  # fmt: skip


# --- A search ---------------------------------------------------------------------------------

STEP = 31  # pixels from one candidate to the next


def candidates(groups: Mapping[str, Sequence[tuple[str, Sequence[float]]]], luck: float) -> Beside:
    """What a search tried, the mean loss of each candidate as a dot, the lowest of all marked.

    groups: by what they have in common, candidates with the loss of each of their runs on the
        validation images; where there are several, each is a small dot
    luck: standard deviation of such a loss between seeds of one network; as much to the right of
        the lowest is shaded
    """
    found = [losses for group in groups.values() for _, losses in group]
    means, runs = [statistics.fmean(losses) for losses in found], list(itertools.chain(*found))
    best = min(means)
    across = _even(min(runs) - 0.05 * best, max(*runs, best + luck) + 0.05 * best, 2, 84)
    return Beside(tuple(_tried(name, group, best, luck, across) for name, group in groups.items()))


def _tried(
    title: str,
    group: Sequence[tuple[str, Sequence[float]]],
    best: float,
    luck: float,
    across: Callable[[float], float],
) -> Figure:
    bottom = 26 + STEP * len(group)
    left, right = across(best), across(best + luck)
    shade = f'fill="{colour("muted")}" fill-opacity="0.16"'
    parts = [text(0, 14, title, "ink"), text(98, 14, "loss", "muted", "end", small=True)]
    parts.append(
        f'<rect x="{left:.2f}%" y="22" width="{right - left:.2f}%" height="{bottom - 22}" {shade}/>'
    )
    described = []
    for row, (label, losses) in enumerate(sorted(group, key=lambda one: statistics.fmean(one[1]))):
        y, loss = 26 + STEP * row, statistics.fmean(losses)
        name = "accent" if loss == best else "ink"
        dots = "accent" if loss == best else "test"
        parts.append(text(2, y + 11, label, name))
        parts.append(line(2, y + 21, 84, y + 21, "grid", 0.8))
        if len(losses) > 1:
            parts += [dot(across(each), y + 21, 2.2, dots, 0.55) for each in losses]
        parts.append(dot(across(loss), y + 21, 4.5, dots))
        parts.append(text(98, y + 25, f"{loss:.4f}", name, "end"))
        described.append(f"{label} {loss:.4f}{', the lowest' if loss == best else ''}")
    runs = "" if max(len(losses) for _, losses in group) == 1 else "; each run a small dot"
    parts.append(text(0, bottom + 14, f"← better{runs}", "muted", small=True))
    return fluid(
        parts, bottom + 20,
        f"{title}: loss on the validation images, the lowest first. {'; '.join(described)}. "
        f"From the lowest, {best:.4f}, to {best + luck:.4f} is shaded: one standard deviation "
        "between seeds.",
    )  # fmt: skip


# --- What a parameter buys --------------------------------------------------------------------

MARKS = (90, 95, 97, 98, 98.5, 99, 99.2, 99.4, 99.5, 99.6, 99.7, 99.8)
DIAMOND = "M0 -6L5 0L0 6L-5 0Z"
SIZES = (250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000)


def frontier(
    family: Sequence[tuple[int, Sequence[float]]],
    others: Sequence[tuple[str, int, Sequence[float]]],
    published: Sequence[Public],
    height: int = 300,
) -> Figure:
    """Accuracy against parameters, both logarithmic: a family of networks, others, public runs.

    family: number of parameters, and the final accuracy of each run, in percent
    others: the same with a label; not joined by a line
    height: of the axes, in pixels
    """
    runs = [final for _, finals in family for final in finals]
    runs += [final for *_, finals in others for final in finals]
    runs += [one.best for one in published] + [one.final for one in published if one.final]
    errors = [100 - final for final in runs]
    counts = [count for count, _ in family] + [count for _, count, _ in others]
    counts += [one.parameters for one in published]
    across = Axis(11, 82, 0.88 * min(counts), 1.12 * max(counts))
    down = Axis(height, 26, 1.1 * max(errors), 0.9 * min(errors))
    parts = [text(0, 14, "test accuracy in percent", "muted")]
    taken = [down(100 - TARGET)]
    for mark in sorted(MARKS, key=lambda mark: mark != TARGET):  # the target's name first
        y, aim = down(100 - mark), mark == TARGET
        if not aim and not (26 <= y <= height and min(abs(y - at) for at in taken) > 17):
            continue
        taken.append(y)
        parts += level(y, 11, 82, f"{mark:g}", aim)
    for size in SIZES:
        if across.first <= size <= across.last:
            words = f"{size:,}"
            parts.append(text(across(size), height + 18, words, "muted", "middle", small=True))
    parts.append(text(46, height + 36, "parameters", "muted", "middle"))
    means = [(across(count), down(100 - statistics.fmean(finals))) for count, finals in family]
    parts.append(stretched([curve(means, "test", 1.8)], height))
    for one in published:
        x = across(one.parameters)
        parts += [
            symbol(x, down(100 - accuracy), DIAMOND,
                   f'fill="{fill}" stroke="{colour("muted")}" stroke-width="1.5"')
            for accuracy, fill in ((one.best, "none"), (one.final, colour("muted")))
            if accuracy is not None
        ]  # fmt: skip
    drawn = [("test", count, finals) for count, finals in family]
    drawn += [("train", count, finals) for _, count, finals in others]
    for name, count, finals in drawn:
        x = across(count)
        parts += [dot(x, down(100 - final), 2.2, name, 0.45) for final in finals]
        parts.append(dot(x, down(100 - statistics.fmean(finals)), 5, name))
    parts += _named_at_the_right(
        [(label, across(count), down(100 - statistics.fmean(finals)))
         for label, count, finals in others],
        across.end + 2,
    )  # fmt: skip
    legend = [
        *([("● a family: mean, each run a small dot", "test")] if family else []),
        ("● our stages: mean, each run a small dot", "train"),
        ("◇ one public run, its best epoch   ◆ its last", "muted"),
    ]
    for place, (words, name) in enumerate(legend):
        parts.append(text(0, height + 60 + 17 * place, words, name))
    described = [f"{count:,}: {statistics.fmean(finals):.3f}" for count, finals in family]
    rest = [f"{label} {count:,}: {statistics.fmean(finals):.3f}" for label, count, finals in others]
    public = [
        f"{one.parameters:,}: {one.best:.2f} in its best epoch"
        + (f", {one.final:.2f} in its last" if one.final else "")
        for one in published
    ]
    return fluid(
        parts, height + 60 + 17 * len(legend),
        "Parameters against mean test accuracy in percent. "
        + (f"A family of networks: {'; '.join(described)}. " if family else "")
        + f"Our stages: {'; '.join(rest)}. Public single runs: "
        f"{'; '.join(public)}.",
        960,
    )  # fmt: skip


def _named_at_the_right(marks: Sequence[tuple[str, float, float]], x: float) -> list[str]:
    """Labels below each other, never on each other, and a thin line from each mark to its own.

    marks: label, percent of the width, pixels from the top
    x: where the labels begin, in percent of the width
    """
    parts, lowest = [], 0.0
    for label, at, y in sorted(marks, key=lambda mark: mark[2]):
        lowest = max(y, lowest + 16)
        parts.append(line(at, y, x, lowest, "train", 0.8))
        parts.append(text(x, lowest + 4, label, "train", shift=3))
    return parts


# --- Picked runs ------------------------------------------------------------------------------


def picked(above: Mapping[str, Mapping[int, float]]) -> Figure:
    """How far the best of several runs lies above the mean of all, by the number of runs.

    above: by what was drawn from, for each number of runs, percentage points
    Raises MnistStepsError for more than two lines.
    """
    counts = [count for values in above.values() for count in values]
    highest = max(value for values in above.values() for value in values.values())
    across = Axis(13, 70, 1, max(counts))
    height = 210

    def down(value: float) -> float:
        return height - (height - 30) * value / (1.08 * highest)

    parts = [text(0, 14, "best run above the mean, in points", "muted")]
    step = 0.05 if highest < 0.3 else 0.1
    for place in range(math.floor(1.08 * highest / step) + 1):
        parts += level(down(place * step), 13, 70, f"{place * step:.2f}")
    described, lowest = [], 0.0
    from_above = sorted(above.items(), key=lambda one: -max(one[1].values()))
    for (name, values), ink in with_colours(from_above, ("test", "train")):
        points = [(across(count), down(value)) for count, value in values.items()]
        parts.append(stretched([curve(points, ink, 2)], height))
        parts += [dot(x, y, 4, ink) for x, y in points]
        lowest = max(points[-1][1] + 4, lowest + 17)
        parts.append(text(points[-1][0], lowest, name, ink, shift=8))
        each = ", ".join(f"{count}: {value:+.3f}" for count, value in values.items())
        described.append(f"{name}: {each}")
    named: list[float] = []
    ends = sorted(set(counts), reverse=True)
    for count in (ends[0], ends[-1], *ends[1:-1]):  # both ends have their names first
        if all(abs(across(count) - other) >= 8 for other in named):
            named.append(across(count))
            parts.append(text(named[-1], height + 18, f"{count}", "muted", "middle"))
    parts.append(text(41, height + 36, "runs to pick from", "muted", "middle"))
    return fluid(
        parts, height + 44,
        "How far the best of several runs lies above the mean, in percentage points, by the "
        f"number of runs. {'; '.join(described)}.",
    )  # fmt: skip
