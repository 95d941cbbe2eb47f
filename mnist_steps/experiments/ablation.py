"""Ablations: what one change does, everything else held equal.

A stage of the tutorial changes several things at once, so its result belongs to none of them.
Here each arm differs from one common baseline in one thing. The baseline is stage 8 with a
schedule of five epochs instead of fifteen; its runs serve every factor. An effect is arm minus
baseline, in percentage points of final-epoch test accuracy, and it counts as shown only when
`evidence.Comparison.ranked` says so.

Nothing is chosen by these figures, so they are taken on the test images, as the original's were.
"""

import functools
import statistics
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from torch import nn

from mnist_steps import models, recipes, stages
from mnist_steps.augment import RandomResizedCrop, RandomRotation
from mnist_steps.experiments import evidence
from mnist_steps.experiments.evidence import Comparison
from mnist_steps.experiments.study import Store, Task, tasks_of
from mnist_steps.recipes import OneCycle
from mnist_steps.stages import Stage

EPOCHS = 5
SEEDS = 5  # fewer runs of an arm are a preliminary result

# --- The networks ---------------------------------------------------------------------------

CHANNELS = (10, 10, 10, 10, 14, 14, 13)  # stage 8's, of its 3×3 convolutions


def variation(
    channels: Sequence[int] = CHANNELS,
    normalization: str | None = "before",
    missing_relus: Sequence[str] = ("4", "p1", "7"),
    pointwise: bool = True,
    pool_after: int = 4,
    end: str = "average",
) -> nn.Sequential:
    """Stage 8's network, layer by layer the same unless an argument says otherwise.

    channels: of the 3×3 convolutions; one fewer makes the network one layer shorter
    normalization: batch normalization 'before' or 'after' the ReLU, or None
    missing_relus: the convolutions without a ReLU behind them; 'p1' is the first 1×1 one
    pointwise: with the two 1×1 convolutions; without, the last 3×3 one makes the ten scores
    pool_after: the pooling follows this 3×3 convolution and what belongs to it
    end: 'average', or 'kernel' for a convolution as large as the last map, of which it makes
        the ten scores at once
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    inputs, size = 1, 28  # channels and side of the map so far

    def add(name: str, suffix: str, outputs: int, kernel: int, relu: bool) -> None:
        nonlocal inputs, size
        layers[name] = nn.Conv2d(inputs, outputs, kernel, bias=False)
        inputs, size = outputs, size - kernel + 1
        if relu and normalization == "after":
            layers[f"relu{suffix}"] = nn.ReLU()
        if normalization is not None:
            layers[f"batch_norm{suffix}"] = nn.BatchNorm2d(outputs)
        if relu and normalization != "after":
            layers[f"relu{suffix}"] = nn.ReLU()

    for number, outputs in enumerate(channels, start=1):
        add(f"conv{number}", f"{number}", outputs, 3, relu=f"{number}" not in missing_relus)
        if number == 4 and pointwise:
            add("point1", "p1", outputs, 1, relu="p1" not in missing_relus)
        if number == pool_after:
            layers["pool1"] = nn.MaxPool2d(2, 2)
            size //= 2
    if end == "kernel":
        add("large", "p2", 10, size, relu=False)
    else:
        layers["gap"] = nn.AdaptiveAvgPool2d(1)
        if pointwise:
            add("point2", "p2", 10, 1, relu=False)
    layers["flatten"] = nn.Flatten()
    layers["log_softmax"] = nn.LogSoftmax(dim=1)
    return nn.Sequential(layers)


# --- The arms -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Arm:
    """One change to the baseline.

    name: of the folder with its runs
    title: what tables call it
    expected: the sign of the effect if the original is right, -1 where it says that this arm does
        worse than the baseline; None where it says nothing
    """

    name: str
    title: str
    stage: Stage
    expected: int | None = None


@dataclass(frozen=True)
class Factor:
    """A question, its arms, and what the original said about it, in our words."""

    name: str
    question: str
    claim: str
    arms: tuple[Arm, ...]


_STAGE = stages.get(8)
BASELINE = Arm(
    "ablation-baseline",
    "stage 8 with a short schedule",
    replace(_STAGE, recipe=replace(_STAGE.recipe, epochs=EPOCHS)),
)


def _recipe(name: str, title: str, expected: int | None = None, **changes: object) -> Arm:
    """An arm with other parts of the recipe."""
    recipe = replace(BASELINE.stage.recipe, **changes)  # type: ignore[arg-type]
    return Arm(f"ablation-{name}", title, replace(BASELINE.stage, recipe=recipe), expected)


def _network(name: str, title: str, expected: int | None = None, **changes: object) -> Arm:
    """An arm with another network; changes: as for `variation`."""
    model = functools.partial(variation, **changes)  # type: ignore[arg-type]
    return Arm(f"ablation-{name}", title, replace(BASELINE.stage, model=model), expected)


NO_CLAIM = "Nothing was said about it."

FACTORS: tuple[Factor, ...] = (
    Factor(
        "batch size",
        "Does a batch eight times as large, with an eighth of the steps, do worse?",
        "Stages 4 and 5 lower the batch size and credit it with faster convergence and a slightly "
        "better accuracy.",
        (_recipe("batch-512", "batches of 512", -1, batch_size=512),),
    ),
    Factor(
        "batch normalization",
        "What is lost without batch normalization?",
        "Stage 4 adds it to make the network more efficient, and reports the best accuracy of all.",
        (_network("no-batch-norm", "no batch normalization", -1, normalization=None),),
    ),
    Factor(
        "place of batch normalization",
        "Does it matter whether normalization comes before or after the ReLU?",
        "Stages 4 and 5 have it after the ReLU, stage 6 moves it before. " + NO_CLAIM,
        (_network("batch-norm-after", "batch normalization after ReLU", normalization="after"),),
    ),
    Factor(
        "the end of the network",
        "Is an average better than one large kernel, when both networks have as many parameters?",
        "Stage 5 replaces the kernel by an average, to spend the parameters better elsewhere.",
        (
            _network(
                "large-kernel",
                "large kernel, equal parameters",
                -1,
                end="kernel",
                channels=[10, 10, 10, 10, 12, 12, 9],
            ),
        ),
    ),
    Factor(
        "1×1 layers",
        "What are the two 1×1 layers worth?",
        "Stage 6 adds them to merge features, and credits them with the gain in accuracy.",
        (
            _network(
                "no-pointwise",
                "no 1×1 layers",
                -1,
                pointwise=False,
                channels=[10, 10, 10, 10, 14, 14, 10],
            ),
        ),
    ),
    Factor(
        "the added layer",
        "What is the third convolution behind the pooling worth?",
        "Stage 6 adds it, and credits it together with the 1×1 layers.",
        (_network("fewer-layers", "without conv7", -1, channels=[10, 10, 10, 10, 14, 14]),),
    ),
    Factor(
        "capacity",
        "What did the channels of stage 7 bring?",
        "Stage 7 adds them because stage 6 seemed to lack capacity.",
        (
            Arm(
                "ablation-less-capacity",
                "stage 6's channels",
                replace(BASELINE.stage, model=models.PointwiseNet),
                -1,
            ),
        ),
    ),
    Factor(
        "augmentation",
        "What does each augmentation do, and what do both?",
        "Stage 6 replaces the augmentation of stages 1 to 5. " + NO_CLAIM,
        (
            _recipe("no-augmentation", "no augmentation", augmentation=()),
            _recipe(
                "no-crop", "without the random crop", augmentation=(RandomRotation(degrees=7),)
            ),
            _recipe(
                "no-rotation",
                "without the rotation",
                augmentation=(RandomResizedCrop(smallest=0.85, largest=1.0),),
            ),
            _recipe(
                "old-augmentation",
                "augmentation of stages 1 to 5",
                augmentation=recipes.SETUP.augmentation,
            ),
        ),
    ),
    Factor(
        "normalization constants",
        "Does it matter that test images are normalized by constants of their own?",
        "Every stage does so. " + NO_CLAIM,
        (
            _recipe(
                "one-normalization",
                "training constants for test images",
                normalize_test=recipes.TRAIN_PIXELS,
            ),
        ),
    ),
    Factor(
        "the missing ReLUs",
        "Do three convolutions lack a ReLU?",
        "Stages 6 to 8 have none behind conv4, point1 and conv7. " + NO_CLAIM,
        (_network("all-relus", "ReLU everywhere", missing_relus=[]),),
    ),
    Factor(
        "schedule",
        "Is OneCycle better than a constant rate as large as its peak?",
        "Stage 8 credits it with reaching the target steadily.",
        (_recipe("constant-rate", "constant learning rate", -1, schedule=None),),
    ),
    Factor(
        "peak rate",
        "Is OneCycle's peak, which equals the constant rate before, too low?",
        "Stage 8 sets it to stage 7's rate. " + NO_CLAIM,
        (
            _recipe("peak-0.03", "peak rate of 0.03", schedule=OneCycle(max_lr=0.03)),
            _recipe("peak-0.1", "peak rate of 0.1", schedule=OneCycle(max_lr=0.1)),
        ),
    ),
    Factor(
        "place of the pooling",
        "Is it better to pool late, from a field of 9 to 10 pixels, than early, at a field of 5?",
        "Stage 3 moves a layer from behind the pooling to before it, because accuracy was poor.",
        (_network("early-pooling", "pooling early, at field 5", -1, pool_after=2),),
    ),
)


def all_tasks(seeds: Iterable[int], device: str = "cpu", fast: bool = False) -> list[Task]:
    """Every run of the ablation, the baseline's first: each comparison needs those.

    device, fast: as for `training.fit`
    """
    arms = [BASELINE, *(arm for factor in FACTORS for arm in factor.arms)]
    return tasks_of([(arm.stage, arm.name) for arm in arms], seeds, device=device, fast=fast)


# --- What came out --------------------------------------------------------------------------


@dataclass(frozen=True)
class Effect:
    """An arm against the baseline.

    runs: of the arm; baseline_runs: of the baseline
    comparison: from baseline to arm; None when either has no run yet
    """

    factor: Factor
    arm: Arm
    runs: int
    baseline_runs: int
    comparison: Comparison | None

    @property
    def preliminary(self) -> bool:
        return min(self.runs, self.baseline_runs) < SEEDS

    @property
    def verdict(self) -> str:
        """What the effect says about the original's conclusion, in a few words."""
        if self.comparison is None:
            return "not run yet" if not self.runs else "baseline not run yet"
        if not self.comparison.ranked:
            verdict = "undecided"
        elif self.arm.expected is None:
            verdict = "better" if self.comparison.difference > 0 else "worse"
            verdict += ", nothing claimed"
        elif self.arm.expected * self.comparison.difference > 0:
            verdict = "supports"
        else:
            verdict = "contradicts"
        if self.preliminary:
            verdict += f" (preliminary, {min(self.runs, self.baseline_runs)} of {SEEDS} seeds)"
        return verdict

    @property
    def size(self) -> str:
        """Such as '-0.12 [-0.20, -0.05]', in percentage points; a dash without runs."""
        if self.comparison is None:
            return "–"
        size = f"{self.comparison.difference:+.2f}"
        if (interval := self.comparison.interval) is not None:
            size += f" [{interval.low:+.2f}, {interval.high:+.2f}]"
        return size


