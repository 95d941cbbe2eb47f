# %% [markdown]
# # One change at a time
#
# Every stage of the tutorial changes several things, trains once, and credits its
# favourite. That is how networks are improved under time pressure, and how folklore is
# made. This page goes back: it takes the last stage, changes one thing, trains with
# several seeds, and asks what that one thing did.
#
# **You will learn** to plan an ablation, to read an effect together with its interval,
# and which of the original's conclusions stand on their own.
#
# **Know first** the eight stages; the
# [guide to honest evaluation](../guides/evaluation.py) helps.
#
# ## The question
#
# For each change of the tutorial: what does it do to the accuracy when nothing else
# changes, and is that larger than chance? Chance has a say here, for another seed gives
# another network.

# %%
from mnist_steps import figures, pages, stages
from mnist_steps.experiments import ablation, study
from mnist_steps.experiments.arms import network
from mnist_steps.markup import Text

store = study.Store()
effects = ablation.effects(store)

# %% tags=["hide-input"]
base, full = ablation.BASELINE.stage, stages.get(8)
all_runs = (1 + len(effects)) * ablation.SEEDS
made = sum(effect.runs for effect in effects) + effects[0].baseline_runs
waiting = sum(effect.comparison is None for effect in effects)
thin = sum(effect.comparison is not None and effect.preliminary for effect in effects)
if made == 0:
    state = (
        "**No run has been made yet**, so this page shows the design and no result. "
        f"`mnist-steps study --of ablation` makes the {all_runs} runs."
    )
elif waiting or thin:
    state = (
        f"**This ablation is unfinished.** Of {len(effects)} arms, {waiting} cannot be "
        f"compared yet and {thin} have fewer than {ablation.SEEDS} seeds; their "
        "verdicts are marked as preliminary."
    )
else:
    state = (
        f"All {len(effects)} arms have at least {ablation.SEEDS} seeds: {made} runs in "
        "all."
    )
state = Text(state)
state

# %% [markdown]
# ## The design
#
# **One baseline.** Stage 8's network and recipe, with a schedule that is shorter than
# the original's. Each arm differs from it in one part of the recipe, or in the network.
# All arms and the baseline train for the same number of epochs on all training images,
# and OneCycle spans just these epochs.

# %%
pages.recipe(base)

# %% tags=["hide-input"]
Text(f"""
The short schedule, {base.recipe.epochs} epochs, is a matter of cost: {1 + len(effects)}
arms with {ablation.SEEDS} seeds each are {all_runs} runs of {base.recipe.epochs}
epochs, {all_runs * base.recipe.epochs} epochs in all, as many as
{all_runs * base.recipe.epochs / full.recipe.epochs:.0f} trainings of full length. It
has a price too. What slows a training down at its start weighs more here than it would
after {full.recipe.epochs} epochs, and what only pays late may not show at all.
""")

# %% [markdown]
# **Several networks from one function.** Arms with another network are variations of
# stage 8's, each written in one line, from which this function builds it. The line
# below the function builds stage 8's network layer by layer, which a test holds.

# %%
pages.source(network)

# %%
print(ablation.STAGE_8)

# %% [markdown]
# **The same seeds, but no pairs.** Arms use the same seeds as the baseline, and yet
# their runs are not pairs: another network draws other initial weights, another
# augmentation another order. So the interval of a difference comes from the seeds of
# both sides. One arm is an exception: other constants for the *test* images change
# nothing about the training, so there each seed is a true pair.
#
# **What counts as shown.** An effect is called larger than chance when its interval
# leaves out zero *and* it exceeds the standard deviation between seeds. The second
# condition asks for more than significance: below it, another seed of the worse arm
# would often win.
#
# **Judged on the test images**, because the original's conclusions were. Nothing is
# chosen here by the outcome. Whoever builds a better network from this table has to
# confirm it on validation images.
#
# ### The arms

# %% tags=["hide-input"]
rows = [["(baseline)", ablation.BASELINE.title, f"{base.parameters:,}"]]
for factor in ablation.FACTORS:
    rows += [
        [factor.name, arm.title, f"{arm.stage.parameters:,}"] for arm in factor.arms
    ]
arms = pages.table(
    ["factor", "arm", "parameters"],
    rows,
    "The arms. Where a network loses layers or channels it also loses parameters; only "
    "the large kernel's is made up to the baseline's number, by fewer channels behind "
    "the pooling.",
)
arms

# %% [markdown]
# ## Results
#
# ### Every arm against the baseline

# %% tags=["hide-input"]
rows = []
for effect in effects:
    rows.append([effect.arm.title, f"{effect.runs}", effect.size, effect.verdict])
summary = store.summary(base, ablation.BASELINE.name)
known = (
    "not run yet"
    if summary is None
    else f"{summary.mean_and_sd} over {summary.seeds} seeds"
)
effects_table = pages.table(
    ["arm", "seeds", "effect", "what the original concluded"],
    rows,
    "Effects in percentage points of the final epoch's test accuracy, arm minus "
    f"baseline, with 95 % intervals over seeds. The baseline's accuracy: {known}.",
)
effects_table

# %% tags=["hide-input"]
points = [
    (
        effect.arm.title,
        effect.comparison.difference,
        effect.comparison.interval
        and (effect.comparison.interval.low, effect.comparison.interval.high),
        effect.comparison.ranked,
    )
    for effect in effects
    if effect.comparison is not None
]
chart = (
    figures.effects(points, "the baseline")
    if points
    else Text("No effect to draw yet.")
)
chart

