"""One pass over the training images.

`train_epoch` is the loop that every tutorial shows. `train_epoch_in_steps` does the same by the
engine's steps, which are quicker.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from mnist_steps.augment import Affine, augment, draw
from mnist_steps.data import Split
from mnist_steps.engine import Trainer
from mnist_steps.errors import MnistStepsError
from mnist_steps.recipes import Recipe

DRAWN_AT_ONCE = 64  # batches; a few megabytes of random numbers


def train_epoch(
    model: nn.Module,
    split: Split,
    recipe: Recipe,
    optimizer: Optimizer,
    schedule: LRScheduler | None,
    generator: Generator,
    max_steps: int | None = None,
    on_step: Callable[[Tensor], None] = lambda loss: None,
) -> "TrainedEpoch":
    """One pass over the training images, in a random order, each augmented afresh.

    schedule: one that moves after each batch
    generator: CPU generator that draws the order and the augmentation
    max_steps: stop after this many batches
    """
    model.train()
    losses: list[Tensor] = []
    learning_rates, correct, seen = [], torch.tensor(0, device=split.labels.device), 0
    order = torch.randperm(len(split), generator=generator)
    for chosen in order.split(recipe.batch_size)[:max_steps]:
        chosen = chosen.to(split.labels.device)
        images, labels = split.images[chosen].float() / 255, split.labels[chosen]
        images = augment(images, recipe.augmentation, generator)

        optimizer.zero_grad()
        log_probabilities = model(recipe.normalize_train(images))  # (N, 10)
        if not losses:  # the first batch shows what the network returns
            demand_log_probabilities(log_probabilities, len(labels), type(model).__name__)
        loss = F.nll_loss(log_probabilities, labels)
        if recipe.l1 or recipe.label_smoothing:
            loss = regularize(loss, log_probabilities, model, recipe)
        loss.backward()
        learning_rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if schedule is not None:
            schedule.step()

        losses.append(loss.detach())
        correct += (log_probabilities.argmax(dim=1) == labels).sum()
        seen += len(labels)
        on_step(losses[-1])
    return TrainedEpoch(torch.stack(losses).cpu(), learning_rates, 100 * correct.item() / seen)


def demand_log_probabilities(outputs: Any, images: int, network: str) -> None:
    """Raises MnistStepsError when a network's outputs for so many images are something else.

    The loss would fall all the same, below 0, and the network learn nothing. Not a number is what
    a training that diverged gives, and none of this function's business.
    """
    mend = "end its forward() with `return F.log_softmax(x, dim=1)`"
    if not isinstance(outputs, Tensor):
        found, mend = f"a {type(outputs).__name__}", "return one tensor from its forward()"
    elif outputs.shape != (images, 10):
        found = f"a tensor of shape {tuple(outputs.shape)}"
        mend = f"{mend}, of ten scores for each image"
    elif (outputs.exp().sum(dim=1) - 1).abs().max() > 1e-3:
        found = "other numbers"
        if (outputs.sum(dim=1) - 1).abs().max() < 1e-3 and outputs.min() >= 0:
            found, mend = "probabilities", f"{mend} in place of softmax"
    else:
        return
    raise MnistStepsError(
        f"{network} returns {found}, expected log-probabilities of shape ({images}, 10), whose "
        f"exponentials sum to 1 for each image: {mend}."
    )


def regularize(loss: Tensor, log_probabilities: Tensor, model: nn.Module, recipe: Recipe) -> Tensor:
    """The loss with the recipe's label smoothing and L1 penalty.

    Smoothed labels are those of torch's cross_entropy: a share is spread over all digits.
    """
    share = recipe.label_smoothing
    loss = (1 - share) * loss - share * log_probabilities.mean()
    weights: Any = sum(weight.abs().sum() for weight in model.parameters())
    return loss + recipe.l1 * weights


def train_epoch_in_steps(
    trainer: Trainer,
    recipe: Recipe,
    schedule: LRScheduler | None,
    generator: Generator,
    max_steps: int | None = None,
    on_step: Callable[[Tensor], None] = lambda loss: None,
    mark: Callable[[str], None] = lambda part: None,
) -> "TrainedEpoch":
    """The same as `train_epoch`, with the same random numbers, by the steps of a Trainer.

    mark: as for Trainer.step
    """
    losses, learning_rates, correct, seen = [], [], 0, 0
    order = torch.randperm(len(trainer.split), generator=generator)
    batches = order.split(recipe.batch_size)[:max_steps]
    drawn = moves(batches, recipe, generator)
    for chosen in batches:
        maps = next(drawn)
        mark("augmentation")
        learning_rates.append(trainer.settings["lr"])
        loss, recognized = trainer.step(chosen, maps, mark)
        if schedule is not None:
            schedule.step()
        mark("optimizer")

        losses.append(torch.tensor(loss))
        correct += recognized
        seen += len(chosen)
        on_step(losses[-1])
    return TrainedEpoch(torch.stack(losses), learning_rates, 100 * correct / seen)


def moves(
    batches: Sequence[Tensor], recipe: Recipe, generator: Generator
) -> Iterator[Tensor | None]:
    """How the images of each batch move, drawn for many batches at once: that is quicker."""
    if not recipe.augmentation:
        yield from [None] * len(batches)
        return
    transforms = cast(Sequence[Affine], recipe.augmentation)  # as `engine.choose` says
    for start in range(0, len(batches), DRAWN_AT_ONCE):
        group = batches[start : start + DRAWN_AT_ONCE]
        full = sum(len(chosen) == len(group[0]) for chosen in group)  # an epoch's last is smaller
        maps = draw(transforms, len(group[0]), generator, full)
        yield from maps.split(len(group[0]))
        if full < len(group):
            yield draw(transforms, len(group[-1]), generator)


def mean_over_images(losses: Tensor, batch_size: int, images: int) -> Tensor:
    """The mean loss of so many images, from those of their batches; the last may be smaller.

    losses: float tensor (..., steps)
    """
    sizes = torch.full((losses.shape[-1],), float(batch_size))
    sizes[-1] = images - sizes[:-1].sum()
    return (losses * sizes).sum(dim=-1) / images


@dataclass(frozen=True)
class TrainedEpoch:
    """losses: float tensor (steps,); learning_rates: one a step; accuracy in percent."""

    losses: Tensor
    learning_rates: list[float]
    accuracy: float
