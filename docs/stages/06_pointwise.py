# %% [markdown]
# # 6. 1×1 convolutions
#
# A kernel of one pixel cannot see shapes. What it can do is mix the channels at each
# position, for a ninth of the price of a 3×3 kernel. This stage puts two of them to
# work, and quietly changes much else.
#
# **You will learn** what a pointwise convolution is for, when it adds nothing at all,
# and why a change of augmentation has to be announced.
#
# **Know first** [stage 5](05_global_average_pooling.py).
#
# ## Target
#
# - Layers of 1×1 kernels that merge features.
# - One more convolution after the pooling.

# %%
import bisect
import math
import statistics

import torch
from torch import nn

from mnist_steps import augment, data, figures, pages, runs, stages, summary
from mnist_steps.experiments import ablation, evidence, study
from mnist_steps.markup import Text

stage, before = stages.get(6), stages.get(5)

# %% [markdown]
# ## The model

# %%
pages.source(stage.model)

# %% [markdown]
# What changed since stage 5:

# %% tags=["fold"]
pages.model_difference(before, stage)

# %% [markdown]
# Three things to notice. Batch normalization now comes *before* the ReLU, as in most
# networks since. There is no ReLU around `point1` or `point2`. And normalization
# follows even the last layer, so the ten scores of a batch always have the spread that
# the last layer's scale allows.
#
# ### Layer by layer

# %%
table = summary.summarize(stage.build(), (1, 28, 28))
table

# %%
pages.field_claims(stage)

# %% [markdown]
# ## The recipe
#
# The original announces new layers. Look at the table for what it did not announce.

# %%
pages.recipe(stage, before)

# %%
images = data.mnist().full_train.images[48:56].float() / 255
rows = [images]
for announced in (before, stage):
    generator = torch.Generator().manual_seed(5)
    rows.append(augment.augment(images, announced.recipe.augmentation, generator))
figures.digits(
    torch.cat(rows),
    ["before"] * 8 + ["stage 5"] * 8 + ["stage 6"] * 8,
    alt="Eight digits in three rows: as they are, augmented as in stage 5, augmented "
    "as in stage 6, where they are turned less and stretched a little.",
)

# %% [markdown]
# ## Training

# %%
run = runs.load_or_train(6)
pages.provenance(run)

# %% tags=["hide-input"]
old = runs.load_or_train(5)
studied, earlier = (study.Store().outcomes(each) for each in (stage, before))


def mean_of(outcomes, figure):
    return statistics.fmean(outcome.epochs[figure][-1] for outcome in outcomes)


def above_training(outcomes):
    return mean_of(outcomes, "test_accuracy") - mean_of(outcomes, "train_accuracy")


