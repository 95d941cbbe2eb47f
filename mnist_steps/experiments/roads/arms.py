"""All runs of the roads, in the order in which they are made: `mnist-steps study --of roads`.

The terms are equal: fifteen epochs in all, those before the change included; the same images; every
network judged by one view of each test image. Where several seeds begin with the same training,
they are so many ways of training on, and `shared` says so.
"""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from mnist_steps import stages
from mnist_steps.experiments import evidence
from mnist_steps.experiments.roads.chain import BEFORE_ROUNDING, Begin, Outcome, Store, Task
from mnist_steps.recipes import OneCycle, Recipe
from mnist_steps.stages import BUDGET

SEEDS = 5
WITHIN = BUDGET - 1  # parameters; the rule is fewer than 8,000
TENTH = 28_000  # parameters, about a tenth of stage 2's
BEGUN = {1: 3, 2: 5}  # epochs of a large network before something is taken away
REPAIR = 5  # epochs after that, in which the rest learns to do without
SHORT_REPAIR = 2  # where every epoch costs as much as the large network's
SHARED_SEED = 0
GUESSES = "stage-1-weights-28000"  # in the one run made, of a quarter of an hour
PEAK = 0.03  # of the learning rate, of large networks and of repairs; fixed beforehand, not chosen

# The teacher's share of the loss and the temperature: usual ones, fixed beforehand, not chosen.
LESSON = (0.5, 4.0)

# A network of 2,041 parameters, with the layers of stage 10.
TINY = "5@3 7@3 pool/1 7@3x2 8@3x2 8@3x2 average 10@1"


def quick(number: int, epochs: int) -> Recipe:
    """A stage's recipe in few epochs: smaller batches, and a schedule like stage 8's."""
    return replace(
        stages.get(number).recipe, batch_size=128, epochs=epochs, schedule=OneCycle(max_lr=PEAK)
    )


@dataclass(frozen=True)
class Arm:
    """One network of a road, made with several seeds.

    title: what tables call it
    task: of the first seed; those of others differ in the seed, and in that of what they begin with
    seeds: how many; one where nothing is drawn, or where a network only guesses; then always the
        same one
    shared: every seed begins with the same training
    """

    title: str
    task: Task
    seeds: int = SEEDS
    shared: bool = False

    @property
    def key(self) -> tuple[str, str]:
        return self.task.road, self.task.arm

    def tasks(self, seeds: Iterable[int] | None = None, **how: Any) -> list[Task]:
        """how: `engine` and `threads` of a task"""
        chosen = range(self.seeds) if seeds is None or self.seeds == 1 else seeds
        found = []
        for seed in chosen:
            begin = self.task.begin
            if begin is not None and not self.shared:
                begin = replace(begin, seed=seed)
            found.append(replace(self.task, seed=seed, begin=begin, **how))
        return found

    def outcomes(
        self, store: Store | None = None, seeds: Iterable[int] | None = None
    ) -> list[Outcome]:
        """What there is of it that belongs to today's code, by seed."""
        store = store or Store()
        return [one for task in self.tasks(seeds) if (one := store.get(task)) is not None]


def _begin(number: int, epochs: int = 0) -> Begin:
    """epochs: of the stage's own recipe; a large network is trained by a quick one"""
    if number in BEGUN:
        recipe = quick(number, BEGUN[number])
        return Begin(number, BEGUN[number], SHARED_SEED, recipe.as_data(), bfloat16=True)
    return Begin(number, epochs, SHARED_SEED)


def _cut(road: str, number: int, change: str, budget: int, repair: int = 0) -> Arm:
    """A trained network that loses something, and is repaired for some epochs."""
    how = {"weights": "single weights", "channels": "channels", "low-rank": "low rank"}[change]
    name = f"stage-{number}-{change}-{budget}"
    title = f"stage {number}, {how}, {budget:,} left"
    if not repair:
        name, title = f"{name}-untuned", f"{title}, not trained on"
    task = Task(
        road, name, 0, number, _begin(number), change, budget,
        recipe=quick(number, repair).as_data() if repair else None,
    )  # fmt: skip
    drawn = repair and name != GUESSES
    return Arm(title, task, SEEDS if drawn else 1, shared=True)