# %% [markdown]
# Effects that chance explains are grey. The axis is linear up to a tenth of a point
# around zero, and logarithmic beyond.
#
# With this many arms some interval leaves out zero by chance alone: about one in
# twenty, as the second exercise measures. Take a lone small effect for a reason to run
# more seeds.
#
# ## Analysis

# %% tags=["hide-input"]
paragraphs = []
for factor in ablation.FACTORS:
    lines = [
        f"**{factor.name[0].upper()}{factor.name[1:]}.** {factor.question} "
        f"*{factor.claim}*"
    ]
    for effect in effects:
        if effect.factor is factor:
            words = effect.verdict
            if effect.comparison is not None:
                words = f"{effect.size} points; {words}"
            lines.append(f"- {effect.arm.title}: {words}")
    paragraphs.append(lines[0] + "\n\n" + "\n".join(lines[1:]))
analysis = Text("\n\n".join(paragraphs))
analysis

# %% tags=["hide-input"]
tested = [effect for effect in effects if effect.arm.expected is not None]
counts = {
    word: sum(effect.verdict.startswith(word) for effect in tested)
    for word in ("supports", "contradicts", "undecided")
}
Text(
    f"Of the {len(tested)} arms about which the original concluded something, "
    f"{counts['supports']} support it, {counts['contradicts']} contradict it, "
    f"{counts['undecided']} leave it undecided, and "
    f"{len(tested) - sum(counts.values())} have not been run. Undecided does not mean "
    f"without effect: it means that {ablation.SEEDS} seeds and {base.recipe.epochs} "
    "epochs cannot tell."
)

# %% [markdown]
# **What an ablation cannot tell:** effects that need each other. Each arm leaves the
# rest of stage 8 in place, tuned as it is around what the arm takes away. A change may
# do nothing here and much in another network.
#
# ## Exercises
#
# **1.** How many seeds would it take to see an effect of a tenth of a point, when seeds
# of one network have a standard deviation of half of that? Ask for an interval that
# leaves out zero nine times in ten.

# %% tags=["solution"]
import numpy as np

from mnist_steps.experiments import evidence

generator = np.random.default_rng(0)


def simulated_studies(seeds, effect):
    """Percent of intervals without zero, and of effects also above the spread."""
    found = []
    for _ in range(400):
        one, other = generator.normal(99.3, 0.05, size=(2, seeds))
        compared = evidence.compare(
            one.tolist(), (other + effect).tolist(), resamples=1_000
        )
        found.append((0 not in compared.interval, compared.ranked))
    return 100 * np.mean(found, axis=0)


for seeds in (5, 8, 12, 20):
    without_zero, _ = simulated_studies(seeds, 0.1)
    print(f"{seeds:2} seeds: {without_zero:.0f} % of such studies see it")

# %% [markdown]
# **2.** And when there is no effect at all: how often does an interval leave out zero,
# with few seeds and with many? And if the interval simply left out, at each end, one in
# forty of the means of runs drawn again?


# %% tags=["solution"]
def simple_interval_leaves_out_zero(seeds):
    """Whether the middle 95 % of the resampled differences are all on one side."""
    one, other = generator.normal(99.3, 0.05, size=(2, seeds))
    means = [
        generator.choice(runs, size=(1_000, seeds)).mean(axis=1)
        for runs in (one, other)
    ]
    low, high = np.quantile(means[1] - means[0], [0.025, 0.975])
    return not low <= 0 <= high


for seeds in (2, 3, 5, 20):
    simple = np.mean([simple_interval_leaves_out_zero(seeds) for study in range(1_000)])
    print(f"{seeds:2} seeds: {100 * simple:.0f} % of simple intervals find something")
for seeds in (5, 20):
    without_zero, ranked = simulated_studies(seeds, 0)
    print(
        f"{seeds:2} seeds: {without_zero:.0f} % of this page's intervals do, "
        f"{ranked:.0f} % something above the spread"
    )

# %% [markdown]
# With few seeds the simple interval leaves out zero far more often than one time in
# twenty: it knows only the spread of the runs that it has. This page's intervals are
# wider for that, the more so the fewer seeds there are, and with fewer than five there
# are none. With many seeds, the condition that an effect exceed the spread takes over.
#
# **3.** Which arms have fewer parameters than the baseline? Plan an arm that takes away
# the 1×1 layers at equal parameters, and count them.

# %% tags=["solution"]
for effect in effects:
    if effect.arm.stage.parameters < base.parameters:
        print(f"{effect.arm.title}: {effect.arm.stage.parameters - base.parameters:,}")
wider = network("10@3 10@3 10@3 10@3:norm pool 15@3 15@3 10@3:norm average")
count = sum(parameter.numel() for parameter in wider.parameters())
print(
    f"no 1×1 layers, 15 channels in conv5 and conv6: {count:,} of {base.parameters:,}"
)

# %% [markdown]
# ## Make these runs yourself
#
# ```
# mnist-steps study --of ablation --workers 2 --folder my-ablation
# mnist-steps study --of ablation --dry-run --folder my-ablation    # what is missing
# ```
#
# Every run is saved when it ends, and the same command goes on after a stop; see
# [studies over many seeds](../guides/study.md).
