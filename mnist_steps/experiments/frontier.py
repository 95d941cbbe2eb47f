"""What stages 9 and 10 are compared with, on the test images: chosen by nothing, only measured.

A family of networks, all with the layers and the recipe of stages 9 and 10 and other numbers of
channels, shows what a parameter buys. And stage 9's trainings, judged by one view of each test
image instead of nine, show what the views are worth.

    mnist-steps study --frontier --seeds 5 --workers 2 --fast
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial

from mnist_steps import stages
from mnist_steps.experiments import search
from mnist_steps.experiments.study import Outcome, Store, Task, tasks_of
from mnist_steps.stages import Stage

SEEDS = 5


@dataclass(frozen=True)
class Member:
    """arm: the name of its runs; None for a stage's own. layers: as for `search.network`."""

    arm: str | None
    layers: str
    stage: Stage


def _member(layers: str) -> Member:
    stage = replace(stages.get(10), model=partial(search.network, layers=layers.split()))
    return Member(f"frontier-{stage.parameters}", layers, stage)


FAMILY = (
    _member("3@3 4@3 pool 4@3 5@3 5@3 average 10@1"),
    _member("4@3 6@3 pool 6@3 7@3 7@3 average 10@1"),
    _member("6@3 8@3 pool 8@3 9@3 9@3 average 10@1"),
    Member(None, search.SMALL_WIDE, stages.get(10)),
    _member("9@3 12@3 pool 12@3 13@3 13@3 average 10@1"),
    Member(None, search.WIDE, stages.get(9)),
)

_STAGE = stages.get(9)
ONE_VIEW = replace(_STAGE, recipe=replace(_STAGE.recipe, test_shifts=0, shifted_epochs=1))


def all_tasks(seeds: Iterable[int], device: str = "cpu", fast: bool = True) -> list[Task]:
    """The runs of the family but for the stages' own, from the smallest, and of the one view."""
    arms = [(member.stage, member.arm) for member in FAMILY if member.arm is not None]
    return tasks_of([*arms, (ONE_VIEW, "one-view")], seeds, device=device, fast=fast)


def outcomes(store: Store | None = None) -> list[tuple[Member, list[Outcome]]]:
    """The family with its runs; store: None for the package's own."""
    store = store or Store()
    return [(member, store.outcomes(member.stage, member.arm)) for member in FAMILY]
