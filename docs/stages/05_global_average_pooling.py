# %% [markdown]
# # 5. Global average pooling
#
# The heaviest layer of stage 4 sits at the very end: one large kernel that weighs every
# position of the last map separately. Does it matter *where* in that map a stroke was
# seen? If not, an average does the job, and an average has no weights.
#
# **You will learn** what global average pooling replaces, what it gives up, and how a
# network shows that its capacity is used up.
#
# **Know first** [stage 4](04_batch_norm.py), whose body is kept.
#
# ## Target
#
# - Below eight thousand parameters, and still trainable.
# - A smaller batch again.

# %%
import math

import torch
from torch import nn

from mnist_steps import augment, data, figures, pages, runs, stages, summary
from mnist_steps.experiments import evidence, study
from mnist_steps.markup import Text
from mnist_steps.original import BUDGET, TARGET

stage, before = stages.get(5), stages.get(4)

# %% [markdown]
# ## The model

# %%
pages.source(stage.model)

# %% [markdown]
# What changed since stage 4:

# %% tags=["fold"]
pages.model_difference(before, stage)

# %% [markdown]
# The last convolution now makes ten maps, one for each digit, and the average over each
# map is that digit's score. Note what stands in front of the average: batch
# normalization after a ReLU, so every score is an average of numbers that were never
# negative before they were scaled.
#
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
images = data.mnist().full_train.images[40:48].float() / 255
generator = torch.Generator().manual_seed(4)
figures.digits(
    torch.cat((images, augment.augment(images, stage.recipe.augmentation, generator))),
    ["before"] * 8 + ["after"] * 8,
    alt="Eight digits, above as they are, below turned by up to fifteen degrees, some "
    "enlarged.",
)

# %% [markdown]
# ## Training

# %%
run = runs.load_or_train(5)
pages.provenance(run)

# %% tags=["hide-input"]
old = runs.load_or_train(4)
finals, finals_before = (
    [outcome.figures.final for outcome in study.Store().outcomes(each)]
    for each in (stage, before)
)
change = evidence.compare(finals_before, finals)
pages.predict(
    "The heaviest layer is gone, and an average without a single weight takes its "
    f"place. What does that do to the final test accuracy, over {len(finals)} seeds?",
    ("It falls", "It stays, as far as the seeds can tell", "It rises"),
    answer=1 if not change.ranked else 2 * (change.difference > 0),
    explanation=f"The mean changed by {change.difference:+.2f} percentage points (95 % "
    f"interval {change.interval.low:+.2f} to {change.interval.high:+.2f}). Single runs "
    "need not show it. The average forgets where in the map something was seen, and "
    "the network has fewer weights: which of the two it is, this stage cannot say.",
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
before_table = summary.summarize(before.build(), (1, 28, 28))
gap = run.final_test_accuracy - old.final_test_accuracy
error = math.hypot(
    pages.standard_error(run.final_test_accuracy),
    pages.standard_error(old.final_test_accuracy),
)
last, old_last = run.epochs[-1], old.epochs[-1]
reached = "reaches" if run.final_test_accuracy >= TARGET else "misses"
pages.hold_to("The budget is met", table.total_params < BUDGET)
pages.hold_to("the accuracy is not", max(finals) < TARGET)
Text(f"""
- **Under the budget:** {table.total_params:,} parameters,
  {1 - table.total_params / before_table.total_params:.0%} less than stage 4. The large
  kernel had {before_table.rows[-1].params:,} of them, the average has
  {table.rows[-1].params}.
- **The price:** {gap:+.2f} points in the final epoch, {abs(gap) / error:.1f} standard
  errors of such a difference. The run {reached} {TARGET} %.
- **Capacity shows in training, not in testing.** The final training loss is
  {last.train_loss:.4f}, against {old_last.train_loss:.4f} in stage 4: the network
  cannot fit even the digits it trains on as well as its predecessor could.
- **The batch of {stage.recipe.batch_size}** gave the original 'a slight improvement'.
  Between two single runs, less than {2 * error:.2f} points, two standard errors, is no
  finding.
""")

# %% [markdown]
# **What this stage confounds:** the pooling, one convolution with fewer channels, a
# different place for ten of the parameters' normalization, and the batch size with its
# doubled number of steps.
#
# ## Exercises
#
# **1.** An average is a convolution whose weights are all equal. Show that the `gap`
# layer equals a convolution with a fixed kernel, and count the weights that it saves.

# %% tags=["solution"]
maps = torch.randn(3, 10, 6, 6)
kernel = torch.zeros(10, 10, 6, 6)
for digit in range(10):
    kernel[digit, digit] = 1 / 36
assert torch.allclose(
    nn.functional.conv2d(maps, kernel), stage.build().gap(maps), atol=1e-6
)
print(f"{kernel.numel():,} weights that need not be stored or learnt")

# %% [markdown]
# **2.** What does the average give up? Shift a digit by two pixels to the right and
# compare how much the probabilities of stages 4 and 5 change.

# %% tags=["solution"]
digits = (data.mnist().test.images[:1000].float() / 255 - 0.1325) / 0.3104
shifted = digits.roll(2, dims=3)
for recorded in (old, run):
    model = recorded.build()
    with torch.no_grad():
        change = (model(digits).exp() - model(shifted).exp()).abs().sum(dim=1).mean()
    print(
        f"stage {recorded.stage.number}: the probabilities move by {change:.4f} in sum"
    )

# %% [markdown]
# **3.** The score maps before the average can be looked at. Which positions speak for a
# seven?

# %% tags=["solution"]
model = run.build()
seven = digits[:1]
with torch.no_grad():
    maps = nn.Sequential(*list(model.children())[:-3])(seven)  # (1, 10, 6, 6)
scores = maps[0, 7]
print(scores.round(decimals=1))
print(f"their average, the score for a seven: {scores.mean():.2f}")

# %% [markdown]
# ## Next
#
# The budget is met, the accuracy is not. [Stage 6](06_pointwise.py) spends the
# parameters differently.
