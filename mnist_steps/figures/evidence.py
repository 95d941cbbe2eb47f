"""What many runs say: over epochs, and against size."""

import statistics
from collections.abc import Sequence

from matplotlib.ticker import FuncFormatter, MaxNLocator

from mnist_steps.figures.style import PALETTE, Figure, axes_grid, finish


def histories(runs: Sequence[Sequence[float]], target: float) -> Figure:
    """Test accuracy epoch by epoch: a thin line for each run, a thick one for their mean.

    runs: for each run its accuracies in percent, one an epoch, all of the same length
    target: in percent
    """
    figure, (axes,) = axes_grid(1, 1, 8.0, 3.8)
    epochs = range(1, len(runs[0]) + 1)
    means = [statistics.fmean(figures) for figures in zip(*runs, strict=True)]
    axes.axhline(target, color=PALETTE["accent"], linewidth=1.2)
    for run in runs:
        axes.plot(epochs, run, color=PALETTE["muted"], linewidth=0.7)
    axes.plot(epochs, means, color=PALETTE["test"], linewidth=2.6)
    # The first epochs lie far below; what counts is near the target.
    top = max(target, *(max(run) for run in runs)) + 0.1
    axes.set(xlabel="epoch", ylabel="test accuracy in percent", ylim=(target - 0.9, top))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.annotate(f"{target:g} %", (1, target), xytext=(0, 4), textcoords="offset points",
                  color=PALETTE["accent"])  # fmt: skip
    finals = [run[-1] for run in runs]
    return finish(
        figure,
        f"Test accuracy in percent, epoch by epoch, of {len(runs)} runs and their mean, which is "
        f"{means[len(means) // 2]:.2f} in the middle and {means[-1]:.2f} at the end, where the "
        f"runs lie between {min(finals):.2f} and {max(finals):.2f}.",
    )


def frontier(
    family: Sequence[tuple[int, Sequence[float]]],
    others: Sequence[tuple[str, int, Sequence[float]]],
    published: Sequence[tuple[int, float]],
    target: float,
) -> Figure:
    """Accuracy against parameters: a family of networks, other networks, and published figures.

    family: number of parameters, and the final accuracy of each run, in percent
    others: the same with a label; not joined by a line
    published: parameters and accuracy of single runs
    target: in percent
    Bars reach one standard deviation between runs to both sides.
    """
    figure, (axes,) = axes_grid(1, 1, 8.6, 4.8)
    axes.set_xscale("log")
    axes.axhline(target, color=PALETTE["accent"], linewidth=1.2)
    means = [statistics.fmean(accuracies) for _, accuracies in family]
    counts = [parameters for parameters, _ in family]
    axes.plot(counts, means, color=PALETTE["test"], linewidth=1.5)
    for colour, points in (
        ("test", family),
        ("train", [(parameters, accuracies) for _, parameters, accuracies in others]),
    ):
        for parameters, accuracies in points:
            spread = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
            axes.errorbar(
                parameters, statistics.fmean(accuracies), yerr=spread, fmt="o", markersize=6,
                capsize=3, linewidth=1.4, color=PALETTE[colour],
            )  # fmt: skip
    for label, parameters, accuracies in others:
        axes.annotate(label, (parameters, statistics.fmean(accuracies)), xytext=(7, -12),
                      textcoords="offset points", color=PALETTE["train"])  # fmt: skip
    for parameters, accuracy in published:
        axes.plot(parameters, accuracy, "D", markersize=6, markerfacecolor="none",
                  markeredgecolor=PALETTE["muted"])  # fmt: skip
    everything = counts + [parameters for _, parameters, _ in others]
    everything += [parameters for parameters, _ in published]
    low, high = 0.85 * min(everything), 1.2 * max(everything)
    ticks = (500, 1000, 2000, 4000, 8000, 16_000, 32_000)
    axes.set(xlim=(low, high), xlabel="parameters", ylabel="test accuracy in percent")
    axes.set_xticks([tick for tick in ticks if low < tick < high])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.minorticks_off()
    axes.annotate(f"{target:g} %", (low, target), xytext=(4, 4), textcoords="offset points",
                  color=PALETTE["accent"])  # fmt: skip
    parts = [f"{count:,}: {mean:.2f}" for count, mean in zip(counts, means, strict=True)]
    rest = [f"{label} {count:,}: {statistics.fmean(runs):.2f}" for label, count, runs in others]
    public = [f"{count:,}: {accuracy:.2f}" for count, accuracy in published]
    return finish(
        figure,
        "Parameters against mean test accuracy in percent. A family of networks: "
        f"{'; '.join(parts)}. Other networks: {'; '.join(rest)}. Published single runs: "
        f"{'; '.join(public)}.",
    )
