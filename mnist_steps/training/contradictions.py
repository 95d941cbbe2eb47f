"""What a run's figures cannot be, given its recipe and each other.

A digest tells damage; whoever writes other figures can write another digest too. But a recipe
says how many epochs there are, how the learning rate moves and who judges which epoch. An
accuracy counts images. And a loss is a mean over images, of which each one that is not
recognised costs log 2 at least: another digit was given as much of the probability, or more.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from mnist_steps.recipes import Recipe, optimizer_settings
from mnist_steps.training.loop import mean_over_images
from mnist_steps.training.outcome import Epoch

CHANCE = math.log(10)  # the loss of an image whose digit gets a tenth, the least with which it wins
ROUNDING = 1e-4  # of losses, relatively; they are sums of many float32 numbers


def of_epochs(
    epochs: Sequence[Epoch],
    recipe: Recipe,
    trained_on: int,
    judged_on: int,
    one_view_noted: bool = True,
) -> Iterator[str]:
    """Contradictions in the history of a run, in words. Losses may be NaN, as diverged ones are.

    trained_on, judged_on: how many images
    one_view_noted: False for a run older than the figures by one view beside those by several
    """
    if len(epochs) != recipe.epochs:
        yield f"it has {len(epochs)} epochs, its recipe {recipe.epochs}"
        return
    for number, epoch in enumerate(epochs, start=1):
        several = one_view_noted and recipe.judges_by_shifts(number)
        one_view = (epoch.one_view_loss, epoch.one_view_accuracy)
        if [figure is not None for figure in one_view] != [several] * 2:
            yield (
                f"epoch {number} {'lacks' if several else 'has'} figures by one view beside its "
                f"own: its recipe judges it by {'several views' if several else 'one'}"
            )
        kinds = [
            ("train", epoch.train_loss, epoch.train_accuracy, trained_on),
            ("test", epoch.test_loss, epoch.test_accuracy, judged_on),
        ]
        if epoch.one_view_loss is not None and epoch.one_view_accuracy is not None:
            kinds.append(("one-view", epoch.one_view_loss, epoch.one_view_accuracy, judged_on))
        for kind, loss, accuracy, images in kinds:
            right = accuracy / 100 * images
            if abs(right - round(right)) > 1e-8 * images:  # percents are rounded to six digits
                yield f"{kind} accuracy {accuracy} % of epoch {number} counts no {images} images"
            hard = 1 - recipe.label_smoothing if kind == "train" else 1
            least = hard * (1 - accuracy / 100) * math.log(2)
            most = CHANCE if accuracy == 100 and kind != "train" else math.inf
            if loss < least * (1 - ROUNDING) - 1e-6 or loss > most * (1 + ROUNDING):
                yield (
                    f"{kind} loss {loss} of epoch {number} cannot be at an accuracy of {accuracy} %"
                )


def of_steps(
    losses: Tensor, rates: Tensor, epochs: Sequence[Epoch], recipe: Recipe, trained_on: int
) -> Iterator[str]:
    """Contradictions between the steps of a run, its recipe and its epochs, in words.

    losses, rates: float tensors (steps,)
    """
    by_epoch = losses.view(len(epochs), -1)
    means = mean_over_images(by_epoch, recipe.batch_size, trained_on)
    for number, (mean, epoch) in enumerate(zip(means.tolist(), epochs, strict=True), start=1):
        if not math.isclose(mean, epoch.train_loss, rel_tol=ROUNDING, abs_tol=1e-6):
            yield (
                f"the steps of epoch {number} have a mean loss of {mean:.6f}, the epoch "
                f"{epoch.train_loss}"
            )
    train_losses = [epoch.train_loss for epoch in epochs]
    taken = optimizer_settings(recipe, recipe.steps_per_epoch(trained_on), train_losses)
    expected = torch.tensor([one["lr"] for one in taken], dtype=torch.float64)
    # Some records noted them as float32.
    other = ((rates - expected).abs() > 1e-6 * expected.abs()).nonzero().flatten().tolist()
    if other:
        yield (
            f"the learning rate of step {other[0] + 1} is {rates[other[0]]:.6g}, by the recipe "
            f"{expected[other[0]]:.6g}"
        )


def of_confidences(right: Tensor, confidences: Tensor, test_loss: float) -> Iterator[str]:
    """Contradictions between the probabilities of the predicted digits and the loss, in words.

    right: bool tensor (N,), which predictions are right; confidences: float tensor (N,)
    """
    # A digit that was not recognised has no more than its rival, nor than what that leaves of 1;
    # what is left of 0.9999999 is rounding.
    left = (1 - confidences).clamp(min=1e-4)
    least = -torch.where(right, confidences, torch.minimum(confidences, left)).log().mean().item()
    if test_loss < least * (1 - ROUNDING) - 1e-6:
        yield f"by the confidences the test loss is {least:.6f} at least, and not {test_loss}"
