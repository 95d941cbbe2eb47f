# %% [markdown]
# # 4. Batch normalization
#
# A deep and narrow network hands a signal through many layers, and each may make it a
# little smaller. Batch normalization measures the signal in every batch and sets it
# back to mean zero and variance one. Nothing in this tutorial does more for the curves.
#
# **You will learn** what batch normalization does to a training, and how hard it is to
# say so cleanly when several things change at once.
#
# **Know first** the standstill at the start of [stage 3](03_lighter.py).
#
# ## Target
#
# - Batch normalization, to train more efficiently.
# - A smaller batch.

# %%
import bisect

import torch

from mnist_steps import augment, data, figures, pages, runs, stages, summary
from mnist_steps.markup import Text

stage, before = stages.get(4), stages.get(3)

# %% [markdown]
# ## The model
#
# Here normalization comes *after* the ReLU; from stage 6 on it will come before. Two
# layers are gone at the end, and one kernel as large as what is left takes their place.

# %%
pages.source(stage.model)

# %% [markdown]
# What changed since stage 3:

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
images = data.mnist().full_train.images[32:40].float() / 255
generator = torch.Generator().manual_seed(3)
figures.digits(
    torch.cat((images, augment.augment(images, stage.recipe.augmentation, generator))),
    ["before"] * 8 + ["after"] * 8,
    alt="Eight digits, above as they are, below turned by up to fifteen degrees, some "
    "enlarged.",
)

# %% [markdown]
# ## Training

# %%
run = runs.load_or_train(4)
pages.provenance(run)

# %% tags=["hide-input"]
low, high = 50, 90
first = run.epochs[0]
pages.predict(
    "Remember the standstill of stage 3. With batch normalization, how many of the "
    "training digits does the network get right in the course of its very first epoch?",
    (f"Fewer than {low} %", f"Between {low} and {high} %", f"More than {high} %"),
    answer=bisect.bisect((low, high), first.train_accuracy),
    explanation=f"{first.train_accuracy:.1f} %, counted while it learns. Normalized "
    "signals are as large in the last layer as in the first, so every layer hears its "
    "gradient from the first step on.",
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
old = runs.load_or_train(3)
tests = [epoch.test_accuracy for epoch in run.epochs]
claimed = stage.claim
last_layer = table.rows[-1]
steps_now, steps_before = (len(r.steps) // len(r.epochs) for r in (run, old))
error = pages.standard_error(run.final_test_accuracy)
Text(f"""
- **It starts at once.** Training accuracy after the first epoch:
  {run.epochs[0].train_accuracy:.1f} %, where stage 3 had
  {old.epochs[0].train_accuracy:.1f} %.
- **It ends far better:** {run.final_test_accuracy:.2f} % against
  {old.final_test_accuracy:.2f} %, with {table.total_params:,} parameters where stage 3
  had {before.claim.parameters:,}.
- **But what did it?** The batch went from {before.recipe.batch_size} to
  {stage.recipe.batch_size}, so an epoch has {steps_now} steps instead of
  {steps_before}: this network took {steps_now / steps_before:.1f} times as many steps.
  The original credits the smaller batch with the quicker convergence. From this run
  alone, nobody can tell.
- **The best epoch flatters.** The original's {claimed.best_test_accuracy:.2f} % was one
  epoch of fifteen; its final epoch had {claimed.final_test_accuracy:.2f} %. In our run
  the test accuracy of the last five epochs ranges from {min(tests[-5:]):.2f} to
  {max(tests[-5:]):.2f} %, around a standard error of {error:.3f} points. Picking the
  best of many noisy numbers always gives a number that is too good.
- **One layer holds {last_layer.params / table.total_params:.0%} of the weights:**
  {last_layer.name}, with {last_layer.params:,}. That is where the next stage cuts.
""")

# %% [markdown]
# **What this stage confounds:** batch normalization, the batch size, the number of
# steps that follows from it, the channels, and the end of the network.
#
# ## Exercises
#
# **1.** Batch normalization has parameters of its own. How many, and what share?

# %% tags=["solution"]
normalization = sum(row.params for row in table.rows if row.kind == "BatchNorm2d")
print(f"{normalization} parameters, {normalization / table.total_params:.1%}")

# %% [markdown]
# **2.** Measure the standstill's cause. Send a batch through the untrained networks of
# stages 3 and 4 and print the standard deviation behind each convolution, in training
# mode.

# %% tags=["solution"]
batch = (data.mnist().full_train.images[:256].float() / 255 - 0.1307) / 0.3081
for number in (3, 4):
    torch.manual_seed(8)
    model = stages.get(number).build().train()
    signal, spread = batch, []
    with torch.no_grad():
        for name, layer in model.named_children():
            signal = layer(signal)
            if name.startswith("conv"):
                spread.append(f"{signal.std():.3f}")
    print(f"stage {number}:", " ".join(spread))

# %% [markdown] tags=["solution"]
# Without normalization, the signal that reaches the last layer is so small that the
# output hardly depends on the digit.

# %% [markdown]
# **3.** In evaluation mode, batch normalization is a multiplication and an addition per
# channel. Which constants does it use, and where do they come from?

# %% tags=["solution"]
layer = run.build().batch_norm1
scale = layer.weight / (layer.running_var + layer.eps).sqrt()
shift = layer.bias - layer.running_mean * scale
x = torch.randn(2, 12, 26, 26)
assert torch.allclose(
    layer(x), x * scale[:, None, None] + shift[:, None, None], atol=1e-5
)
print("running_mean and running_var, averages over the batches seen in training")

# %% [markdown]
# ## Next
#
# [Stage 5](05_global_average_pooling.py) replaces the heaviest layer by one without any
# weights.
