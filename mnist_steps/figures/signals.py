"""What reaches the layers of a network at the start, and how the first steps of a training go."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_steps import data, training
from mnist_steps.figures.containers import Panels
from mnist_steps.figures.style import (
    PALETTE,
    Figure,
    aim,
    apart,
    axes_row,
    finish,
    note,
    with_colours,
)
from mnist_steps.recipes import TRAIN_PIXELS
from mnist_steps.stages import SEED, Stage
from mnist_steps.training import Run

LINE_COLOURS = ("test", "train", "muted", "wrong", "ink", "accent")
GUESS = math.log(10)  # the loss of whoever gives each of ten digits a tenth


@dataclass(frozen=True)
class Signal:
    """What a batch is like on its way through a network, and what comes back.

    layers: names of the convolutions, in order
    activations: standard deviation of what each of them gives, over all images, maps and places
    gradients: root of the mean square of the loss's gradient for its weights
    loss: of the batch
    """

    layers: tuple[str, ...]
    activations: tuple[float, ...]
    gradients: tuple[float, ...]
    loss: float


def signal_at_start(stage: Stage, count: int = 128) -> Signal:
    """Of a stage's network before its first step, in training mode, on training digits.

    count: of images
    """
    return signal_of(training.untrained(stage, SEED), *_some_digits(count))


def _some_digits(count: int) -> tuple[Tensor, Tensor]:
    """The first training images, (N, 1, 28, 28), normalized as those of stage 1; their labels."""
    some = data.mnist().full_train[:count]
    return TRAIN_PIXELS(some.images.float() / 255), some.labels


def signal_of(model: nn.Module, images: Tensor, labels: Tensor) -> Signal:
    """Of any network that gives log-probabilities; its statistics and gradients are changed.

    images: float tensor (N, C, H, W); labels: int64 tensor (N,)
    """
    found: list[tuple[str, nn.Conv2d]] = [
        (name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)
    ]
    spreads: dict[str, float] = {}
    hooks = [
        layer.register_forward_hook(
            lambda _layer, _inputs, output, name=name: spreads.update(
                {name: output.detach().std().item()}
            )
        )
        for name, layer in found
    ]
    try:
        model.train()
        model.zero_grad()
        loss = F.nll_loss(model(images), labels)
        loss.backward()
    finally:
        for hook in hooks:
            hook.remove()
    gradients = []
    for _, layer in found:
        assert layer.weight.grad is not None
        gradients.append(layer.weight.grad.square().mean().sqrt().item())
    return Signal(
        tuple(name for name, _ in found),
        tuple(spreads[name] for name, _ in found),
        tuple(gradients),
        loss.item(),
    )


def signal(signals: Mapping[str, Signal] | Sequence[Stage]) -> Panels:
    """Spread of activations, and size of gradients, layer by layer: a line for each network.

    signals: by the network's name; or stages, which are measured at their start
    Raises MnistStepsError for more networks than LINE_COLOURS.
    """
    if not isinstance(signals, Mapping):
        signals = {f"stage {stage.number}": signal_at_start(stage) for stage in signals}
    return Panels(
        (
            _layer_lines(
                "spread of the activations",
                {name: one.activations for name, one in signals.items()},
            ),
            _layer_lines(
                "size of the gradients", {name: one.gradients for name, one in signals.items()}
            ),
        ),
        caption="Before the first step, behind one convolution after the other: the standard "
        "deviation of what it gives, and the root of the mean square of the gradient of its "
        "weights. Both axes are logarithmic.",
    )


def _layer_lines(title: str, lines: Mapping[str, Sequence[float]]) -> Figure:
    figure, (axes,) = axes_row(3.7, 3.1)
    axes.set_yscale("log")
    described, ends = [], []
    for (name, values), colour in with_colours(list(lines.items()), LINE_COLOURS):
        places = range(1, len(values) + 1)
        axes.plot(places, values, color=PALETTE[colour], marker=".", markersize=6)
        ends.append((values[-1], len(values), name, colour))
        steps = ", ".join(f"{value:.2g}" for value in values)
        described.append(f"{name}: {steps}")
    longest = max(place for _, place, *_ in ends)
    low, high = axes.get_ylim()
    heights = apart([math.log(end / low) / math.log(high / low) for end, *_ in ends], 0.085)
    for height, (_, place, name, colour) in zip(heights, ends, strict=True):
        value = low * (high / low) ** height
        note(axes, name, (place, value), (7, 0), colour, va="center", fontsize=10)
    axes.set(title=title, xlabel="convolution", xlim=(0.7, longest + 0.32 * longest + 0.5))
    axes.set_xticks(range(1, longest + 1, 2 if longest > 6 else 1))
    axes.minorticks_off()
    return finish(figure, f"{title}, convolution by convolution: {'; '.join(described)}.")


def loss_by_step(runs: Sequence[Run] | Mapping[str, Sequence[float]], steps: int = 240) -> Figure:
    """The loss of each of the first steps, a line a training, and the loss of pure guessing.

    runs: or the losses themselves, by the training's name
    Raises MnistStepsError for more trainings than LINE_COLOURS.
    """
    if not isinstance(runs, Mapping):
        runs = {f"stage {run.stage.number}": [step.loss for step in run.steps] for run in runs}
    figure, (axes,) = axes_row(4.6, 2.3)
    described = []
    for (name, losses), colour in with_colours(list(runs.items()), LINE_COLOURS):
        losses = losses[:steps]
        axes.plot(range(1, len(losses) + 1), losses, color=PALETTE[colour], linewidth=1.3,
                  label=name)  # fmt: skip
        below = next((i for i, loss in enumerate(losses, 1) if loss < GUESS / 2), None)
        described.append(
            f"{name} "
            + (f"falls below half of that first at step {below}" if below
               else f"is at {losses[-1]:.3f} after {len(losses)} steps")
        )  # fmt: skip
    # Named in the legend: a curve may lie anywhere beside the line.
    aim(axes, GUESS, f"−log(1/10) = {GUESS:.3f}")
    axes.legend(
        frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1),
        fontsize=10, handlelength=1.2, columnspacing=1.2, borderaxespad=0.2,
    )  # fmt: skip
    axes.set(xlabel="step", ylabel="loss of the batch", ylim=(0, None), xlim=(0, steps))
    return finish(
        figure,
        f"The loss of each of the first {steps} steps. Guessing gives {GUESS:.3f}; "
        f"{'; '.join(described)}.",
    )


# --- One step -------------------------------------------------------------------------------


@dataclass(frozen=True)
class OneStep:
    """The loss along the way that one step of gradient descent takes.

    slope: of the loss at the start, for each unit of `rate`; negative
    rate: the learning rate of the step
    rates, losses: the loss of the same batch after steps of other lengths
    before, after: the loss at the start and after the step
    """

    slope: float
    rate: float
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    before: float
    after: float


def one_step(stage: Stage, rate: float, reach: float = 30, count: int = 16) -> OneStep:
    """Follow the loss of one batch along its own gradient, from a network's first weights.

    rate: the learning rate; the loss is looked at up to `reach` times as far
    count: of images
    """
    model = training.untrained(stage, SEED).train()
    images, labels = _some_digits(count)
    weights = list(model.parameters())
    loss = F.nll_loss(model(images), labels)
    gradients = torch.autograd.grad(loss, weights)
    slope = -sum(gradient.square().sum().item() for gradient in gradients)
    rates = [0, rate, *(rate * reach * part / 20 for part in range(1, 21))]
    first = [weight.detach().clone() for weight in weights]
    losses = []
    with torch.no_grad():
        for one in rates:
            for weight, start, gradient in zip(weights, first, gradients, strict=True):
                weight.copy_(start - one * gradient)
            losses.append(F.nll_loss(model(images), labels).item())
    return OneStep(slope, rate, tuple(rates), tuple(losses), losses[0], losses[1])


def descent(step: OneStep) -> Figure:
    """One step of gradient descent: the loss, its tangent at the start, and where the step ends."""
    figure, (axes,) = axes_row(4.4, 3.3)
    axes.plot(*zip(*sorted(zip(step.rates, step.losses, strict=True)), strict=True),
              color=PALETTE["test"], linewidth=2)  # fmt: skip
    end = step.rates[-1]
    axes.plot([0, end], [step.before, step.before + step.slope * end], color=PALETTE["muted"],
              linewidth=1.2, linestyle=(0, (4, 3)))  # fmt: skip
    axes.plot([0, step.rate], [step.before, step.after], "o", color=PALETTE["train"])
    note(axes, f"a step of {step.rate:g}", (step.rate, step.after), (9, 5), "train")
    margin = 0.15 * (max(step.losses) - min(step.losses))
    axes.set(
        xlabel="how far against the gradient (learning rate)", ylabel="loss of the batch",
        ylim=(min(step.losses) - margin, max(step.losses) + 2 * margin),
    )  # fmt: skip
    promised = step.before + step.slope * step.rate
    return finish(
        figure,
        f"The loss of one batch along its gradient: {step.before:.4f} at the start, "
        f"{step.after:.4f} after a step of {step.rate:g}; the tangent, drawn dashed, promised "
        f"{promised:.4f}.",
    )
