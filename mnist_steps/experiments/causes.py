"""What a stage changes besides what its page is about, each alone.

Stages 3 and 4 are asked what initial weights do to a network that does not start learning, stage 8
what its schedule does besides annealing: the momentum moves too, and the rate is lower on average.
Stage 9 has another network and another recipe: its arm has the pooling's stride again, and no
dilation. Each arm is compared with the study of its own stage, over as many seeds.
"""

import statistics
from functools import partial

from mnist_steps import stages
from mnist_steps.experiments.arms import Arm, Experiment, network, varied
from mnist_steps.experiments.search import WIDE
from mnist_steps.recipes import OneCycle, Recipe, optimizer_settings


def mean_rate(recipe: Recipe) -> float:
    """The learning rate's mean over a training, to three significant digits."""
    # Few steps an epoch stand for all: the mean hardly depends on how finely a schedule is cut.
    taken = optimizer_settings(recipe, steps_per_epoch=66, train_losses=[0.0] * recipe.epochs)
    return float(f"{statistics.fmean(one['lr'] for one in taken):.3g}")


LIGHTER, BATCH_NORM, LR_SCHEDULER = stages.get(3), stages.get(4), stages.get(8)
STRIDED = varied(stages.get(9), partial(network, layers=WIDE))

CAUSES = Experiment(
    name="causes",
    question="What do initial weights, momentum, a lower rate and dilation do, each by itself?",
    arms=(
        Arm("causes-kaiming-3", "stage 3, Kaiming initialization",
            varied(LIGHTER, initialization="kaiming")),
        Arm("causes-kaiming-4", "stage 4, Kaiming initialization",
            varied(BATCH_NORM, initialization="kaiming")),
        Arm("causes-momentum-8", "stage 8, momentum that does not cycle",
            varied(LR_SCHEDULER, schedule=OneCycle(max_lr=0.01, cycle_momentum=False))),
        Arm("causes-mean-rate-8", "stage 8, a constant rate as large as the schedule's mean",
            varied(LR_SCHEDULER, schedule=None, optimizer=LR_SCHEDULER.recipe.optimizer.replace(
                lr=mean_rate(LR_SCHEDULER.recipe)))),
        Arm("causes-strided-9", "stage 9, the pooling's stride and no dilation", STRIDED),
    ),
    seeds=10,
)  # fmt: skip