def _rounded(number: int, bits: int, during: bool) -> Arm:
    recipe = stages.get(number).recipe
    begin = _begin(number, BEFORE_ROUNDING if during else recipe.epochs)
    task = Task(
        "quantization", f"stage-{number}-{bits}-bits-{'during' if during else 'after'}", 0, number,
        begin, bits=bits, rounded_while_training=during,
        recipe=recipe.as_data() if during else None,
    )  # fmt: skip
    return Arm(f"stage {number}, {bits} bits {'during' if during else 'after'} training", task)


def _student(name: str, title: str, number: int, layers: str = "", taught: bool = True) -> Arm:
    """layers: of the network, as `arms.network` takes them; '' is the stage's own"""
    share, temperature = LESSON if taught else (0.0, 1.0)
    task = Task(
        "distillation", name, 0, number, layers=layers,
        recipe=stages.get(number).recipe.as_data(), teacher=_begin(1) if taught else None,
        share=share, temperature=temperature,
    )  # fmt: skip
    return Arm(title, task)


BEGINNINGS = tuple(
    Arm(
        f"stage {number}, {epochs} epochs",
        Task("begin", f"stage-{number}", 0, number, _begin(number, epochs)),
        seeds=1 if number < 3 else SEEDS,
        shared=number < 3,
    )
    for number, epochs in ((1, BEGUN[1]), (2, BEGUN[2]), (8, 15), (9, 15))
)

QUANTIZATION = tuple(
    _rounded(number, bits, during)
    for number in (8, 9)
    for bits in (8, 4)
    for during in (False, True)
)

DISTILLATION = (
    _student("tiny-taught", "2,041 parameters, taught by stage 1", 10, TINY),
    _student("tiny-alone", "2,041 parameters, without a teacher", 10, TINY, taught=False),
    _student("stage-7-taught", "stage 7, taught by stage 1", 7),
)

LOW_RANK = tuple(
    _cut("low-rank", 2, "low-rank", budget, repair)
    for budget in (WITHIN, TENTH)
    for repair in (0, REPAIR)
)


def _shares(number: int) -> tuple[int, ...]:
    whole = stages.get(number).parameters
    return whole // 2, whole // 5, TENTH, WITHIN


def _repair(number: int, budget: int) -> int:
    """Epochs for fewer channels: where most of stage 1 is left, an epoch takes minutes."""
    return SHORT_REPAIR if number == 1 and budget > TENTH else REPAIR


# The smallest first: they take the least time.
CHANNELS = tuple(
    _cut("pruning", number, "channels", budget, repair)
    for number in (2, 1)
    for budget in reversed(_shares(number))
    for repair in (0, _repair(number, budget))
)

SINGLE_WEIGHTS = tuple(
    _cut("pruning", number, "weights", budget, repair)
    for number in (2, 1)
    for budget in _shares(number)
    for repair in (0, SHORT_REPAIR)
)

# In the order of their making: what others begin with comes first.
ARMS = (
    *BEGINNINGS, *QUANTIZATION, *CHANNELS, *LOW_RANK, *SINGLE_WEIGHTS, *DISTILLATION,
)  # fmt: skip


def tasks(seeds: Sequence[int] | None = None, **how: Any) -> list[Task]:
    """Every run, arm by arm; seeds: None for the usual ones; how: as for `Arm.tasks`."""
    return [task for arm in ARMS for task in arm.tasks(seeds, **how)]


def get(road: str, name: str) -> Arm:
    """The arm of a road. Raises KeyError when there is none."""
    return {arm.key: arm for arm in ARMS}[road, name]


@dataclass(frozen=True)
class Point:
    """What several runs of one network say.

    mean: of the test accuracy, in percent; interval: of that mean over seeds, None for few runs
    """

    mean: float
    interval: evidence.Interval | None
    runs: int


def point_of(finals: Sequence[float]) -> Point:
    return Point(statistics.fmean(finals), evidence.interval(finals), len(finals))


def describe(seeds: Sequence[int] | None, store: Store) -> list[dict[str, Any]]:
    """What the runs with these seeds say, as plain data: a row for each arm that has some."""
    found = []
    for arm in ARMS:
        outcomes = arm.outcomes(store, seeds)
        if outcomes:
            road, name = arm.key
            point = asdict(point_of([one.accuracy for one in outcomes]))
            size = round(statistics.fmean(one.bytes.least for one in outcomes))
            found.append({"road": road, "arm": name, "title": arm.title, **point, "bytes": size})
    return found
