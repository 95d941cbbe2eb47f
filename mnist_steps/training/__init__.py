"""The training loop, and what comes out of it: a Run.

`loop` has the loop that every tutorial shows, on tensors in memory; `under_way` a training that
can stop after any epoch and go on to the same result; `outcome` what it leaves, `contradictions`
what that cannot be; `machine` where it runs.
"""

from mnist_steps.training.loop import (
    TrainedEpoch,
    mean_over_images,
    moves,
    regularize,
    train_epoch,
    train_epoch_in_steps,
)
from mnist_steps.training.machine import (
    Environment,
    Seconds,
    Threads,
    cpu_threads,
    describe_environment,
    one_at_a_time,
    pick_device,
)
from mnist_steps.training.outcome import Epoch, Loss, Percent, Run, Step
from mnist_steps.training.under_way import (
    Resumable,
    Training,
    fit,
    initialize,
    load_state,
    run_to_end,
    save_state,
    untrained,
)

__all__ = [
    "Environment",
    "Epoch",
    "Loss",
    "Percent",
    "Resumable",
    "Run",
    "Seconds",
    "Step",
    "Threads",
    "TrainedEpoch",
    "Training",
    "cpu_threads",
    "describe_environment",
    "fit",
    "initialize",
    "load_state",
    "mean_over_images",
    "moves",
    "one_at_a_time",
    "pick_device",
    "regularize",
    "run_to_end",
    "save_state",
    "train_epoch",
    "train_epoch_in_steps",
    "untrained",
]
