"""Ablations: what one change does, everything else held equal.

A stage of the tutorial changes several things at once, so its result belongs to none of them.
Here each arm differs from one common baseline in one thing. The baseline is stage 8 with a
schedule of five epochs instead of fifteen; its runs serve every factor. An effect is arm minus
baseline, in percentage points of final-epoch test accuracy, and it counts as shown only when
`evidence.Comparison.ranked` says so.

Nothing is chosen by these figures, so they are taken on the test images, as the original's were.
"""

import statistics
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from mnist_steps import models, recipes, stages
from mnist_steps.augment import RandomResizedCrop, RandomRotation
from mnist_steps.experiments import evidence
from mnist_steps.experiments.arms import Arm, Experiment, network, varied
from mnist_steps.experiments.evidence import Comparison
from mnist_steps.experiments.study import OURS, Store
from mnist_steps.recipes import OneCycle

EPOCHS = 5
SEEDS = 5  # fewer runs of an arm are a preliminary result

# Stage 8's network, as `arms.network` takes it; those of the arms differ where they should.
STAGE_8 = "10@3 10@3 10@3 10@3:norm 10@1:norm pool 14@3 14@3 13@3:norm average 10@1:norm"


@dataclass(frozen=True)
class Factor:
    """A question, its arms, and what the original said about it, in our words."""

    name: str
    question: str
    claim: str
    arms: tuple[Arm, ...]


BASELINE = Arm(
    "ablation-baseline", "stage 8 with a short schedule", varied(stages.get(8), epochs=EPOCHS)
)


def _arm(
    name: str, title: str, expected: int | None = None, layers: str | None = None, **changes: Any
) -> Arm:
    """An arm with another network, in the notation of `arms.network`, or as for `arms.varied`."""
    if layers is not None:
        changes["model"] = partial(network, layers=layers, named=True)
    return Arm(f"ablation-{name}", title, varied(BASELINE.stage, **changes), expected)


NO_CLAIM = "Nothing was said about it."

