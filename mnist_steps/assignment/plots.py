"""The figures of the feedback pages. They show no name, so that they can be shown to a class."""

import statistics
from collections.abc import Sequence

from matplotlib.ticker import FuncFormatter, MaxNLocator

from mnist_steps.assignment.grading import Grade
from mnist_steps.assignment.rules import Assignment
from mnist_steps.assignment.trainings import TrainingOutcome
from mnist_steps.figures.style import PALETTE, Figure, aim, axes_row, finish


def runs(outcomes: Sequence[TrainingOutcome], assignment: Assignment) -> Figure:
    """Test accuracy over the epochs, one line a run, and the target."""
    figure, (axes,) = axes_row(7.2, 3.2)
    for outcome in outcomes:
        epochs = range(1, len(outcome.test_accuracies) + 1)
        errors = [100 - accuracy for accuracy in outcome.test_accuracies]
        axes.plot(epochs, errors, color=PALETTE["test"], linewidth=1.5)
        last = slice(-assignment.last_epochs, None)
        axes.plot(epochs[last], errors[last], "o", color=PALETTE["test"], markersize=4)
    _error_axis(axes, [o.test_accuracies for o in outcomes], assignment)
    aim(axes, 100 - assignment.accuracy)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    finals = [outcome.test_accuracies[-1] for outcome in outcomes]
    return finish(
        figure,
        f"Test accuracy after each epoch of {len(outcomes)} runs. They end between "
        f"{min(finals):.2f} and {max(finals):.2f} percent; the target is "
        f"{assignment.accuracy:.2f} percent.",
    )


MARKS = (0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1, 1.5, 2, 3, 5, 10, 20, 50, 90)


def _error_axis(axes, accuracies, assignment: Assignment) -> None:  # type: ignore[no-untyped-def]
    """Accuracies on a logarithmic axis of errors: near the target every tenth matters."""
    errors = [100 - value for run in accuracies for value in run] + [100 - assignment.accuracy]
    low, high = max(min(errors), 0.05) / 1.25, min(max(max(errors), 1) * 1.25, 100)
    marks = [mark for mark in MARKS if low <= mark <= high]
    axes.set_yscale("log")
    axes.minorticks_off()
    axes.set_yticks(marks, [f"{100 - mark:g}" for mark in marks])
    axes.set_ylim(high, low)
    axes.set_title("test accuracy in percent; the green line is the target")


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


def frontier(grades: Sequence[Grade], assignment: Assignment) -> Figure:
    """Parameters against the accuracy of the worst seed; a line joins what nobody beats in both."""
    points = sorted((grade.parameters or 0, grade.accuracy or 0.0) for grade in grades)
    best: list[tuple[int, float]] = []
    for parameters, accuracy in points:
        if not best or accuracy > best[-1][1]:
            if best and best[-1][0] == parameters:
                best.pop()
            best.append((parameters, accuracy))
    figure, (axes,) = axes_row(7.2, 3.4)
    axes.set_xscale("log")
    axes.step(
        [p for p, _ in best], [100 - a for _, a in best], where="post", color=PALETTE["train"],
        linewidth=1.5,
    )  # fmt: skip
    axes.plot(
        [p for p, _ in points], [100 - a for _, a in points], "o", color=PALETTE["test"],
        markersize=6, alpha=0.75, markeredgewidth=0,
    )  # fmt: skip
    _error_axis(axes, [[accuracy] for _, accuracy in points], assignment)
    aim(axes, 100 - assignment.accuracy)
    axes.axvline(assignment.parameters, color=PALETTE["accent"], linewidth=1.2)
    low = min(points[0][0], assignment.parameters) / 1.3
    high = max(points[-1][0], assignment.parameters) * 1.3
    steps = (1, 2, 5) if high / low > 8 else (1, 1.5, 2, 3, 4, 5, 6, 7, 8)
    ticks = [round(n * 10**power) for power in range(1, 8) for n in steps]
    axes.set_xticks([tick for tick in ticks if low <= tick <= high] or [assignment.parameters])
    axes.set_xlim(low, high)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.minorticks_off()
    axes.set_xlabel("parameters; the green line is the budget")
    described = "; ".join(f"{p:,} parameters, {a:.2f} percent" for p, a in best)
    return finish(
        figure,
        f"Parameters against test accuracy of {len(points)} submissions. The line joins those that "
        f"no other beats with as few parameters: {described}.",
    )
