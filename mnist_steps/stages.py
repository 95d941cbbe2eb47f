"""The stages as data: a network, a recipe, and what the original claimed.

Stages 1 to 8 follow the original. Those after them are our own and have no claim.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from mnist_steps import models, recipes
from mnist_steps.errors import MnistStepsError
from mnist_steps.original import CLAIMS, Claim
from mnist_steps.recipes import Recipe

# What the original set out to reach, in recipes.EPOCHS epochs.
TARGET = 99.4  # percent of the test digits
BUDGET = 8_000  # parameters; fewer than so many
SEED = 8  # of its runs, and so of our records


@dataclass(frozen=True)
class Stage:
    """One step of the tutorial.

    slug: the page's name and the records' folder, such as '08_lr_scheduler'
    claim: None for a stage of our own, which the original does not have
    """

    number: int
    slug: str
    title: str
    model: Callable[[], nn.Module]
    recipe: Recipe
    claim: Claim | None = None

    def build(self) -> nn.Module:
        """A new network with random weights from torch's global generator, on the CPU."""
        return self.model()

    @property
    def parameters(self) -> int:
        """Number of trainable values in the network."""
        with torch.device("meta"):  # shapes only: no weights, no random numbers drawn
            return sum(parameter.numel() for parameter in self.build().parameters())

    @property
    def page(self) -> str:
        """The stage's page, by its file under docs/; our own stages lie in a folder apart."""
        return f"{'beyond' if self.claim is None else 'stages'}/{self.slug}.py"


def claim_of(stage: Stage) -> Claim:
    """What the original claimed. Raises MnistStepsError for a stage that it does not have."""
    if stage.claim is None:
        raise MnistStepsError(
            f"stage {stage.number} is not one of the original's: there is no claim to compare with."
        )
    return stage.claim


STAGES: tuple[Stage, ...] = (
    Stage(1, "01_setup", "The setup", models.SetupNet, recipes.SETUP, CLAIMS[1]),
    Stage(2, "02_skeleton", "The skeleton", models.SkeletonNet, recipes.SKELETON, CLAIMS[2]),
    Stage(3, "03_lighter", "The lighter model", models.LighterNet, recipes.LIGHTER, CLAIMS[3]),
    Stage(4, "04_batch_norm", "Batch normalization", models.BatchNormNet, recipes.BATCH_NORM,
          CLAIMS[4]),
    Stage(5, "05_global_average_pooling", "Global average pooling",
          models.GlobalAveragePoolingNet, recipes.GLOBAL_AVERAGE_POOLING, CLAIMS[5]),
    Stage(6, "06_pointwise", "1×1 convolutions", models.PointwiseNet, recipes.POINTWISE, CLAIMS[6]),
    Stage(7, "07_capacity", "More capacity", models.CapacityNet, recipes.CAPACITY, CLAIMS[7]),
    Stage(8, "08_lr_scheduler", "The learning-rate schedule", models.CapacityNet,
          recipes.LR_SCHEDULER, CLAIMS[8]),
    Stage(9, "09_reliable", "Reliable", models.ReliableNet, recipes.RELIABLE),
    Stage(10, "10_smaller", "Smaller", models.SmallerNet, recipes.SMALLER),
    Stage(11, "11_faster", "Faster", models.StrideNet, recipes.FASTER),
)  # fmt: skip

# Those that retell the original's.
ORIGINAL = tuple(stage for stage in STAGES if stage.claim is not None)


def get(number: int) -> Stage:
    """The stage with this number. Raises MnistStepsError when there is none."""
    for stage in STAGES:
        if stage.number == number:
            return stage
    numbers = ", ".join(str(stage.number) for stage in STAGES)
    raise MnistStepsError(f"there is no stage {number}: the stages are {numbers}.")
