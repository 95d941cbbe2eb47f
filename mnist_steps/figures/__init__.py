"""Every plot of the site, as SVG that follows the reader's light or dark theme.

Figures are drawn with the colours of PALETTE and then refer to them as CSS variables, so
that a page's style sheet can change them; without one (in Jupyter) the drawn colours hold.
Every figure carries a text that says what it shows, for those who cannot see it.
"""

import html
import io
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, MaxNLocator
from torch import Tensor

from mnist_steps import data
from mnist_steps.receptive_field import Analysis, EffectiveField, Layer
from mnist_steps.training import Run

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

STYLE: Any = {  # Matplotlib would have each key typed
    "svg.fonttype": "none",  # text stays text: small, searchable, in the page's font
    "font.size": 11,
    "axes.edgecolor": PALETTE["muted"],
    "axes.labelcolor": PALETTE["ink"],
    "axes.titlecolor": PALETTE["ink"],
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "grid.color": PALETTE["grid"],
    "grid.linewidth": 0.7,
    "text.color": PALETTE["ink"],
    "xtick.color": PALETTE["muted"],
    "ytick.color": PALETTE["muted"],
    "lines.linewidth": 2.0,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
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

    def save(self, path: str | Path) -> None:
        data.write_atomically(Path(path), self.svg.encode())


def finish(figure: MatplotlibFigure, alt: str) -> Figure:
    """Turn a Matplotlib figure, drawn in PALETTE, into theme-following SVG with a text."""
    for text in figure.findobj(Text):
        if text.get_color() == "black":  # Matplotlib's own default, unreadable on dark ground
            text.set_color(PALETTE["ink"])
    buffer = io.StringIO()
    # The salt names the SVG's inner parts: different figures on one page must not share names.
    with matplotlib.rc_context({"svg.hashsalt": alt}):
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


def axes_grid(
    rows: int,
    columns: int,
    width: float,
    height: float,
    width_ratios: Sequence[float] | None = None,
) -> tuple[MatplotlibFigure, list[Axes]]:
    """A figure of `width`×`height` inches in the site's style, and its axes row by row."""
    with matplotlib.rc_context(STYLE):
        figure = MatplotlibFigure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, width_ratios=width_ratios)
    return figure, list(axes.flat)


# --- Training -------------------------------------------------------------------------------

LOSS_LIMITS = (0.015, 2.6)
ERROR_LIMITS = (0.4, 100.0)  # percent of images


def curves(run: Run) -> Figure:
    """Loss and error of training and test, epoch by epoch; the same axes on every page."""
    figure, (loss_axes, error_axes) = axes_grid(1, 2, 8.6, 3.3)
    epochs = range(1, len(run.epochs) + 1)
    kinds = ("train", "test")
    losses = {kind: [getattr(epoch, f"{kind}_loss") for epoch in run.epochs] for kind in kinds}
    errors = {
        kind: [100 - getattr(epoch, f"{kind}_accuracy") for epoch in run.epochs] for kind in kinds
    }
    # The upper curve's name stands above its end and the other's below: curves that meet there do
    # not write over each other. The axis of errors is upside down.
    for axes, measured, highest in ((loss_axes, losses, max), (error_axes, errors, min)):
        upper = highest(kinds, key=lambda kind: measured[kind][-1])
        for kind, values in measured.items():
            axes.plot(epochs, values, color=PALETTE[kind], marker=".", markersize=5)
            axes.annotate(
                kind, (len(epochs), values[-1]), xytext=(6, 0), textcoords="offset points",
                color=PALETTE[kind], va="bottom" if kind == upper else "top",
            )  # fmt: skip
    loss_axes.set(title="loss", ylim=LOSS_LIMITS)
    error_axes.set(title="accuracy in percent", ylim=ERROR_LIMITS)
    for axes in (loss_axes, error_axes):
        axes.set_yscale("log")
        axes.set_xlabel("epoch")
        axes.set_xlim(0.5, len(epochs) + 2.2)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.minorticks_off()
    loss_axes.set_yticks(
        [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2], [f"{v:g}" for v in (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)]
    )
    marks = (0.5, 1, 2, 5, 10, 20, 50, 90)
    error_axes.set_yticks(marks, [f"{100 - error:g}" for error in marks])
    error_axes.invert_yaxis()
    last = run.epochs[-1]
    return finish(
        figure,
        f"Two charts over {len(epochs)} epochs, logarithmic. Left: the training loss falls to "
        f"{last.train_loss:.3f}, the test loss to {last.test_loss:.3f}. Right: the training "
        f"accuracy reaches {last.train_accuracy:.2f} percent, the test accuracy "
        f"{last.test_accuracy:.2f}.",
    )