def effects(store: Store | None = None) -> list[Effect]:
    """Every arm against the baseline, in the order of FACTORS, with all runs that are there.

    store: of the runs; None for the package's own
    """
    store = store or Store()
    base = _finals(store, BASELINE)
    found = []
    for factor in FACTORS:
        for arm in factor.arms:
            finals = _finals(store, arm)
            comparison = None
            if base and finals:
                comparison = (
                    _compare_pairs(base, finals)
                    if trains_alike(arm)
                    else evidence.compare(list(base.values()), list(finals.values()))
                )
            found.append(Effect(factor, arm, len(finals), len(base), comparison))
    return found


def trains_alike(arm: Arm) -> bool:
    """Whether the arm's training is the baseline's, step by step, and only the test differs."""
    judged_alike = replace(arm.stage.recipe, normalize_test=BASELINE.stage.recipe.normalize_test)
    return arm.stage.model is BASELINE.stage.model and judged_alike == BASELINE.stage.recipe


def _finals(store: Store, arm: Arm) -> dict[int, float]:
    """Final-epoch accuracy in percent by seed."""
    return {each.seed: each.figures.final for each in store.outcomes(arm.stage, arm.name)}


def _compare_pairs(base: dict[int, float], other: dict[int, float]) -> Comparison | None:
    """As `evidence.compare`, for runs of the same weights: each seed is a pair.

    What differs between seeds is in both of a pair and falls out of their difference.
    """
    differences = [other[seed] - base[seed] for seed in sorted(base.keys() & other.keys())]
    if not differences:
        return None
    mean = statistics.fmean(differences)
    if len(differences) < evidence.FEWEST_RUNS:
        return Comparison(mean, None, None)
    return Comparison(mean, evidence.bootstrap(differences), statistics.stdev(differences))
