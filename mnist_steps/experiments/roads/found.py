"""What all roads came to, redesign among them, on equal terms: accuracy, bytes, time.

A row is a network over its seeds. Redesign is the stages as they are: their study's runs, each test
image judged once, and the bytes of the record's weights.
"""

import functools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from mnist_steps import data, runs, stages
from mnist_steps.experiments import study
from mnist_steps.experiments.roads import arms, storage, timing
from mnist_steps.experiments.roads.arms import Arm, Point
from mnist_steps.experiments.roads.chain import Store
from mnist_steps.experiments.roads.storage import Bytes


@dataclass(frozen=True)
class Row:
    """A network that some road led to.

    road: as the figure calls it; label: a few letters for the figure, '' for none
    parameters: not zero, at most over seeds
    size: of its file, means over seeds
    microseconds: for an image of a batch, on one thread; alone: for one by itself
    finals: test accuracy of each run in percent
    before: test accuracy of the same trainings without the change, run by run; () where there are
        none, or none yet
    changed: how many of the 10,000 predictions are not those of the same training without the
        change, on average; None where there is none
    trained_on: whether it was trained after the change, or made so
    shared: its seeds begin with one training
    """

    road: str
    key: tuple[str, str]
    title: str
    label: str
    parameters: int
    size: Bytes
    microseconds: float
    alone: float
    finals: Sequence[float]
    before: Sequence[float] = ()
    changed: float | None = None
    trained_on: bool = True
    shared: bool = False

    @functools.cached_property
    def point(self) -> Point:
        return arms.point_of(self.finals)


def rows(store: Store | None = None) -> list[Row]:
    """All networks that there are runs and times of, redesign first."""
    times = timing.load().networks
    return [*redesign(times), *others(times, store)]


def redesign(times: dict[str, timing.Time]) -> list[Row]:
    """The stages, by one view of each test image."""
    found = []
    for stage in stages.STAGES:
        noted = [one.one_view_accuracies for one in study.Store().outcomes(stage)]
        finals = [each[-1] for each in noted if each is not None]
        if stage.number == 1:  # its record keeps no weights
            sizes = [one.bytes for one in arms.get("begin", "stage-1").outcomes()]
        else:
            sizes = [storage.of(runs.load(stage.number).build())]  # type: ignore[arg-type]
        if finals and sizes:
            time = times[f"stage-{stage.number}"]
            found.append(
                Row(
                    "redesign", ("redesign", f"stage-{stage.number}"), f"stage {stage.number}",
                    f"{stage.number}", stage.parameters, sizes[0], time.in_a_batch, time.alone,
                    finals,
                )
            )  # fmt: skip
    return found


def others(times: dict[str, timing.Time], store: Store | None = None) -> list[Row]:
    found, labels = [], data.mnist().test.labels
    begun = {
        (arm.task.recipe_of, one.seed): one
        for arm in arms.BEGINNINGS
        for one in arm.outcomes(store)
    }
    for arm in arms.ARMS:
        outcomes = arm.outcomes(store)
        if not outcomes or arm.key[0] == "begin":
            continue
        if time_of(arm) not in times:
            continue
        sizes, time = [one.bytes for one in outcomes], times[time_of(arm)]
        pairs = [
            (one, whole)
            for one in outcomes
            if (start := one.task["begin"]) is not None
            and (whole := begun.get((start["stage"], start["seed"]))) is not None
        ]
        changed = [
            int((one.predictions(labels) != whole.predictions(labels)).sum())
            for one, whole in pairs
        ]
        found.append(
            Row(
                road_of(arm), arm.key, arm.title, label_of(arm),
                # Some weights are rounded to zero, which makes nothing smaller.
                stages.get(arm.task.recipe_of).parameters
                if arm.task.bits
                else max(one.parameters for one in outcomes),
                Bytes(*(
                    round(statistics.fmean(getattr(size, way) for size in sizes))
                    for way in ("dense", "sparse", "compressed")
                )),
                time.in_a_batch, time.alone, [one.accuracy for one in outcomes],
                [whole.accuracy for _, whole in pairs],
                statistics.fmean(changed) if changed else None,
                arm.task.recipe is not None, arm.shared,
            )
        )  # fmt: skip
    return found


def road_of(arm: Arm) -> str:
    """As the figure calls it."""
    if arm.key[0] == "distillation" and arm.task.teacher is None:
        return "redesign"  # the student by itself
    by_change = {"weights": "single weights", "channels": "channels", "low-rank": "low rank"}
    return by_change.get(arm.task.change, arm.key[0])


def time_of(arm: Arm) -> str:
    """The network among `timing.networks` that has the same shapes."""
    if arm.task.change in ("channels", "low-rank"):
        return "/".join(arm.key).removesuffix("-untuned")
    if arm.task.layers:
        return "tiny"
    return f"stage-{arm.task.recipe_of}"


def label_of(arm: Arm) -> str:
    task = arm.task
    if task.bits is not None:  # the others lie beside these
        named = task.recipe_of == 8 and not task.rounded_while_training
        return f"{task.bits} bits" if named else ""
    if task.budget is not None:
        left = task.budget / 1000
        return f"{task.recipe_of}: " + (f"{left / 1000:.1f}M" if left >= 1000 else f"{left:.0f}k")
    return f"{task.recipe_of}" if not task.layers else "2k"