def learning_rates(runs: Sequence[Run]) -> Figure:
    """The learning rate at every step, one line a run, each labelled with its stage."""
    figure, (axes,) = axes_grid(1, 1, 6.4, 2.8)
    for run, colour in zip(runs, ("muted", "accent", "test"), strict=False):
        per_epoch = len(run.steps) / len(run.epochs)
        rates = [step.learning_rate for step in run.steps]
        every = max(1, len(rates) // 300)
        axes.plot(
            [step / per_epoch for step in range(0, len(rates), every)], rates[::every],
            color=PALETTE[colour],
        )  # fmt: skip
        middle = len(rates) * 3 // 5
        axes.annotate(
            f"stage {run.stage.number}", (middle / per_epoch, rates[middle]),
            xytext=(6, 5), textcoords="offset points", color=PALETTE[colour],
        )  # fmt: skip
    axes.set(xlabel="epoch", ylabel="learning rate", ylim=(0, None))
    described = "; ".join(
        f"stage {run.stage.number} from {run.steps[0].learning_rate:.4f} over at most "
        f"{max(step.learning_rate for step in run.steps):.4f} to {run.steps[-1].learning_rate:.6f}"
        for run in runs
    )
    return finish(figure, f"The learning rate over the training: {described}.")


def parameters_and_accuracy(points: Iterable[tuple[str, int, float, float | None]]) -> Figure:
    """Parameters against test accuracy, one dot a stage; the crowd around the target enlarged.

    points: label, number of parameters, our final accuracy and the original's best, in percent;
        None for what the original does not have
    """
    points = list(points)
    fewest = min(parameters for _, parameters, *_ in points)
    figure, (whole, close) = axes_grid(1, 2, 9.4, 3.9, width_ratios=(1.35, 1))
    for axes in (whole, close):
        axes.set_xscale("log")
        axes.axhline(99.4, color=PALETTE["accent"], linewidth=1.2)
        axes.axvline(8000, color=PALETTE["accent"], linewidth=1.2)
        for label, parameters, accuracy, claimed in points:
            if axes is close and not _is_close(parameters, accuracy):
                continue
            if claimed is not None:
                axes.plot([parameters] * 2, [accuracy, claimed], color=PALETTE["grid"], linewidth=2)
                axes.plot(
                    parameters, claimed, "o", markersize=7, markerfacecolor="none",
                    markeredgecolor=PALETTE["muted"],
                )  # fmt: skip
            axes.plot(parameters, accuracy, "o", markersize=8, color=PALETTE["test"])
            if axes is close or not _is_close(parameters, accuracy):
                axes.annotate(label, (parameters, accuracy), xytext=(8, -4),
                              textcoords="offset points")  # fmt: skip
        axes.set_xlabel("parameters")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.minorticks_off()
    whole.set(xlim=(1.5e7, 0.65 * fewest), ylabel="test accuracy in percent")
    whole.annotate("target: 99.4 %", (1e7, 99.4), xytext=(0, 4), textcoords="offset points",
                   color=PALETTE["accent"])  # fmt: skip
    close.set(xlim=(16_000, 0.91 * fewest), title="around the target, enlarged")
    # Labels must not touch each other: the further the axis reaches, the fewer a stretch has.
    ticks = (14_000, 10_000, 8_000, 7_000) if fewest > 6_500 else (14_000, 8_000, 5_500, 4_000)
    close.set_xticks([tick for tick in ticks if tick > 0.91 * fewest])
    described = "; ".join(f"{label}: {count:,}, {value:.2f}" for label, count, value, _ in points)
    return finish(
        figure,
        "Parameters, from many at the left to few at the right, against test accuracy in percent. "
        f"Filled dots are the final epoch of our runs ({described}), open dots the best epoch "
        "that the original reported.",
    )


def seconds_and_accuracy(rungs: Sequence[tuple[str, float, Sequence[float]]]) -> Figure:
    """Time against accuracy, one dot for each way to train, and a small one for each run.

    rungs: what it is, mean wall time of a training in seconds, and the runs' accuracies in percent
    """
    figure, (axes,) = axes_grid(1, 1, 8.0, 4.2)
    axes.set_xscale("log")
    axes.axhline(99.4, color=PALETTE["accent"], linewidth=1.2)
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


def effects(
    points: Iterable[tuple[str, float, tuple[float, float] | None, bool]], baseline: str
) -> Figure:
    """Differences from a baseline with their intervals, the largest gain above.

    points: label, difference in percentage points, its interval if there is one, and whether the
        difference is larger than chance; those that are not are drawn in grey
    baseline: what zero is
    The axis is linear up to a tenth of a point and logarithmic beyond, because a broken network
    and a better schedule lie a factor of a thousand apart.
    """
    ranked = sorted(points, key=lambda point: point[1], reverse=True)
    figure, (axes,) = axes_grid(1, 1, 7.6, 0.6 + 0.34 * max(len(ranked), 1))
    ends = [-0.1, 0.1]
    for row, (_, difference, interval, shown) in enumerate(ranked):
        colour = PALETTE["test" if shown else "muted"]
        low, high = interval or (difference, difference)
        axes.plot([low, high], [row, row], color=colour, linewidth=2.4, solid_capstyle="butt")
        axes.plot(difference, row, "o", markersize=7, color=colour)
        axes.annotate(
            f"{difference:+.2f}", (1, row), xycoords=("axes fraction", "data"), xytext=(8, 0),
            textcoords="offset points", va="center", color=colour,
        )  # fmt: skip
        ends += [low, high]
    axes.axvline(0, color=PALETTE["ink"], linewidth=1.2)
    axes.set_xscale("symlog", linthresh=0.1)
    left, right = 1.3 * min(ends), 1.3 * max(ends)
    marks = (0.1, 0.3, 1, 3, 10, 30, 100)
    ticks = [tick for mark in marks for tick in (-mark, mark) if left <= tick <= right] + [0]
    axes.set_xticks(ticks, [f"{tick:+g}" if tick else "0" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(ranked)), [label for label, *_ in ranked])
    axes.tick_params(axis="y", length=0, labelcolor=PALETTE["ink"])
    axes.set(
        ylim=(len(ranked) - 0.4, -0.6),
        xlim=(left, right),
        xlabel=f"percentage points above or below {baseline}",
    )
    described = "; ".join(
        f"{label} {difference:+.2f}"
        + (f" from {interval[0]:+.2f} to {interval[1]:+.2f}" if interval else "")
        for label, difference, interval, _ in ranked
    )
    return finish(
        figure,
        f"Differences from {baseline} in percentage points with their intervals, the largest "
        f"gain above: {described}.",
    )


def _is_close(parameters: int, accuracy: float) -> bool:
    """Whether a stage belongs to the enlarged panel."""
    return parameters < 16_000 and accuracy > 99


# --- Speed ----------------------------------------------------------------------------------

PART_COLOURS = ("grid", "train", "test", "accent", "wrong", "muted")


def step_parts(steps: Mapping[str, Mapping[str, float]]) -> Figure:
    """Where the time of a training step goes, in shares of it: one bar a network.

    steps: by the network's name, the seconds of each part, in order
    """
    figure, (axes,) = axes_grid(1, 1, 8.2, 0.5 * len(steps) + 1.2)
    described = []
    for row, (name, parts) in enumerate(steps.items()):
        whole = sum(parts.values())
        left = 0.0
        for seconds, colour in zip(parts.values(), PART_COLOURS, strict=False):
            share = 100 * seconds / whole
            axes.barh(row, share, left=left, height=0.62, color=PALETTE[colour])
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
    names = list(dict.fromkeys(part for parts in steps.values() for part in parts))
    handles = [
        matplotlib.patches.Patch(color=PALETTE[colour], label=name)
        for name, colour in zip(names, PART_COLOURS, strict=False)
    ]  # many parts are too thin to carry their names
    axes.legend(
        handles=handles, ncols=len(handles), loc="lower left", bbox_to_anchor=(0, 1),
        frameon=False, fontsize=10, handlelength=0.8, handletextpad=0.4, columnspacing=1.2,
        borderaxespad=0.2,
    )  # fmt: skip
    return finish(figure, f"Where a training step's time goes. {'; '.join(described)}.")


# --- Digits ---------------------------------------------------------------------------------

CELL = 32  # pixels from one digit to the next: 28 and a gap
TITLE_LINE = 5  # height of a line of text above a digit, in the same pixels


def digits(
    images: Tensor, titles: Sequence[str] = (), columns: int = 8, alt: str = "Digits."
) -> Figure:
    """A grid of digits.

    images: tensor (N, 1, 28, 28), uint8 or float in [0, 1]
    titles: a short text above each, of one line or more
    """
    rows = -(-len(images) // columns)
    lines = max((title.count("\n") + 1 for title in titles), default=0)
    line = CELL + TITLE_LINE * lines  # height of a row of digits
    # One picture of all digits: an axes for each would take a second to lay out.
    picture = torch.zeros(1, rows * line, columns * CELL)
    figure, (axes,) = axes_grid(1, 1, 1.05 * columns, 1.05 * rows * line / CELL)
    for position, image in enumerate(images):
        top, left = position // columns * line + line - CELL, position % columns * CELL
        height, width = image.shape[1:]
        picture[0, top : top + height, left : left + width] = _ink(image)
        if titles:
            axes.text(
                left + width / 2, top - 1, titles[position], fontsize=9, ha="center", va="bottom"
            )
    show_digit(axes, picture)
    axes.set_axis_off()
    return finish(figure, alt)


def show_digit(axes: Axes, image: Tensor, strength: float = 1.0) -> None:
    """Draw a digit as black ink on nothing; a dark theme inverts the ink.

    image: tensor (1, H, W), uint8 or float in [0, 1]
    """
    ink = _ink(image)
    height, width = ink.shape
    pixels = torch.zeros(height, width, 4)
    pixels[..., 3] = ink * strength
    axes.imshow(pixels.numpy(), interpolation="nearest", extent=(0, width, height, 0))
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _ink(image: Tensor) -> Tensor:
    """uint8 or float in [0, 1], (1, H, W), as float (H, W)."""
    return (image[0].float() / (255 if image.dtype == torch.uint8 else 1)).clamp(0, 1)


def mistakes(run: Run, count: int = 16) -> Figure:
    """The test digits that the run got wrong with the most confidence."""
    test = data.mnist().test
    wrong = (run.predictions != test.labels).nonzero().flatten()
    worst = wrong[run.confidences[wrong].argsort(descending=True)][:count]
    titles = [
        f"{test.labels[i]} seen as {run.predictions[i]}\n{100 * run.confidences[i]:.0f} % sure"
        for i in worst.tolist()
    ]
    return digits(
        test.images[worst],
        titles,
        alt=f"The {len(worst)} of {len(wrong)} misclassified test digits with the most confidence: "
        + "; ".join(title.replace("\n", ", ") for title in titles),
    )


def confusion(run: Run) -> Figure:
    """Which digit is taken for which: rows are the truth, columns the prediction."""
    labels = data.mnist().test.labels
    counts = torch.bincount(labels * 10 + run.predictions.long(), minlength=100).reshape(10, 10)
    figure, (axes,) = axes_grid(1, 1, 4.6, 4.4)
    errors = counts.clone().fill_diagonal_(0)
    most = max(errors.max().item(), 1)
    for truth in range(10):
        for predicted in range(10):
            value = int(counts[truth, predicted])
            if truth == predicted:
                axes.text(predicted, truth, str(value), ha="center", va="center", fontsize=9,
                          color=PALETTE["muted"])  # fmt: skip
            elif value:
                axes.add_patch(
                    matplotlib.patches.Rectangle(
                        (predicted - 0.5, truth - 0.5),
                        1,
                        1,
                        linewidth=0,
                        facecolor=PALETTE["wrong"],
                        alpha=0.12 + 0.48 * value / most,
                    )  # fmt: skip
                )
                axes.text(predicted, truth, str(value), ha="center", va="center", fontsize=10)
    axes.set(
        xlim=(-0.5, 9.5), ylim=(9.5, -0.5), xticks=range(10), yticks=range(10),
        xlabel="prediction", ylabel="truth", aspect="equal",
    )  # fmt: skip
    axes.grid(False)
    pairs = sorted(
        ((int(errors[t, p]), t, p) for t in range(10) for p in range(10) if errors[t, p]),
        reverse=True,
    )[:5]
    described = ", ".join(f"{t} taken for {p} {n} times" for n, t, p in pairs)
    return finish(figure, f"Confusion matrix of the 10,000 test digits; most often: {described}.")


# --- Receptive fields -----------------------------------------------------------------------


def growth(analyses: Analysis | dict[str, Analysis], image_size: int) -> Figure:
    """The field's height, layer by layer, against the image.

    analyses: one network, or several by name
    image_size: in pixels; where a field grows past it, more context cannot help
    """
    if isinstance(analyses, Analysis):
        analyses = {"": analyses}
    figure, (axes,) = axes_grid(1, 1, 8.2, 3.6)
    axes.axhline(image_size, color=PALETTE["accent"], linewidth=1.2)
    axes.annotate(f"image: {image_size}", (0, image_size), xytext=(2, 4),
                  textcoords="offset points", color=PALETTE["accent"])  # fmt: skip
    colours = ("test", "train", "muted", "wrong", "ink")
    described = []
    ends: dict[tuple[int, int], list[str]] = {}  # lines that end in the same place share a label
    for (name, analysis), colour in zip(analyses.items(), colours, strict=False):
        layers = [layer for layer in analysis if _changes_field(analysis, layer)]
        sizes = [1] + [layer.size[0] for layer in layers]
        axes.step(range(len(sizes)), sizes, where="post", color=PALETTE[colour])
        axes.plot(range(len(sizes)), sizes, "o", markersize=4, color=PALETTE[colour])
        ends.setdefault((len(sizes) - 1, sizes[-1]), []).append(name)
        steps = ", ".join(f"{layer.name} {layer.size[0]}" for layer in layers)
        described.append(f"{name or 'the network'}: {steps}")
    for place, names in ends.items():
        axes.annotate(", ".join(names), place, xytext=(6, -12), textcoords="offset points",
                      fontsize=10)  # fmt: skip
    if len(analyses) == 1:
        axes.set_xticks(range(len(sizes)), ["input"] + [layer.name for layer in layers])
        axes.tick_params(axis="x", rotation=60 if len(sizes) > 12 else 0, labelsize=9)
    else:
        axes.set_xlabel("layers that enlarge the field or the jump")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(ylabel="field, pixels", ylim=(0, None))
    return finish(figure, f"Size of the receptive field after each layer: {'; '.join(described)}.")


def _changes_field(analysis: Analysis, layer: Layer) -> bool:
    """Whether a layer's field or jump differs from that of the layer before it."""
    position = analysis.layers.index(layer)
    if position == 0:
        return True
    before = analysis.layers[position - 1]
    return layer.has_map and (layer.size, layer.jump) != (before.size, before.jump)


def one_axis(layers: Sequence[tuple[str, int, int, int]], input_size: int, unit: int) -> Figure:
    """One axis of a small network as rows of units, with what one unit of the last layer sees.

    layers: name, kernel, stride and dilation of each, without padding
    unit: which unit of the last layer to follow back to the input
    """
    sizes = [input_size]
    for _, kernel, stride, dilation in layers:
        sizes.append((sizes[-1] - (kernel - 1) * dilation - 1) // stride + 1)
    centers = [[float(x) for x in range(input_size)]]  # of each row's units, in input pixels
    for (_, kernel, stride, dilation), size in zip(layers, sizes[1:], strict=True):
        below = centers[-1]
        reach = (kernel - 1) * dilation
        centers.append([(below[u * stride] + below[u * stride + reach]) / 2 for u in range(size)])
    seen = [{unit}]  # of each row, from the last back to the input
    for _, kernel, stride, dilation in reversed(layers):
        seen.append({u * stride + tap * dilation for u in seen[-1] for tap in range(kernel)})
    seen.reverse()

    figure, (axes,) = axes_grid(1, 1, 7.2, 0.85 * len(sizes) + 0.3)
    axes.set_axis_off()
    for row, (places, chosen) in enumerate(zip(centers, seen, strict=True)):
        for u, x in enumerate(places):
            axes.add_patch(
                matplotlib.patches.Rectangle(
                    (x - 0.42, 1.4 * row - 0.35),
                    0.84,
                    0.7,
                    linewidth=1,
                    edgecolor=PALETTE["muted"],
                    facecolor=PALETTE["test" if u in chosen else "grid"],
                    alpha=0.85 if u in chosen else 0.45,
                )  # fmt: skip
            )
        label = "input" if row == 0 else layers[row - 1][0]
        axes.text(-1.2, 1.4 * row, label, ha="right", va="center")
        if row:
            _, kernel, stride, dilation = layers[row - 1]
            for u in chosen:
                for tap in range(kernel):
                    x = centers[row - 1][u * stride + tap * dilation]
                    axes.plot([places[u], x], [1.4 * row - 0.35, 1.4 * row - 1.05], linewidth=1,
                              color=PALETTE["test"])  # fmt: skip
    axes.set(xlim=(-4.5, input_size), ylim=(-0.6, 1.4 * len(sizes) - 0.7))
    inputs = sorted(seen[0])
    return finish(
        figure,
        f"Rows of units, the input below. Unit {unit} of {layers[-1][0]} sees {len(inputs)} of the "
        f"input's {input_size} units, from {inputs[0]} to {inputs[-1]}.",
    )


def field(layer: Layer, image: Tensor, row: int, col: int) -> Figure:
    """What one unit sees, on an image: its box as a frame, the pixels that reach it filled."""
    figure, (axes,) = axes_grid(1, 1, 3.4, 3.4)
    _draw_field(axes, layer, image, row, col)
    return finish(figure, _describe_field(layer, row, col))


def field_and_effective(
    layer: Layer, effective: EffectiveField, image: Tensor, row: int, col: int
) -> Figure:
    """Side by side: the pixels that can reach a unit, and how much each one really does."""
    figure, (left, right) = axes_grid(1, 2, 7.0, 3.6)
    _draw_field(left, layer, image, row, col)
    left.set_title("can reach the unit")
    show_digit(right, image, strength=0.25)
    weight = effective.map / effective.map.max()
    colour = torch.tensor(matplotlib.colors.to_rgb(PALETTE["train"])).expand(*weight.shape, 3)
    shown = torch.cat((colour, weight.sqrt()[..., None]), dim=2)
    height, width = weight.shape
    right.imshow(shown.numpy(), extent=(0, width, height, 0), interpolation="nearest")
    right.set_title(f"really does: {effective.share:.0%} within {effective.size} pixels")
    return finish(
        figure,
        _describe_field(layer, row, col)
        + " Beside it the gradient's share of each pixel, averaged over digits: "
        f"{effective.share:.0%} of it lie within a square of {effective.size} pixels.",
    )


def _draw_field(axes: Axes, layer: Layer, image: Tensor, row: int, col: int) -> None:
    show_digit(axes, image)
    for y, x in layer.mask(row, col).nonzero().tolist():
        axes.add_patch(
            matplotlib.patches.Rectangle(
                (x, y), 1, 1, facecolor=PALETTE["test"], alpha=0.4, linewidth=0
            )
        )
    top, left, bottom, right = layer.box(row, col)
    axes.add_patch(
        matplotlib.patches.Rectangle(
            (left, top),
            right - left,
            bottom - top,
            fill=False,
            edgecolor=PALETTE["train"],
            linewidth=1.8,
        )  # fmt: skip
    )
    height, width = layer.input_size
    axes.add_patch(
        matplotlib.patches.Rectangle(
            (0, 0), width, height, fill=False, edgecolor=PALETTE["muted"], linewidth=0.8
        )
    )
    axes.set(xlim=(-0.5, width + 0.5), ylim=(height + 0.5, -0.5))


def _describe_field(layer: Layer, row: int, col: int) -> str:
    top, left, bottom, right = layer.box(row, col)
    return (
        f"An image of {layer.input_size[0]} by {layer.input_size[1]} pixels with what unit "
        f"{row}, {col} of {layer.name} sees: a box of {bottom - top} by {right - left} pixels, "
        f"of which {layer.pixels(row, col)} reach the unit."
    )
