"""The way to stage 11, one change a rung.

The first rung is stage 8 with a shorter schedule, computed the fast way like all others; the last
is stage 11 itself. What a rung changes stays for those after it. Their runs are made one at a time
on a machine that does nothing else, for it is their time that matters:

    mnist-steps study --ladder --seeds 5 --workers 1 --threads 2 --fast
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from mnist_steps import stages
from mnist_steps.experiments.study import Outcome, Store, Task, tasks_of
from mnist_steps.recipes import OneCycle
from mnist_steps.stages import Stage

TOP = stages.get(11)
SEEDS = 5


@dataclass(frozen=True)
class Rung:
    """arm: the name of its runs; None for stage 11's own. changed: against the rung before."""

    arm: str | None
    changed: str
    stage: Stage


def _rungs() -> tuple[Rung, ...]:
    start = stages.get(8)
    recipe = replace(start.recipe, epochs=6, normalize_test=TOP.recipe.normalize_test)
    first = replace(TOP, model=start.model, recipe=recipe)
    rungs = [Rung("start", "stage 8, in six epochs", first)]

    def change(arm: str, changed: str, **settings: Any) -> None:
        before = rungs[-1].stage
        rungs.append(Rung(arm, changed, replace(before, recipe=replace(before.recipe, **settings))))

    change("rate", "a peak rate of 0.15 instead of 0.01", schedule=OneCycle(max_lr=0.15))
    change("batch", "twice the batch, twice the peak", batch_size=128, schedule=TOP.recipe.schedule)
    stride = replace(rungs[-1].stage, model=TOP.model)
    rungs.append(Rung("stride", "a first layer with stride 3 in place of pooling", stride))
    change("shift", "shifts instead of crops", augmentation=TOP.recipe.augmentation)
    return (*rungs, Rung(None, "the mean of nine shifts at the end", TOP))


RUNGS = _rungs()


def all_tasks(seeds: Iterable[int], device: str = "cpu", fast: bool = True) -> list[Task]:
    """The runs of all rungs, rung by rung."""
    return tasks_of([(rung.stage, rung.arm) for rung in RUNGS], seeds, device=device, fast=fast)


def outcomes(store: Store | None = None) -> list[tuple[Rung, list[Outcome]]]:
    """Each rung with its runs; store: None for the package's own."""
    store = store or Store()
    return [(rung, store.outcomes(rung.stage, rung.arm)) for rung in RUNGS]