gap_now, gap_before = above_training(studied), above_training(earlier)
small = 0.05
pages.predict(
    f"In stage 5 test accuracy lay {gap_before:+.2f} percentage points from training "
    f"accuracy, as a mean over {len(earlier)} seeds. Now the training digits are "
    "turned less, and so are more like the test digits. What happens to that "
    "difference?",
    ("It shrinks", f"It stays, within {small} points", "It grows"),
    answer=bisect.bisect((-small, small), gap_now - gap_before),
    explanation=f"It is {gap_now:+.2f} points now, over {len(studied)} seeds: "
    f"training accuracy fell from {mean_of(earlier, 'train_accuracy'):.2f} to "
    f"{mean_of(studied, 'train_accuracy'):.2f} %. A milder augmentation alone should "
    "have done the opposite. The network is another one too, and which of its changes "
    "makes the training digits harder for it has not been found out.",
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
fell = mean_of(studied, "train_accuracy") < mean_of(earlier, "train_accuracy")
pages.hold_to("training accuracy fell", fell)
before_table = summary.summarize(before.build(), (1, 28, 28))
gap = run.final_test_accuracy - old.final_test_accuracy
error = math.hypot(
    pages.standard_error(run.final_test_accuracy),
    pages.standard_error(old.final_test_accuracy),
)
pointwise = sum(row.params for row in table.rows if row.name.startswith("point"))
verdict = "more than two" if abs(gap) > 2 * error else "less than two"
change = evidence.compare(
    [outcome.figures.final for outcome in earlier],
    [outcome.figures.final for outcome in studied],
)
ranked = change.ranked
old_augmentation = next(
    effect
    for effect in ablation.effects()
    if effect.arm.name.endswith("-old-augmentation")
)
pages.hold_to("made no difference", not old_augmentation.comparison.ranked)
Text(f"""
- **{table.total_params:,} parameters**,
  {table.total_params - before_table.total_params:+,} against stage 5, although the
  network is deeper: the channels got fewer. The two 1×1 layers cost {pointwise} weights
  together.
- **The result:** {gap:+.2f} points in the final epoch, {verdict} standard errors
  ({error:.2f} points each) of the difference between two runs.
- **The augmentation is milder now.** The turn went from
  ±{before.recipe.augmentation[1].degrees} to ±{stage.recipe.augmentation[1].degrees}
  degrees, and the original credits the layers alone. Exchanged for the old one in an
  otherwise equal training, it [made no difference](../beyond/ablation.py) that a few
  seeds can tell.
- **Over seeds** stages 5 and 6 are {"ranked" if ranked else "not ranked"}:
  {change.difference:+.2f} points, 95 % interval {change.interval.low:+.2f} to
  {change.interval.high:+.2f}.
- **One claim can be settled without a second run.** Between conv4 and the pooling there
  is no ReLU, so conv4, point1 and their normalizations are one linear map. The first
  exercise builds the single convolution that does the same.
""")

# %% [markdown]
# **What this stage confounds:** the 1×1 layers, the added convolution, the channels,
# the place of batch normalization, a normalization behind the output, and the
# augmentation.
#
# ## Exercises
#
# **1.** Merge conv4, batch_norm4, point1 and batch_normp1 of the trained network into
# one 3×3 convolution with a bias. Does the network notice?

# %% tags=["solution"]
model = run.build()
pieces = nn.Sequential(model.conv4, model.batch_norm4, model.point1, model.batch_normp1)
with torch.no_grad():
    bias = pieces(torch.zeros(1, 10, 3, 3)).flatten()
    impulses = torch.eye(10 * 9).reshape(
        -1, 10, 3, 3
    )  # one image for each weight of a kernel
    kernel = (pieces(impulses).flatten(1) - bias).T.reshape(10, 10, 3, 3)
    maps = torch.randn(4, 10, 22, 22)
    merged = nn.functional.conv2d(maps, kernel, bias)
    assert torch.allclose(merged, pieces(maps), atol=1e-3)
print(f"four layers, {sum(p.numel() for p in pieces.parameters())} parameters")
print(f"one layer,   {kernel.numel() + bias.numel()} parameters, the same output")

# %% [markdown] tags=["solution"]
# At this place, then, the 1×1 layer lets the trained network represent nothing new. It
# may still help the optimizer on its way; only a second arm of the experiment could
# tell.

# %% [markdown]
# **2.** How many 1×1 layers of ten channels could one pay with a single 3×3 layer of
# ten channels?

# %% tags=["solution"]
print(
    nn.Conv2d(10, 10, 3, bias=False).weight.numel()
    // nn.Conv2d(10, 10, 1, bias=False).weight.numel()
)

# %% [markdown]
# **3.** Swap the average and the last 1×1 layer: does the order matter for the scores,
# and for the arithmetic?

# %% tags=["solution"]
maps = torch.randn(4, 12, 4, 4)
with torch.no_grad():
    first_average = model.point2(model.gap(maps))
    first_mix = model.gap(model.point2(maps))
assert torch.allclose(first_average, first_mix, atol=1e-5)
print(
    "the same scores, with 16 times as many multiplications when the mixing comes first"
)

# %% [markdown]
# ## Next
#
# [Stage 7](07_capacity.py) spends what is left of the budget.
