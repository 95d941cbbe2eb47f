# %% [markdown]
# # 2. The skeleton
#
# Good architectures are boring on purpose: a shape that repeats, so that later changes
# can be made in one place. This stage finds that shape and cuts most of the weights on
# the way.
#
# **You will learn** the squeeze-and-expand pattern, where to put a pooling layer, and
# to plan a network backwards from the receptive field it needs.
#
# **Know first** [stage 1](01_setup.py), above all its training loop, which is not
# repeated here.
#
# ## Target
#
# - A skeleton that later stages can keep.
# - Nothing fancy: no padding, no batch normalization, no dropout.
# - Channels that expand, are squeezed, and expand again.
# - At least 99 % on the test digits.

# %%
import math

import torch

from mnist_steps import augment, data, figures, pages, runs, stages, summary
from mnist_steps.markup import Text

stage, before = stages.get(2), stages.get(1)

# %% [markdown]
# ## The model
#
# Without padding, every convolution takes a pixel off each side. The sizes tell the
# story: layer by layer the digit shrinks to a single cell, and that cell sees all of
# it.

# %%
pages.source(stage.model)

# %% [markdown]
# What changed since stage 1:

# %% tags=["fold"]
pages.model_difference(before, stage)

# %% [markdown]
# ### Layer by layer

# %%
table = summary.summarize(stage.build(), (1, 28, 28))
table

# %% [markdown]
# Here the original's receptive fields are right, all of them.

# %%
pages.field_claims(stage)

# %% [markdown]
# ## The recipe
#
# Unchanged. So whatever the result, the network did it.

# %%
pages.recipe(stage, before)

# %% [markdown]
# The augmentation is also that of stage 1. Another draw of it, to keep an eye on what
# the network really gets to see:

# %%
images = data.mnist().full_train.images[16:24].float() / 255
generator = torch.Generator().manual_seed(1)
figures.digits(
    torch.cat((images, augment.augment(images, stage.recipe.augmentation, generator))),
    ["before"] * 8 + ["after"] * 8,
    alt="Eight digits, above as they are, below turned by up to fifteen degrees, some "
    "enlarged.",
)

# %% [markdown]
# ## Training

# %%
run = runs.load_or_train(2)
pages.provenance(run, steps=2)

# %% tags=["hide-input"]
epochs_at_target = sum(epoch.test_accuracy >= 99 for epoch in run.epochs)
pages.predict(
    f"Of the giant's {before.parameters:,} parameters {stage.parameters:,} are left. "
    "Does the network still reach its target of 99 % on the test digits?",
    (
        "No, in none of its epochs",
        "In some epoch, but not in the final one",
        "Yes, in the final epoch",
    ),
    answer=2 if run.final_test_accuracy >= 99 else int(epochs_at_target > 0),
    explanation=f"{epochs_at_target} of {len(run.epochs)} epochs are at 99 % or above; "
    f"the final one has {run.final_test_accuracy:.2f} %. Only the final one counts "
    "here: whoever may pick the epoch afterwards picks the luckiest.",
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
larger = runs.load_or_train(1)
unfinished = (
    ""
    if larger.finished
    else f" (of stage 1, {pages.describe_epochs(larger)} are recorded)"
)
gap = run.final_test_accuracy - larger.final_test_accuracy
error = math.hypot(
    pages.standard_error(run.final_test_accuracy),
    pages.standard_error(larger.final_test_accuracy),
)
reached = "reached" if run.final_test_accuracy >= 99 else "missed"
before_table = summary.summarize(before.build(), (1, 28, 28))
Text(f"""
- **Far fewer weights.** {table.total_params:,} instead of
  {before_table.total_params:,}, a factor of
  {before_table.total_params / table.total_params:.0f}. The arithmetic shrinks less, by
  a factor of {before_table.total_macs / table.total_macs:.1f}: what went were the wide
  layers at the end, and those were applied at few positions.
- **The price:** {gap:+.2f} points in the final epoch{unfinished}. The standard error of
  such a difference is about {error:.2f} points if the two runs were independent, so the
  drop is {abs(gap) / error:.1f} standard errors.
- **The target of 99 % was {reached}** in the final epoch
  ({run.final_test_accuracy:.2f} %); the best epoch had {run.best_test_accuracy:.2f} %.
  The original's {stage.claim.best_test_accuracy:.2f} % was its best epoch, its final
  one had {stage.claim.final_test_accuracy:.2f} %.
- **A slow start.** After the first epoch the training accuracy was
  {run.epochs[0].train_accuracy:.1f} %. Deep, narrow and without normalization, the
  signal fades on its way back. Stage 3 makes this worse, stage 4 cures it.
""")

# %% [markdown]
# **What this stage confounds:** padding, biases, width, depth and the number of
# poolings all changed at once. The result belongs to the whole bundle; which part cost
# the accuracy, this page cannot say.
#
# ## Exercises
#
# **1.** Without padding, how many convolutions of size 3 fit before a 28-pixel digit is
# used up, if there is no pooling at all?

# %% tags=["solution"]
size, layers = 28, 0
while size > 2:
    size, layers = size - 2, layers + 1
print(f"{layers} convolutions leave {size}x{size} pixels")

# %% [markdown] tags=["solution"]
# The pooling halves the way: after it, each convolution eats two of half as many
# pixels, which are four of the input's.

# %% [markdown]
# **2.** None of these convolutions has a bias. How many parameters would the biases
# add, and what share is that?

# %% tags=["solution"]
biases = sum(row.output_shape[0] for row in table.rows if row.kind == "Conv2d")
print(f"{biases} biases, {biases / table.total_params:.2%} of the parameters")

# %% [markdown]
# **3.** Move the pooling: after conv2 instead of conv3, with the same five convolutions
# behind it. How large is the last map, and how far does one of its cells see?

# %% tags=["solution"]
size, field, jump = 28, 1, 1
for kind in ("conv", "conv", "pool", "conv", "conv", "conv", "conv", "conv"):
    if kind == "pool":
        size, field, jump = size // 2, field + jump, jump * 2
    else:
        size, field = size - 2, field + 2 * jump
    print(f"{kind}: {size}x{size}, field {field}")

# %% [markdown] tags=["solution"]
# One convolution less before the pooling leaves one more pixel behind it: the network
# ends in two by two cells, and none of them sees the whole digit.

# %% [markdown]
# ## Next
#
# [Stage 3](03_lighter.py) keeps the shape and divides the channels.
