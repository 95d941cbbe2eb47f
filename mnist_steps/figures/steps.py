"""Figures that answer their reader, over the steps of a training: a channel's values, the schedule.

As those of `moving`, each is a picture of one state with the numbers for all others.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mnist_steps import data, recipes, stages
from mnist_steps.errors import MnistStepsError
from mnist_steps.figures.containers import Moving, Panels
from mnist_steps.figures.style import PALETTE, Figure, aim, axes_row, finish
from mnist_steps.stages import SEED, Stage
from mnist_steps.training import Training

# --- Batch normalization over the steps -----------------------------------------------------

HISTOGRAM = (-4.0, 4.0, 64)  # from, to, bars


@dataclass(frozen=True)
class Moment:
    """One channel's values at one step: mean, standard deviation, and share of each bar.

    Values beyond the histogram's ends are counted in its first and last bar.
    """

    step: int
    mean: float
    spread: float
    shares: tuple[float, ...]


def moment(step: int, values: Tensor) -> Moment:
    """values: float tensor of any shape, all of one channel"""
    low, high, bars = HISTOGRAM
    inside = values.flatten().clamp(low, high).double().numpy()
    counts, _ = np.histogram(inside, bins=bars, range=(low, high))
    return Moment(
        step, values.mean().item(), values.std().item(), tuple((counts / len(inside)).tolist())
    )


def channel_over_steps(
    stage: Stage,
    layers: Sequence[str],
    channel: int = 0,
    steps: Sequence[int] = (0, 1, 2, 4, 8, 16, 32),
    seed: int = SEED,
) -> tuple[list[list[Moment]], list[tuple[float, float]]]:
    """Train a network for some steps and look at one channel behind some layers.

    layers: by name, in order; each is looked at on the same 128 training digits, in training mode
    steps: when, ascending
    Returns for each layer its moments, and for each step the last layer's weight and bias of that
    channel; (1, 0) where it has none.
    """
    under_way = Training(stage, seed, torch.device("cpu"))
    some = under_way.train_split[:128]
    images = stage.recipe.normalize_train(some.images.float() / 255)
    found: list[list[Moment]] = [[] for _ in layers]
    learnt: list[tuple[float, float]] = []
    wanted, step = set(steps), 0

    def look() -> None:
        # A copy: looking in training mode would move the running statistics.
        probe = copy.deepcopy(under_way.model).train()
        signal = images.contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            for name, layer in probe.named_children():
                signal = layer(signal)
                if name in layers:
                    found[layers.index(name)].append(moment(step, signal[:, channel]))
                if name == layers[-1]:
                    break
        last = under_way.model.get_submodule(layers[-1])
        if isinstance(last, nn.BatchNorm2d):
            learnt.append((last.weight[channel].item(), last.bias[channel].item()))
        else:
            learnt.append((1.0, 0.0))

    def after_step(_loss: Tensor) -> None:
        nonlocal step
        step += 1
        if step in wanted:
            look()

    if 0 in wanted:
        look()
    under_way.train_epoch(max_steps=max(steps), on_step=after_step)
    return found, learnt


def normalization(
    layer: str = "conv4", norm: str = "batch_norm4", channel: int = 0, **options: Any
) -> Moving:
    """A channel of stage 4 before and after its normalization, and of stage 3, over first steps.

    Both networks see the same batches, by stage 4's recipe: only the network differs.
    options: steps and seed, as for channel_over_steps
    """
    with_norm = stages.get(4)
    without = replace(stages.get(3), recipe=with_norm.recipe)
    (before, after), learnt = channel_over_steps(with_norm, (layer, norm), channel, **options)
    (alone,), _ = channel_over_steps(without, (layer,), channel, **options)
    lines = {
        f"stage 3, {layer}": alone,
        f"stage 4, {layer}": before,
        f"stage 4, behind {norm}": after,
    }
    return Moving(
        "normalization",
        Panels(tuple(_still_histogram(name, moments) for name, moments in lines.items())),
        {
            "channel": channel,
            "range": HISTOGRAM,
            "batch": with_norm.recipe.batch_size,
            "steps": [one.step for one in before],
            "learnt": [[round(value, 4) for value in pair] for pair in learnt],
            "lines": [
                {
                    "name": name,
                    "mean": [float(f"{one.mean:.3g}") for one in moments],
                    "spread": [float(f"{one.spread:.3g}") for one in moments],
                    "shares": [[round(10_000 * s) for s in one.shares] for one in moments],
                }
                for name, moments in lines.items()
            ],
        },
    )


def _still_histogram(name: str, moments: Sequence[Moment]) -> Figure:
    low, high, bars = HISTOGRAM
    figure, (axes,) = axes_row(3.5, 2.0)
    edges = np.linspace(low, high, bars + 1)
    first, last = moments[0], moments[-1]
    for one, ink in ((first, "muted"), (last, "test")):
        axes.stairs(one.shares, edges, color=PALETTE[ink], fill=ink == "test",
                    alpha=0.55 if ink == "test" else 1,
                    label=f"after {one.step} steps" if one.step else "at the start")  # fmt: skip
    axes.legend(frameon=False, fontsize=9, loc="upper right")
    axes.set(title=name, xlabel="value", yticks=[], ylim=(0, None))
    axes.grid(False)
    said = "; ".join(
        f"after {one.step} steps mean {one.mean:.2g}, spread {one.spread:.2g}"
        for one in (first, last)
    )
    return finish(figure, f"Histogram of a channel, {name}: {said}.")


# --- The schedule ---------------------------------------------------------------------------


def schedule(stage: Stage) -> Moving:
    """Learning rate and momentum over a OneCycle training, with a peak that can be moved.

    Raises MnistStepsError for a recipe with another schedule or none.
    """
    recipe = stage.recipe
    part = recipe.schedule
    if part is None or part.name != "OneCycle":
        raise MnistStepsError(f"stage {stage.number} has no OneCycle schedule to show.")
    steps_per_epoch = recipe.steps_per_epoch(data.TRAIN_SIZE)
    losses = [0.0] * recipe.epochs  # a OneCycle does not look at them
    taken = list(recipes.optimizer_settings(recipe, steps_per_epoch, losses))
    rates, momenta = ([one[name] for one in taken] for name in ("lr", "momentum"))
    return Moving(
        "schedule",
        Panels(
            (
                _still_curve("learning rate", rates, steps_per_epoch, recipe.optimizer.lr),
                _still_curve("momentum", momenta, steps_per_epoch, recipe.optimizer.momentum),
            ),
            caption="A line across: what the stage before kept all the time.",
        ),
        {
            "epochs": recipe.epochs,
            "total": len(taken),
            "peak": part.max_lr,
            "share": part.pct_start,
            "division": part.div_factor,
            "finalDivision": part.final_div_factor,
            "low": part.base_momentum,
            "high": part.max_momentum,
            "constant": recipe.optimizer.lr,
            "constantMomentum": recipe.optimizer.momentum,
        },
    )


def _still_curve(
    name: str, values: Sequence[float], steps_per_epoch: int, constant: float
) -> Figure:
    figure, (axes,) = axes_row(3.7, 2.3)
    every = max(1, len(values) // 250)
    places = [step / steps_per_epoch for step in range(0, len(values), every)]
    aim(axes, constant)
    axes.plot(places, values[::every], color=PALETTE["test"])
    low = 0 if name == "learning rate" else 0.8
    axes.set(title=name, xlabel="epoch", ylim=(low, 1.08 * max(*values, constant)))
    turn = values.index(max(values) if name == "learning rate" else min(values))
    return finish(
        figure,
        f"The {name} over {len(values):,} steps: {values[0]:.4g} at the start, {values[turn]:.4g} "
        f"at step {turn + 1:,}, {values[-1]:.4g} at the end; {constant:g} in the stage before.",
    )