FACTORS = (
    Factor(
        "batch size",
        "Does a batch eight times as large, with an eighth of the steps, do worse?",
        "Stages 4 and 5 lower the batch size and credit it with faster convergence and a slightly "
        "better accuracy.",
        (_arm("batch-512", "batches of 512", -1, batch_size=512),),
    ),
    Factor(
        "batch normalization",
        "What is lost without batch normalization?",
        "Stage 4 adds it to make the network more efficient, and reports the best accuracy of all.",
        (_arm("no-batch-norm", "no batch normalization", -1,
              "10@3:relu 10@3:relu 10@3:relu 10@3:none 10@1:none pool "
              "14@3:relu 14@3:relu 13@3:none average 10@1:none"),),
    ),
    Factor(
        "place of batch normalization",
        "Does it matter whether normalization comes before or after the ReLU?",
        "Stages 4 and 5 have it after the ReLU, stage 6 moves it before. " + NO_CLAIM,
        (_arm("batch-norm-after", "batch normalization after ReLU", None,
              "10@3:relu+norm 10@3:relu+norm 10@3:relu+norm 10@3:norm 10@1:norm pool "
              "14@3:relu+norm 14@3:relu+norm 13@3:norm average 10@1:norm"),),
    ),
    Factor(
        "the end of the network",
        "Is an average better than one large kernel, when both networks have as many parameters?",
        "Stage 5 replaces the kernel by an average, to spend the parameters better elsewhere.",
        (_arm("large-kernel", "large kernel, equal parameters", -1,
              "10@3 10@3 10@3 10@3:norm 10@1:norm pool 12@3 12@3 9@3:norm 10@map:norm"),),
    ),
    Factor(
        "1×1 layers",
        "What are the two 1×1 layers worth?",
        "Stage 6 adds them to merge features, and credits them with the gain in accuracy.",
        (_arm("no-pointwise", "no 1×1 layers", -1,
              "10@3 10@3 10@3 10@3:norm pool 14@3 14@3 10@3:norm average"),),
    ),
    Factor(
        "the added layer",
        "What is the third convolution behind the pooling worth?",
        "Stage 6 adds it, and credits it together with the 1×1 layers.",
        (_arm("fewer-layers", "without conv7", -1,
              "10@3 10@3 10@3 10@3:norm 10@1:norm pool 14@3 14@3 average 10@1:norm"),),
    ),
    Factor(
        "capacity",
        "What did the channels of stage 7 bring?",
        "Stage 7 adds them because stage 6 seemed to lack capacity.",
        (_arm("less-capacity", "stage 6's channels", -1, model=models.PointwiseNet),),
    ),
    Factor(
        "augmentation",
        "What does each augmentation do, and what do both?",
        "Stage 6 replaces the augmentation of stages 1 to 5. " + NO_CLAIM,
        (
            _arm("no-augmentation", "no augmentation", augmentation=()),
            _arm("no-crop", "without the random crop", augmentation=(RandomRotation(7),)),
            _arm("no-rotation", "without the rotation",
                 augmentation=(RandomResizedCrop(0.85, 1.0),)),
            _arm("old-augmentation", "augmentation of stages 1 to 5",
                 augmentation=recipes.SETUP.augmentation),
        ),
    ),
    Factor(
        "normalization constants",
        "Does it matter that test images are normalized by constants of their own?",
        "Every stage does so. " + NO_CLAIM,
        (_arm("one-normalization", "training constants for test images",
              normalize_test=recipes.TRAIN_PIXELS),),
    ),
    Factor(
        "the missing ReLUs",
        "Do three convolutions lack a ReLU?",
        "Stages 6 to 8 have none behind conv4, point1 and conv7. " + NO_CLAIM,
        (_arm("all-relus", "ReLU everywhere", None,
              "10@3 10@3 10@3 10@3 10@1 pool 14@3 14@3 13@3 average 10@1:norm"),),
    ),
    Factor(
        "schedule",
        "Is OneCycle better than a constant rate as large as its peak?",
        "Stage 8 credits it with reaching the target steadily.",
        (_arm("constant-rate", "constant learning rate", -1, schedule=None),),
    ),
    Factor(
        "peak rate",
        "Is OneCycle's peak, which equals the constant rate before, too low?",
        "Stage 8 sets it to stage 7's rate. " + NO_CLAIM,
        (
            _arm("peak-0.03", "peak rate of 0.03", schedule=OneCycle(max_lr=0.03)),
            _arm("peak-0.1", "peak rate of 0.1", schedule=OneCycle(max_lr=0.1)),
        ),
    ),
    Factor(
        "place of the pooling",
        "Is it better to pool late, from a field of 9 to 10 pixels, than early, at a field of 5?",
        "Stage 3 moves a layer from behind the pooling to before it, because accuracy was poor.",
        (_arm("early-pooling", "pooling early, at field 5", -1,
              "10@3 10@3 pool 10@3 10@3:norm 10@1:norm 14@3 14@3 13@3:norm average 10@1:norm"),),
    ),
)  # fmt: skip

ABLATION = Experiment(
    name="ablation",
    question="What does each change of the tutorial do by itself?",
    # The baseline's runs first: each comparison needs those.
    arms=(BASELINE, *(arm for factor in FACTORS for arm in factor.arms)),
    seeds=SEEDS,
)


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
        size = f"{self.comparison.difference:+z.2f}"
        if (interval := self.comparison.interval) is not None:
            size += f" [{interval.low:+z.2f}, {interval.high:+z.2f}]"
        return size

    def as_data(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "factor": self.factor.name,
            "arm": self.arm.name,
            "title": self.arm.title,
            "runs": self.runs,
            "comparison": self.comparison and asdict(self.comparison),
            "effect": self.size,
            "verdict": self.verdict,
        }


def effects(store: Store = OURS) -> list[Effect]:
    """Every arm against the baseline, in the order of FACTORS, with all runs that are there."""
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
    interval = evidence.interval(differences)
    spread = statistics.stdev(differences) if interval else None
    return Comparison(statistics.fmean(differences), interval, spread)
