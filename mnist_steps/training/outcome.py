"""What a training leaves: a Run, with its epochs, its steps and where it was made."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta
from torch import Tensor, nn

from mnist_steps import evaluation
from mnist_steps.errors import MnistStepsError
from mnist_steps.stages import Stage
from mnist_steps.training.machine import Environment

# What these can be, for whoever reads them from a file.
Loss = Annotated[float, Meta(ge=0)]
Percent = Annotated[float, Meta(ge=0, le=100)]


@dataclass(frozen=True)
class Epoch:
    """Losses are means over images, accuracies in percent.

    The train figures are taken while training, on augmented images and with weights that
    still change; the test figures after the epoch. Where these judge by several views, those of
    the one view without a shift stand beside them, and are None elsewhere.
    """

    train_loss: Loss
    train_accuracy: Percent
    test_loss: Loss
    test_accuracy: Percent
    one_view_loss: Loss | None = None
    one_view_accuracy: Percent | None = None

    @property
    def by_one_view(self) -> float:
        """Test accuracy in percent, each image judged once."""
        return self.test_accuracy if self.one_view_accuracy is None else self.one_view_accuracy

    def as_data(self) -> dict[str, float]:
        """The figures by name, without those that are not there, for JSON."""
        return {name: round(value, 6) for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Step:
    """One batch of a training: its loss, and the learning rate that it was taken with."""

    loss: float
    learning_rate: float


@dataclass(frozen=True)
class Run:
    """The outcome of training one stage with one seed.

    predictions: uint8 tensor (10000,), the digit predicted for each test image at the end
    confidences: float tensor (10000,), the probability given to that digit
    weights: the final state dict, or None where it was too large to keep
    """

    stage: Stage
    seed: int
    epochs: tuple[Epoch, ...]
    steps: tuple[Step, ...]
    predictions: Tensor
    confidences: Tensor
    weights: dict[str, Tensor] | None
    environment: Environment

    @property
    def final_test_accuracy(self) -> float:
        return self.epochs[-1].test_accuracy

    @property
    def best_test_accuracy(self) -> float:
        return max(epoch.test_accuracy for epoch in self.epochs)

    @property
    def best_train_accuracy(self) -> float:
        return max(epoch.train_accuracy for epoch in self.epochs)

    @property
    def last_three_test_accuracies(self) -> tuple[float, ...]:
        return tuple(epoch.test_accuracy for epoch in self.epochs[-3:])

    def wrong(self, labels: Tensor) -> dict[int, int]:
        """As `evaluation.wrong`, of the test images."""
        return evaluation.wrong(self.predictions, labels)

    def build(self) -> nn.Module:
        """The trained network, in evaluation mode. Raises MnistStepsError without weights."""
        if self.weights is None:
            raise MnistStepsError(
                f"the record of stage {self.stage.number} has no weights: they were too large to "
                f"keep. Train the stage again with: mnist-steps train {self.stage.number}"
            )
        model = self.stage.build()
        model.load_state_dict(self.weights)
        return model.eval()
