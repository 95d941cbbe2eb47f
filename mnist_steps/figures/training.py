"""How a training went, epoch by epoch."""

from collections.abc import Mapping, Sequence

from matplotlib.ticker import MaxNLocator

from mnist_steps.figures.style import PALETTE, Figure, axes_row, finish, note
from mnist_steps.training import Run

LOSS_LIMITS = (0.015, 2.6)
ERROR_LIMITS = (0.4, 100.0)  # percent of images
LOSS_MARKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
ERROR_MARKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 90)


def curves(run: Run) -> Figure:
    """Loss and error of training and test, epoch by epoch; the same axes on every page.

    Only a run that would leave them has wider ones.
    """
    figure, (loss_axes, error_axes) = axes_row(8.6, 3.3, 2)
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
            place = "bottom" if kind == upper else "top"
            note(axes, kind, (len(epochs), values[-1]), (6, 0), kind, va=place)
    low, high = _limits(losses, LOSS_LIMITS)
    loss_axes.set(title="loss", ylim=(low, high))
    least, most = _limits(errors, ERROR_LIMITS)
    error_axes.set(title="accuracy in percent", ylim=(most, least))
    for axes in (loss_axes, error_axes):
        axes.set_yscale("log")
        axes.set_xlabel("epoch")
        axes.set_xlim(0.5, len(epochs) + 2.2)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.minorticks_off()
    marks = [mark for mark in LOSS_MARKS if low < mark < high]
    loss_axes.set_yticks(marks, [f"{mark:g}" for mark in marks])
    marks = [mark for mark in ERROR_MARKS if least < mark < most]
    error_axes.set_yticks(marks, [f"{100 - mark:g}" for mark in marks])
    last = run.epochs[-1]
    return finish(
        figure,
        f"Two charts over {len(epochs)} epochs, logarithmic. Left: the training loss falls to "
        f"{last.train_loss:.3f}, the test loss to {last.test_loss:.3f}. Right: the training "
        f"accuracy reaches {last.train_accuracy:.2f} percent, the test accuracy "
        f"{last.test_accuracy:.2f}.",
    )


def _limits(
    measured: Mapping[str, Sequence[float]], usual: tuple[float, float]
) -> tuple[float, float]:
    """The usual limits of a logarithmic axis, wider where something measured lies beyond them."""
    values = [max(value, 0.01 * usual[0]) for each in measured.values() for value in each]
    return min(usual[0], 0.9 * min(values)), max(usual[1], 1.1 * max(values))
