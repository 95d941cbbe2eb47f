# %% [markdown]
# # 9. Reliable: can every seed reach it?
#
# Stage 8 reaches 99.4 % with some seeds and misses it with others. Whoever reports the
# good ones has found a lucky seed. Is there a network of the same size that ends above
# it with every seed?
#
# **You will be able to**
#
# - search for a network without touching the test images,
# - say what a high learning rate does for a small network,
# - tell a better network from a better day.
#
# Know first [stage 8](../stages/08_lr_scheduler.py), and why choices belong on
# validation images, from the guide to [honest evaluation](../guides/evaluation.py).
#
# ## Target

# %% tags=["hide-input"]
from mnist_steps import figures, pages, runs, stages, summary
from mnist_steps.experiments import evidence, frontier, search, study
from mnist_steps.markup import Text

MEAN = 99.55
stage, before = stages.get(9), stages.get(8)
store = study.Store()
own = store.outcomes(stage)
figured = study.summary_of(own)

# %% tags=["hide-input"]
Text(f"""
- {MEAN} % on the test digits after the last epoch, as a mean over at least ten seeds.
- At least {evidence.TARGET} % after each of the last three epochs, in every one of
  these runs.
- Fewer than eight thousand parameters, and fifteen epochs at most.

We know of nobody who reports a mean over seeds. What single runs of others reach is on
[the next page](10_smaller.py#the-frontier).
""")

# %% [markdown]
# ## The search
#
# Where should one look? The [ablations](ablation.py) say that the peak of the learning
# rate may be much higher, and that pooling early costs nothing that five seeds could
# show; a small map is cheaper, so there is time for more channels. Each idea became a
# candidate below, all with a little under eight thousand parameters, and each was
# trained on eleven twelfths of the training images and judged on the last five
# thousand.
#
# All candidates start from one recipe, `search.START`: small batches, a high peak rate,
# and crops, rotations and shifts. As in [stage 11](11_faster.py), the mean of nine
# views of each image decides, here after each of the last three epochs. The notation
# `8@3` stands for eight channels by a 3×3 kernel, with batch normalization and ReLU
# behind it.

# %% tags=["hide-input"]
search.results_table(9)

# %% [markdown]
# The loss decides, not the accuracy: with so few images a single mistake shows in the
# second decimal, while the loss also counts how sure the network was. Each candidate
# has one seed here, and another seed would shuffle neighbours. So the first line is a
# good choice and not the only one: many networks are about as good, and only the far
# ends of the table differ by more than luck may explain.
#
# Also tried, on the validation images, with one or two seeds each and without a place
# in the table: stretching and shearing in place of crops, stronger weight decay still,
# and learning from the probabilities of two networks three times as large. None of them
# lowered the loss of the nine views. Turned views, and views moved by half a pixel,
# lowered it a little, and left the mistakes about as many.
#
# ## The model

# %% tags=["hide-input"]
pages.source(stage.model)

# %% [markdown]
# ### Layer by layer

# %%
table = summary.summarize(stage.build(), runs.INPUT_SHAPE)
table

# %% [markdown]
# ## The recipe

# %% tags=["hide-input"]
pages.recipe_change(before, stage)

# %% tags=["hide-input"]
finals = [outcome.figures.final for outcome in own]
interval = evidence.bootstrap(finals)
reached = sum(outcome.figures.passes() for outcome in own)
pages.predict(
    f"Stage 9 was trained with {figured.seeds} seeds. In how many of these trainings "
    "do all of the last three epochs reach 99.4 % on the test digits?",
    ("In fewer than half", "In most, not in all", "In all"),
    answer=2 if reached == len(own) else 1 if reached * 2 >= len(own) else 0,
    explanation=f"In {reached} of {len(own)}. The mean after the last epoch is "
    f"{figured.mean:.3f} %.",
)

# %% [markdown]
# ## Results
#
# Only now the test digits: the chosen candidate, trained on all training images. (To be
# exact, four runs of the same network without weight decay were judged on them earlier.
# Their mean was no different, and the choice stayed with the lowest validation loss.)

# %% tags=["hide-input"]
mean_met = figured.mean >= MEAN
all_met = reached == len(own)
pages.hold_to("ends above it with every seed", figured.min > evidence.TARGET)
before_runs = store.outcomes(before)
before_finals = [outcome.figures.final for outcome in before_runs]
pages.hold_to(
    "with some seeds and misses it with others",
    min(before_finals) < evidence.TARGET <= max(before_finals),
)
pages.studies_table(
    {"stage 9": own, "stage 8": before_runs},
    MEAN,
    [
        [
            "runs that pass",
            f"{reached} of {len(own)}",
            f"{sum(outcome.figures.passes() for outcome in before_runs)} of "
            f"{len(before_runs)}",
            "all",
        ],
        [
            "parameters",
            f"{table.total_params:,}",
            f"{before.parameters:,}",
            "below 8,000",
        ],
    ],
    "Test accuracy in percent after the last epoch, over seeds. A run passes when each "
    f"of its last three epochs reaches {evidence.TARGET} %.",
)

