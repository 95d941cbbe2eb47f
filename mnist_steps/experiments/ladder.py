"""The way to stage 11, one change a rung.

The first rung is stage 8 with a shorter schedule, computed by the engine like all others; the last
is stage 11 itself. What a rung changes stays for those after it. Their runs are made one at a time
on a machine that does nothing else, for it is their time that matters:

    mnist-steps study --of ladder --workers 1 --threads 2
"""

from dataclasses import replace

from mnist_steps import stages
from mnist_steps.experiments.arms import Arm, Experiment, varied
from mnist_steps.recipes import OneCycle

TOP = stages.get(11)

START = varied(
    replace(TOP, model=stages.get(8).model, recipe=stages.get(8).recipe),
    epochs=6,
    normalize_test=TOP.recipe.normalize_test,
)
RATE = varied(START, schedule=OneCycle(max_lr=0.15))
BATCH = varied(RATE, batch_size=128, schedule=TOP.recipe.schedule)
STRIDE = varied(BATCH, TOP.model)
SHIFT = varied(STRIDE, augmentation=TOP.recipe.augmentation)

LADDER = Experiment(
    name="ladder",
    question="What does each change on the way from stage 8 to stage 11 bring, and save?",
    arms=(
        Arm("start", "stage 8, in six epochs", START),
        Arm("rate", "a peak rate of 0.15 instead of 0.01", RATE),
        Arm("batch", "twice the batch, twice the peak", BATCH),
        Arm("stride", "a first layer with stride 3 in place of pooling", STRIDE),
        Arm("shift", "shifts instead of crops", SHIFT),
        Arm(None, "the mean of nine shifts at the end", TOP),
    ),
    seeds=10,
)
