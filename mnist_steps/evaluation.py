"""How a network is judged: one rule for trainings, records, studies and the grader.

Each image is judged once. At the end of a training whose recipe says so, it is judged by the
mean of several views instead, the image shifted by a pixel or not at all; what the one view
without a shift says is kept beside it, so that both can be compared.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_steps.data import Split
from mnist_steps.recipes import Normalization, Recipe

BATCH = 100  # small enough that a layer's output stays in the processor's cache


@dataclass(frozen=True)
class Evaluation:
    """log_probabilities: float tensor (N, 10); labels: int64 tensor (N,).

    one_view: what the images themselves say, where these are the mean of several views
    """

    log_probabilities: Tensor
    labels: Tensor
    one_view: "Evaluation | None" = None

    @property
    def loss(self) -> float:
        return F.nll_loss(self.log_probabilities, self.labels).item()

    @property
    def predictions(self) -> Tensor:
        return self.log_probabilities.argmax(dim=1)

    @property
    def accuracy(self) -> float:
        """In percent."""
        return 100 * (self.predictions == self.labels).sum().item() / len(self.labels)

    @property
    def wrong(self) -> dict[int, int]:
        return wrong(self.predictions, self.labels)


def wrong(predictions: Tensor, labels: Tensor) -> dict[int, int]:
    """The position of each image not recognised, and the digit it was taken for."""
    positions = (predictions != labels).nonzero().flatten().tolist()
    return {position: int(predictions[position]) for position in positions}


@torch.inference_mode()
def log_probabilities(model: nn.Module, images: Tensor, normalization: Normalization) -> Tensor:
    """The network's log-probabilities, (N, 10), in evaluation mode and without augmentation.

    images: uint8 tensor (N, 1, 28, 28)
    """
    model.eval()
    parts = [model(normalization(batch.float() / 255)) for batch in images.split(BATCH)]
    return torch.cat(parts).cpu()


def evaluate(
    model: nn.Module,
    split: Split,
    recipe: Recipe,
    final: bool = False,
    compute: Callable[[nn.Module, Tensor, Normalization], Tensor] = log_probabilities,
) -> Evaluation:
    """Judge a network on the images of a split, as its recipe wants it.

    final: as after the last epochs, by all views that the recipe names
    compute: the log-probabilities of images, by PyTorch or another way
    """
    labels = split.labels.cpu()
    reach = recipe.test_shifts if final else 0
    shifts = range(-reach, reach + 1)
    views = {
        (down, right): compute(model, shifted(split.images, down, right), recipe.normalize_test)
        for down in shifts
        for right in shifts
    }
    one_view = Evaluation(views[0, 0], labels)
    if not reach:
        return one_view
    mean = torch.stack(list(views.values())).mean(dim=0)
    return Evaluation(mean.log_softmax(dim=1), labels, one_view)


def shifted(images: Tensor, down: int, right: int) -> Tensor:
    """Images moved by whole pixels; what leaves at one edge is lost, and 0 enters at the other."""
    height, width = images.shape[-2:]
    edge = max(abs(down), abs(right))
    wide = F.pad(images, (edge,) * 4)
    top, left = edge - down, edge - right
    return wide[..., top : top + height, left : left + width]
