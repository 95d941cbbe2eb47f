"""Where a step's time goes, and what time buys."""

import statistics
from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.ticker import FuncFormatter

from mnist_steps.figures.style import PALETTE, Figure, axes_grid, finish, with_colours
from mnist_steps.original import TARGET

PART_COLOURS = ("grid", "train", "test", "accent", "wrong", "muted")


def step_parts(steps: Mapping[str, Mapping[str, float]]) -> Figure:
    """Where the time of a training step goes, in shares of it: one bar a network.

    steps: by the network's name, the seconds of each part, in order
    Raises MnistStepsError for more parts than PART_COLOURS.
    """
    names = list(dict.fromkeys(part for parts in steps.values() for part in parts))
    colours = dict(with_colours(names, PART_COLOURS))
    figure, (axes,) = axes_grid(1, 1, 8.2, 0.5 * len(steps) + 1.2)
    described = []
    for row, (name, parts) in enumerate(steps.items()):
        whole = sum(parts.values())
        left = 0.0
        for part, seconds in parts.items():
            share = 100 * seconds / whole
            axes.barh(row, share, left=left, height=0.62, color=PALETTE[colours[part]])
            left += share
        axes.annotate(
            f"{1000 * whole:.1f} ms", (100, row), xytext=(6, 0), textcoords="offset points",
            va="center",
        )  # fmt: skip
        shares = ", ".join(f"{part} {seconds / whole:.0%}" for part, seconds in parts.items())
        described.append(f"{name}, {1000 * whole:.1f} ms: {shares}")
    axes.set_yticks(range(len(steps)), list(steps))
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel="percent of a step")
    axes.grid(False, axis="y")
    handles = [
        matplotlib.patches.Patch(color=PALETTE[colour], label=name)
        for name, colour in colours.items()
    ]  # many parts are too thin to carry their names
    axes.legend(
        handles=handles, ncols=len(handles), loc="lower left", bbox_to_anchor=(0, 1),
        frameon=False, fontsize=10, handlelength=0.8, handletextpad=0.4, columnspacing=1.2,
        borderaxespad=0.2,
    )  # fmt: skip
    return finish(figure, f"Where a training step's time goes. {'; '.join(described)}.")


def seconds_and_accuracy(rungs: Sequence[tuple[str, float, Sequence[float]]]) -> Figure:
    """Time against accuracy, one dot for each way to train, and a small one for each run.

    rungs: what it is, mean wall time of a training in seconds, and the runs' accuracies in percent
    """
    figure, (axes,) = axes_grid(1, 1, 8.0, 4.2)
    axes.set_xscale("log")
    axes.axhline(TARGET, color=PALETTE["accent"], linewidth=1.2)
    means = [statistics.fmean(accuracies) for _, _, accuracies in rungs]
    times = [seconds for _, seconds, _ in rungs]
    axes.plot(times, means, color=PALETTE["grid"], linewidth=1.5)
    for number, ((_, seconds, accuracies), mean) in enumerate(zip(rungs, means, strict=True), 1):
        axes.plot([seconds] * len(accuracies), accuracies, "o", markersize=3,
                  color=PALETTE["muted"])  # fmt: skip
        axes.plot(seconds, mean, "o", markersize=8, color=PALETTE["test"])
        axes.annotate(str(number), (seconds, mean), xytext=(7, 5), textcoords="offset points")
    axes.set(xlabel="seconds of training", ylabel="test accuracy in percent")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()
    low, high = 0.8 * min(times), 1.3 * max(times)
    axes.set_xlim(low, high)
    axes.set_xticks([tick for tick in (5, 10, 20, 50, 100, 200) if low < tick < high])
    described = "; ".join(
        f"{number}, {label}: {seconds:.1f} s, {mean:.2f} %"
        for number, ((label, seconds, _), mean) in enumerate(zip(rungs, means, strict=True), 1)
    )
    return finish(figure, f"Time of a training against test accuracy, rung by rung: {described}.")