# %% tags=["hide-input"]
figures.histories([outcome.test_accuracies for outcome in own], evidence.TARGET)

# %% [markdown]
# After each of the last three epochs nine views decide. Part of the climb there is
# theirs, part is the falling learning rate's. What are the views worth? The same
# trainings, judged by one view to the end, tell:

# %% tags=["hide-input"]
plain = store.outcomes(frontier.ONE_VIEW.stage, frontier.ONE_VIEW.name)
by_seed = {outcome.seed: outcome.figures.final for outcome in own}
nine = [by_seed[outcome.seed] for outcome in plain]
paired = [
    with_nine - outcome.figures.final
    for with_nine, outcome in zip(nine, plain, strict=True)
]
gain = evidence.bootstrap(paired)
one_view = study.summary_of(plain)
Text(f"""
Over {len(paired)} seeds one view ends at {one_view.mean:.3f} %, nine views of the same
weights at {sum(nine) / len(nine):.3f} %. The views are worth
**{sum(paired) / len(paired):+.3f} points**, with a 95 % interval from {gain.low:+.3f}
to {gain.high:+.3f}. They cost nothing in training and nine times the work for each
image that is judged: help at test time, and not a better network.

*Reached* has one meaning on this site: by the mean of the runs, each test digit judged
once. By that, this network is {study.verdict_of(plain)}.
""")

# %% [markdown]
# ## Analysis

# %% tags=["hide-input"]
compared = evidence.compare(before_finals, finals)
one_compared = evidence.compare(
    before_finals, [outcome.figures.final for outcome in plain]
)
least = min(outcome.figures.last_three_min for outcome in own)
Text(f"""
- **The mean, by nine views: the target {"is met" if mean_met else "is **not** met"}.**
  {figured.mean:.3f} % over {figured.seeds} seeds, with a 95 % interval from
  {interval.low:.3f} to {interval.high:.3f} %. It lies {figured.mean - MEAN:+.3f} points
  from the target.
- **Every run: the target {"is met" if all_met else "is **not** met"}.** {reached} of
  {len(own)} runs have all of their last three epochs at 99.4 % or above; the lowest of
  these {3 * len(own)} figures is {least:.2f} %. After the last epoch no run is below
  {figured.min:.2f} %.
- **Against stage 8:** {compared.verdict("stage 8", "stage 9")}. With one view, as stage
  8 is judged: {one_compared.verdict("stage 8", "stage 9")}.
""")

# %% [markdown]
# **What is missing?** Not the schedule, nor any one knob of the recipe: many candidates
# ended close together. A network three times as large, trained on the same digits in
# the same way, did hardly better on the validation images, so it is not the number of
# parameters alone either. That was two runs, which are not among those kept here.
#
# **What this stage confounds:** nearly everything. Network, augmentation, peak rate and
# views were chosen together, each against a few neighbours only, and another order of
# the search might have ended elsewhere. The table says what was tried, and the
# candidates with one change each are a small ablation of their own.
#
# ## Exercises
#
# **1.** Report this stage as tutorials usually do: the best epoch of the best run. What
# would the headline be? And what if stage 8 were reported so?

# %% [markdown] tags=["hint"]
# `outcome.figures` has `best` and `final` of a run. Take the largest best, and beside
# it the mean of the final ones.

# %% tags=["solution"]
for name, made in (("stage 9", own), ("stage 8", before_runs)):
    best = max(outcome.figures.best for outcome in made)
    mean = study.summary_of(made).mean
    print(f"{name}: headline {best:.2f} %, mean of final epochs {mean:.3f} %")

# %% [markdown]
# **2.** How many digits does every run get wrong? They bound what more seeds or a vote
# could do.

# %% [markdown] tags=["hint"]
# `set(outcome.wrong)` are the places of a run's mistakes. Sets have an intersection.

# %% tags=["solution"]
wrong = [set(outcome.wrong) for outcome in own]
always = set.intersection(*wrong)
ever = set.union(*wrong)
print(f"each run gets {min(map(len, wrong))} to {max(map(len, wrong))} digits wrong")
print(
    f"{len(always)} digits are wrong in all {len(own)} runs, {len(ever)} in at least "
    "one"
)
print(
    f"all runs get {100 - len(ever) / 100:.2f} % right; whoever chose, for each digit, "
    f"a run that gets it right would reach {100 - len(always) / 100:.2f} %"
)

# %% [markdown]
# **3.** How many seeds does it take to know such a mean to a hundredth of a point?
# Compute the standard error of the mean for the spread measured above.

# %% [markdown] tags=["hint"]
# The spread over the root of the number of seeds.

# %% tags=["solution"]
for seeds in (1, 5, 10, 20, 50):
    print(f"{seeds:2} seeds: ± {figured.sd / seeds**0.5:.4f} points")

# %% [markdown]
# ## Next
#
# [Train this network in your browser](../lab.md#preset=9), or go on: with that much in
# hand, how much smaller can the network be? [Stage 10](10_smaller.py).
