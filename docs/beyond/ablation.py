# %% [markdown]
# # One change at a time: what did each do by itself?
#
# The original's stages change several things, train once, and credit a favourite. That
# is how folklore is made. This page takes the last stage, changes *one* thing, trains
# with several seeds, and asks what it did.

# %% tags=["hide-input"]

from mnist_steps import figures, pages, stages
from mnist_steps.experiments import ablation, evidence, study
from mnist_steps.experiments.arms import network
from mnist_steps.markup import Html, Text
from mnist_steps.pages.parts import describe_recipe

store = study.Store()
effects = ablation.effects(store)
base, full = ablation.BASELINE.stage, stages.get(8)
compared = [effect for effect in effects if effect.comparison is not None]
points = [
    (
        effect.arm.title,
        effect.comparison.difference,
        effect.comparison.interval
        and (effect.comparison.interval.low, effect.comparison.interval.high),
        effect.comparison.ranked,
    )
    for effect in compared
]
chart = (
    figures.effects(points, "the baseline")
    if points
    else Text("No effect to draw yet.")
)
chart

# %% tags=["hide-input"]
all_runs = (1 + len(effects)) * ablation.SEEDS
made = sum(effect.runs for effect in effects) + effects[0].baseline_runs
thin = sum(effect.preliminary for effect in compared)
known = sum(effect.comparison.ranked for effect in compared)
if made == 0:
    state = (
        "**No run has been made yet**, so this page shows the design and no result. "
        f"`mnist-steps study --of ablation` makes the {all_runs} runs."
    )
elif len(compared) < len(effects) or thin:
    state = (
        f"**This ablation is unfinished.** Of {len(effects)} arms, "
        f"{len(effects) - len(compared)} cannot be compared yet and {thin} have fewer "
        f"than {ablation.SEEDS} seeds; their verdicts are marked as preliminary."
    )
else:
    state = (
        "Each row is a training with one thing changed, and its mean test accuracy "
        f"against the unchanged one. **For {known} of {len(effects)} changes an effect "
        f"is shown. For the other {len(effects) - known} it is not**: with "
        f"{ablation.SEEDS} seeds and {base.recipe.epochs} epochs, chance explains as "
        "much. They may still do something."
    )
state = Text(state)
state

# %% [markdown]
# **You will be able to**
#
# - plan an ablation: a baseline, arms, seeds,
# - read an effect together with its interval,
# - say which of the original's conclusions stand on their own.
#
# **Know first** the eight stages; [honest evaluation](../guides/evaluation.py) helps.
#
# ## The idea
#
# An **ablation** takes one thing away, or changes it, and leaves all else as it is. It
# is compared with the **baseline**; each variation is an **arm**. Another seed gives
# another network, so both train with several, and the effect is the difference of
# means:
#
# $$\text{effect} = \bar{a}_\text{arm} - \bar{a}_\text{baseline}$$
#
# It is called **larger than chance** here when its interval leaves out zero, and when
# it is larger than the standard deviation between seeds: below that, another seed of
# the worse arm would often win.

# %%
import numpy as np

generator = np.random.default_rng(0)
baseline = generator.normal(99.30, 0.08, size=5)  # five seeds of the same network
arm = generator.normal(99.30, 0.08, size=5)  # and five more: nothing was changed!

again = generator.choice(arm, (10_000, 5)).mean(axis=1)  # draw seeds again and again
again -= generator.choice(baseline, (10_000, 5)).mean(axis=1)
low, high = np.quantile(again, [0.025, 0.975])
print(f"effect {arm.mean() - baseline.mean():+.3f}, interval {low:+.3f} to {high:+.3f}")

# %% [markdown]
# Nothing was changed, and yet there is a difference. That is chance, and an interval is
# there to say so. The page's own are a little wider, for few seeds show less spread
# than there is.
#
# ## The design
#
# The baseline is stage 8, network and recipe, with a shorter schedule: all arms train
# for the same few epochs on all training images, and OneCycle spans just these. Each
# arm changes one part of the recipe, or the network.

# %% tags=["hide-input"]
pages.table(
    ["", "value"],
    list(describe_recipe(base.recipe).items()),
    f"Recipe of the baseline: stage 8's, over {base.recipe.epochs} epochs instead of "
    f"{full.recipe.epochs}.",
    words=(1,),
)

# %% tags=["hide-input"]
Text(
    f"The short schedule saves time: {1 + len(effects)} arms with {ablation.SEEDS} "
    f"seeds are {all_runs * base.recipe.epochs} epochs, as many as "
    f"{all_runs * base.recipe.epochs / full.recipe.epochs:.0f} trainings of full "
    "length. It has a price: what slows a start weighs more here, and what only pays "
    "late may not show."
)

# %% [markdown]
# Networks are written in one line each, from which one function builds them. Stage 8's:

# %%
print(ablation.STAGE_8)

# %% tags=["hide-input"]
builder = pages.source(network)
Html(
    '<details class="fold"><summary>The function that builds networks</summary>'
    f"{builder.markup}</details>",
    builder.text,
)

# %% [markdown]
# Arms have the baseline's seeds, and yet their runs are no pairs: another network draws
# other initial weights, another augmentation another order. Only with other constants
# for the *test* images does the training stay the same, and each seed is a true pair.
#
# All is judged on the test images, because the original's conclusions were. Nothing is
# chosen here by the outcome; whoever builds a better network from this table has to
# confirm it on validation images.
#
# ## What came out

