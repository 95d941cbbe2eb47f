"""Digits: as they are, those that a run got wrong, and which was taken for which."""

from collections.abc import Sequence

import torch
from matplotlib.axes import Axes
from torch import Tensor

from mnist_steps import data
from mnist_steps.figures.drawing import digit
from mnist_steps.figures.fluid import fluid
from mnist_steps.figures.fluid import text as words_at
from mnist_steps.figures.style import PALETTE, Figure, axes_row, box, finish
from mnist_steps.training import Run

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
    figure, (axes,) = axes_row(1.05 * columns, 1.05 * rows * line / CELL)
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


def views(images: Tensor, probabilities: Tensor, label: int) -> Figure:
    """Views of one digit in a row, below each what a network reads in it, and how surely.

    images: uint8 tensor (N, 1, H, W); probabilities: float tensor (N, 10)
    """
    reads = probabilities.argmax(dim=1).tolist()
    sure = [f"{given:.0%}" for given in probabilities.amax(dim=1).tolist()]
    below = [
        (str(read), "accent" if read == label else "wrong", one, "muted")
        for read, one in zip(reads, sure, strict=True)
    ]
    described = "; ".join(f"{read}, {one}" for read, one in zip(reads, sure, strict=True))
    return _in_a_row(
        images, below,
        f"{len(images)} views of a {label}, and what a network reads in each, with its "
        f"probability: {described}.",
    )  # fmt: skip


def misread(images: Tensor, labels: Tensor, reads: Tensor) -> Figure:
    """Digits in a row, below each its label, and what is read in its place.

    images: uint8 tensor (N, 1, H, W); labels, reads: int tensors (N,)
    """
    pairs = list(zip(labels.tolist(), reads.tolist(), strict=True))
    below = [(str(label), "accent", str(read), "wrong") for label, read in pairs]
    described = "; ".join(f"a {label} read as {read}" for label, read in pairs)
    return _in_a_row(images, below, f"{len(images)} digits: {described}.")


def _in_a_row(images: Tensor, below: Sequence[tuple[str, str, str, str]], alt: str) -> Figure:
    """Digits, as many as fit on a phone, and two lines of words below each.

    below: for each digit the first line and its colour, the second and its colour
    """
    side, parts = 32, []
    for place, (image, (first, colour, second, its_colour)) in enumerate(
        zip(images, below, strict=True)
    ):
        middle = 100 * (place + 0.5) / len(images)
        parts += [
            f'<svg x="{middle:.2f}%" y="0" overflow="visible">'
            f"{digit(-side / 2, 2, side, image)}</svg>",
            words_at(middle, side + 18, first, colour, "middle"),
            words_at(middle, side + 33, second, its_colour, "middle", small=True),
        ]
    return fluid(parts, side + 40, alt)


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
    figure, (axes,) = axes_row(4.6, 4.4)
    errors = counts.clone().fill_diagonal_(0)
    most = max(errors.max().item(), 1)
    for truth in range(10):
        for predicted in range(10):
            value = int(counts[truth, predicted])
            if truth == predicted:
                axes.text(predicted, truth, str(value), ha="center", va="center", fontsize=9,
                          color=PALETTE["muted"])  # fmt: skip
            elif value:
                box(axes, predicted - 0.5, truth - 0.5, 1, 1, linewidth=0,
                    facecolor=PALETTE["wrong"], alpha=0.12 + 0.48 * value / most)  # fmt: skip
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
