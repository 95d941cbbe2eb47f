# %% [markdown]
# # 7. More capacity
#
# The budget is not used up. This stage spends the rest of it where most of the features
# are made: behind the pooling. It is the cleanest experiment of the eight, for only one
# thing changes.
#
# **You will learn** to spend a parameter budget, and to look at the spread of the last
# epochs before believing the last one.
#
# **Know first** [stage 6](06_pointwise.py).
#
# ## Target
#
# - More capacity, within eight thousand parameters.

# %%
import bisect
import math
import statistics

import torch

from mnist_steps import augment, data, figures, pages, runs, stages, summary
from mnist_steps.markup import Text

stage, before = stages.get(7), stages.get(6)

# %% [markdown]
# ## The model

# %%
pages.source(stage.model)

# %% [markdown]
# What changed since stage 6:

# %% tags=["fold"]
pages.model_difference(before, stage)

# %% [markdown]
# ### Layer by layer

# %%
table = summary.summarize(stage.build(), (1, 28, 28))
table

# %%
pages.field_claims(stage)

# %% [markdown]
# ## The recipe

# %%
pages.recipe(stage, before)

# %%
images = data.mnist().full_train.images[56:64].float() / 255
generator = torch.Generator().manual_seed(6)
figures.digits(
    torch.cat((images, augment.augment(images, stage.recipe.augmentation, generator))),
    ["before"] * 8 + ["after"] * 8,
    alt="Eight digits, above as they are, below slightly turned and stretched.",
)

# %% [markdown]
# ## Training

# %%
run = runs.load_or_train(7)
pages.provenance(run)

# %% tags=["hide-input"]
ends = [epoch.test_accuracy for epoch in run.epochs[-5:]]
error = pages.standard_error(run.final_test_accuracy)
pages.predict(
    "The learning rate stays as large as it was at the start. By how much do the best "
    "and the worst of the last five epochs differ on the test digits? Five equally "
    "good networks, each tested on digits of its own, would differ by about two "
    f"standard errors, {2 * error:.2f} percentage points.",
    (
        "By less than half of that: the network has settled",
        "By about that",
        "By more than one and a half times that: it still jumps about",
    ),
    answer=bisect.bisect((error, 3 * error), max(ends) - min(ends)),
    explanation=f"By {max(ends) - min(ends):.2f} points, from {min(ends):.2f} to "
    f"{max(ends):.2f} %. All five were tested on the same digits, so chance in the "
    "choice of digits does not explain it: the weights moved.",
)

# %% [markdown]
# ## Results

# %%
pages.results(run)

# %%
figures.curves(run)

# %%
figures.mistakes(run)

# %%
figures.confusion(run)

# %% [markdown]
# ## Analysis

# %% tags=["hide-input"]
old = runs.load_or_train(6)
added = table.total_params - before.parameters
gap = run.final_test_accuracy - old.final_test_accuracy
error = math.hypot(
    pages.standard_error(run.final_test_accuracy),
    pages.standard_error(old.final_test_accuracy),
)
tests = [epoch.test_accuracy for epoch in run.epochs[-5:]]
both_right = (run.predictions == data.mnist().test.labels) == (
    old.predictions == data.mnist().test.labels
)
claim = stage.claim.best_test_accuracy - before.claim.best_test_accuracy
above = sum(accuracy > 99.3 for accuracy in tests)
Text(f"""
- **{added:,} parameters more** than stage 6, {table.total_params:,} in all:
  {8000 - table.total_params} are left of the budget.
- **The gain:** {gap:+.2f} points in the final epoch, beside a standard error of
  {error:.2f}. The original saw {claim:+.2f} between its best epochs. On
  {(~both_right).sum().item()} of {len(both_right):,} test digits exactly one of the two
  networks is right.
- **A restless end.** The last five epochs scored
  {", ".join(f"{accuracy:.2f}" for accuracy in tests)} %, a standard deviation of
  {statistics.stdev(tests):.3f} points. The weights still jump: the learning rate is as
  large at the end as at the start. The original reports 99.3 % and more 'consistently
  in the last few epochs'; in our run {above} of the last {len(tests)} are above 99.3 %.
""")

# %% [markdown]
# **What this stage confounds:** nothing but chance. More channels in three layers is a
# single idea. But one run of each arm cannot tell a small gain from luck.
#
# ## Exercises
#
# **1.** A wider network has more random numbers to draw. With the same seed, do stages
# 6 and 7 start with the same first layer?

# %% tags=["solution"]
weights = []
for number in (6, 7):
    torch.manual_seed(8)
    weights.append(stages.get(number).build())
for name in ("conv1", "point1", "conv5"):
    one, other = (getattr(model, name).weight for model in weights)
    print(
        name,
        "same start"
        if one.shape == other.shape and torch.equal(one, other)
        else "differs",
    )

# %% [markdown]
# **2.** How would you spend the rest? Find the largest equal number of channels for
# conv5, conv6 and conv7 within the budget.

# %% tags=["solution"]


def parameters_with(channels):
    kernels = 9 * (10 * channels + 2 * channels * channels) + channels * 10
    scales_and_shifts = 3 * 2 * channels
    front = sum(row.params for row in table.rows[:11])  # up to the pooling
    return front + kernels + scales_and_shifts + 2 * 10


assert parameters_with(12) == before.parameters
best = max(channels for channels in range(1, 40) if parameters_with(channels) < 8000)
print(
    f"{best} channels: {parameters_with(best):,} parameters; one more: "
    f"{parameters_with(best + 1):,}"
)

# %% [markdown]
# **3.** Is the gain real? Count the digits on which exactly one of the two networks is
# right, for either side. If both were equally good, how would those digits split?

# %% tags=["solution"]
labels = data.mnist().test.labels
now_right, old_right = run.predictions == labels, old.predictions == labels
only_now, only_old = (
    (now_right & ~old_right).sum().item(),
    (old_right & ~now_right).sum().item(),
)
print(f"only stage 7 is right: {only_now}, only stage 6 is right: {only_old}")
differing = only_now + only_old
print(
    f"a fair coin gives {differing / 2:.0f} ± {math.sqrt(differing) / 2:.0f} heads in "
    f"{differing} throws"
)

# %% [markdown] tags=["solution"]
# This is McNemar's test in one line: only the digits on which the networks differ carry
# information.

# %% [markdown]
# ## Next
#
# [Stage 8](08_lr_scheduler.py) calms the end.
