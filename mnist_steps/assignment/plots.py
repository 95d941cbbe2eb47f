"""The figures of the feedback pages. They show no name, so that they can be shown to a class."""

import statistics
from collections.abc import Sequence

from matplotlib.ticker import MaxNLocator

from mnist_steps.assignment.grading import Grade
from mnist_steps.assignment.rules import Assignment
from mnist_steps.assignment.trainings import TrainingOutcome
from mnist_steps.figures.fluid import Axis, curve, dot, fluid, level, line, stretched, text
from mnist_steps.figures.style import PALETTE, Figure, aim, axes_row, finish, note

MARKS = (0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1, 1.5, 2, 3, 5, 10, 20, 50, 90)
LEFT, RIGHT = 13.0, 98.0  # percent of the width, of a fluid figure's axis
TOP, BOTTOM = 26, 300  # pixels


def runs(outcomes: Sequence[TrainingOutcome], assignment: Assignment) -> Figure:
    """Test accuracy over the epochs, one line a run, and the target."""
    figure, (axes,) = axes_row(7.2, 3.2)
    for outcome in outcomes:
        epochs = range(1, len(outcome.test_accuracies) + 1)
        errors = [100 - accuracy for accuracy in outcome.test_accuracies]
        axes.plot(epochs, errors, color=PALETTE["test"], linewidth=1.5)
        last = slice(-assignment.last_epochs, None)
        axes.plot(epochs[last], errors[last], "o", color=PALETTE["test"], markersize=4)
    low, high = _errors([o.test_accuracies for o in outcomes], assignment)
    marks = [mark for mark in MARKS if low <= mark <= high]
    axes.set_yscale("log")
    axes.minorticks_off()
    axes.set_yticks(marks, [f"{100 - mark:g}" for mark in marks])
    axes.set_ylim(high, low)
    aim(axes, 100 - assignment.accuracy)
    note(axes, "target", (1, 100 - assignment.accuracy), (0, 4), "accent")
    axes.set(xlabel="epoch", ylabel="test accuracy in percent")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    finals = [outcome.test_accuracies[-1] for outcome in outcomes]
    return finish(
        figure,
        f"Test accuracy after each epoch of {len(outcomes)} runs. They end between "
        f"{min(finals):.2f} and {max(finals):.2f} percent; the target is "
        f"{assignment.accuracy:.2f} percent.",
    )


def _errors(accuracies: Sequence[Sequence[float]], assignment: Assignment) -> tuple[float, float]:
    """Where an axis of errors ends: near the target every tenth matters, so it is logarithmic."""
    errors = [100 - value for run in accuracies for value in run] + [100 - assignment.accuracy]
    return max(min(errors), 0.05) / 1.25, min(max(max(errors), 1) * 1.25, 100)


def distribution(grades: Sequence[Grade], assignment: Assignment) -> Figure:
    """How many submissions have how many points of those judged so far, as shares of these."""
    shares = [grade.share for grade in grades]
    figure, (axes,) = axes_row(7.2, 2.8)
    counts, _, _ = axes.hist(
        shares, bins=range(0, 101, 5), color=PALETTE["test"], rwidth=0.9, linewidth=0
    )
    axes.axvline(assignment.pass_mark, color=PALETTE["accent"], linewidth=1.2)
    axes.set(
        xlabel="percent of the points; the green line is the pass mark", ylabel="submissions",
        xlim=(0, 100),
    )  # fmt: skip
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(False, axis="x")
    passed = sum(share >= assignment.pass_mark for share in shares)
    return finish(
        figure,
        f"Histogram of {len(shares)} marks in percent of the points: from {min(shares):.0f} to "
        f"{max(shares):.0f}, the middle one {statistics.median(shares):.0f}; {passed} are at the "
        f"pass mark of {assignment.pass_mark:g} or above.",
    )


def frontier(grades: Sequence[Grade], assignment: Assignment, names: Sequence[str] = ()) -> Figure:
    """Parameters against the accuracy of the worst seed; a line joins what nobody beats in both.

    names: a few letters at each dot
    """
    known = names or [""] * len(grades)
    points = sorted(
        (grade.parameters or 0, grade.accuracy or 0.0, name)
        for grade, name in zip(grades, known, strict=True)
    )
    best: list[tuple[int, float]] = []
    for parameters, accuracy, _ in points:
        if not best or accuracy > best[-1][1]:
            if best and best[-1][0] == parameters:
                best.pop()
            best.append((parameters, accuracy))
    low = min(points[0][0], assignment.parameters) / 1.3
    high = max(points[-1][0], assignment.parameters) * 1.3
    across = Axis(LEFT, RIGHT, low, high)
    least, most = _errors([[accuracy] for _, accuracy, _ in points], assignment)
    upwards = Axis(BOTTOM, TOP, most, least)

    def down(accuracy: float) -> float:
        return upwards(min(max(100 - accuracy, least), most))

    target, budget = down(assignment.accuracy), across(assignment.parameters)
    parts = [text(0, 14, "test accuracy in percent", "muted")]
    heights = [target]
    for mark in sorted(MARKS, key=lambda mark: abs(100 - mark - assignment.accuracy)):
        y = down(100 - mark)
        if least <= mark <= most and (y == target or min(abs(y - at) for at in heights) > 14):
            heights.append(y)
            parts += level(y, LEFT, RIGHT, f"{100 - mark:g}")
    steps = (1, 2, 5) if high / low > 8 else (1, 1.5, 2, 3, 4, 6)
    ticks = [round(n * 10**power) for power in range(1, 8) for n in steps]
    for tick in [tick for tick in ticks if low <= tick <= high] or [assignment.parameters]:
        parts.append(line(across(tick), TOP, across(tick), BOTTOM, "grid", 0.8))
        parts.append(text(across(tick), BOTTOM + 18, f"{tick:,}", "muted", "middle"))
    parts.append(text((LEFT + RIGHT) / 2, BOTTOM + 38, "parameters", "muted", "middle"))
    parts.append(line(LEFT, target, RIGHT, target, "accent", 1.4))
    parts.append(
        text(RIGHT, target - 6, f"target {assignment.accuracy:g}", "accent", "end", above=True)
    )
    parts.append(line(budget, TOP, budget, BOTTOM, "accent", 1.4))
    anchor, words = "start" if budget < 60 else "end", f"budget {assignment.parameters:,}"
    parts.append(text(budget, BOTTOM - 8, words, "accent", anchor, shift=6, above=True))
    corners = [(across(best[0][0]), down(best[0][1]))]
    for parameters, accuracy in best[1:]:
        corners += [(across(parameters), corners[-1][1]), (across(parameters), down(accuracy))]
    parts.append(stretched([curve(corners, "train", 1.5)], BOTTOM))
    parts += (dot(across(p), down(a), 4, "test", 0.75) for p, a, _ in points)
    placed: list[tuple[float, float]] = []
    for parameters, accuracy, name in sorted(points, key=lambda point: point[1]):
        x, y = across(parameters), down(accuracy)
        y = min([y, *(other - 13 for at, other in placed if abs(at - x) < 5)])
        placed.append((x, y))
        if name:
            parts.append(text(x, y + 4, name, "test", "end", shift=8, above=True))
    described = "; ".join(f"{p:,} parameters, {a:.2f} percent" for p, a in best)
    return fluid(
        parts,
        BOTTOM + 44,
        f"Parameters against test accuracy of {len(points)} submissions. The line joins those that "
        f"no other beats with as few parameters: {described}.",
    )