# %% tags=["hide-input"]
rows = [
    [effect.arm.title, f"{effect.runs}", effect.size, effect.verdict]
    for effect in effects
]
summary = store.summary(base, ablation.BASELINE.name)
reached = (
    "not run yet"
    if summary is None
    else f"{summary.mean_and_sd} over {summary.seeds} seeds"
)
effects_table = pages.table(
    ["arm", "seeds", "effect [interval]", "the original's conclusion: our verdict"],
    rows,
    "Effects in percentage points of the final epoch's test accuracy, arm minus "
    "baseline, 95 % intervals over seeds in brackets. The baseline's accuracy: "
    f"{reached}. The verdict is ours, on what the original concluded; 'nothing "
    "claimed' where it concluded nothing.",
    words=(3,),
    wide=(1,),
)
effects_table

# %% tags=["hide-input"]
tested = [effect for effect in effects if effect.arm.expected is not None]
counts = {
    word: sum(effect.verdict.startswith(word) for effect in tested)
    for word in ("supports", "contradicts", "undecided")
}
unmade = len(tested) - sum(counts.values())
Text(
    f"The original concluded something about {len(tested)} of these arms. "
    f"{counts['supports']} support it, {counts['contradicts'] or 'none'} contradict "
    f"it, {counts['undecided']} leave it undecided"
    + (f", {unmade} have not been run." if unmade else ".")
)

# %% [markdown]
# With so many arms some interval leaves out zero by chance alone: about one in twenty,
# as exercise 2 measures. A lone small effect is a reason to run more seeds.

# %% tags=["hide-input"]
analysis = pages.table(
    ["", "question", "the original"],
    [[factor.name, factor.question, factor.claim] for factor in ablation.FACTORS],
    "What the arms ask, and what the original said about it.",
    words=(1, 2),
)
figures.folded("Question by question, and what the original said", analysis)

# %% [markdown]
# **What an ablation cannot tell:** effects that need each other. The rest of stage 8
# stays, tuned around what the arm takes away. A change may do nothing here and much in
# another network.
#
# ## Check yourself

# %% tags=["hide-input"]
pages.check(
    "An arm's effect is −0.02 points, with an interval from −0.16 to +0.13. What is "
    "known?",
    [
        (
            "The change does nothing",
            "It may do as much as a tenth of a point, either way.",
        ),
        (
            "The change does a little harm",
            "Zero lies within the interval, and gains do.",
        ),
        (
            "Its effect is hardly larger than a sixth of a point",
            "That much the interval says: a large effect is excluded, a small one is "
            "not.",
        ),
    ],
    answer=2,
)

# %% tags=["hide-input"]
pages.check(
    "You drop a layer, and accuracy falls. What else changed?",
    [
        (
            "Nothing: only one thing was changed",
            "A layer takes its parameters with it.",
        ),
        (
            "The number of parameters",
            "So depth and size fell together. An arm at equal parameters tells more.",
        ),
        ("The seeds", "They are the same, and their runs are not even pairs."),
    ],
    answer=1,
)

# %% tags=["hide-input"]
pages.check(
    "Twenty arms do nothing at all. How many of their intervals leave out zero?",
    [
        ("About one", "That is what '95 %' promises: one in twenty errs."),
        ("None", "Then nobody would need the second condition."),
        ("About ten", "That would be a coin's interval, not one of 95 %."),
    ],
    answer=0,
)

# %% [markdown]
# ## Exercises
#
# **1.** How many seeds does it take to see an effect of a tenth of a point nine times
# in ten, when seeds of one network have a standard deviation of half of that?

# %% [markdown] tags=["hint"]
# Make the studies up. Draw seeds of two networks whose means differ by a tenth, give
# them to `evidence.compare`, and count how often zero is not in the interval.

# %% tags=["solution"]


def simulated_studies(seeds, effect):
    """Percent of intervals without zero, and of effects also above the spread."""
    found = []
    for _ in range(400):
        one, other = generator.normal(99.3, 0.05, size=(2, seeds))
        result = evidence.compare(
            one.tolist(), (other + effect).tolist(), resamples=1_000
        )
        found.append((0 not in result.interval, result.ranked))
    return 100 * np.mean(found, axis=0)


for seeds in (5, 8, 12, 20):
    without_zero, _ = simulated_studies(seeds, 0.1)
    print(f"{seeds:2} seeds: {without_zero:.0f} % of such studies see it")

# %% [markdown]
# **2.** And when there is no effect: how often does an interval leave out zero, with
# few seeds and with many? And if the interval simply left out, at each end, one in
# forty of the means of runs drawn again?

# %% [markdown] tags=["hint"]
# `simulated_studies` with an effect of zero answers the first. For the second, take the
# quantiles of resampled differences, as the page does under *The idea*.

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

# %% [markdown] tags=["solution"]
# With few seeds the simple interval leaves out zero far more often than one time in
# twenty: it knows only the spread of the runs that it has. This page's intervals are
# wider for that, the more so the fewer seeds there are, and with fewer than five there
# are none. With many seeds, the condition that an effect exceed the spread takes over.

# %% [markdown]
# **3.** Which arms have fewer parameters than the baseline? Plan an arm that takes away
# the 1×1 layers at equal parameters, and count them.

# %% [markdown] tags=["hint"]
# `effect.arm.stage.parameters` counts. In the line of stage 8, leave out the words with
# `@1`, and make others wider until the sum fits.

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
# The same command goes on after a stop; see [studies](../guides/study.md).

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
    words=(1,),
)
arms
