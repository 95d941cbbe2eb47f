# %% [markdown]
# # 8. The learning-rate schedule
#
# A large learning rate travels fast and cannot stand still; a small one stands still
# and does not travel. A schedule has both, one after the other. The last of the eight
# stages changes nothing but the learning rate over time.
#
# **You will learn** the one-cycle schedule, and to ask of a success whether it would
# happen again.
#
# **Know first** the restless end of [stage 7](07_capacity.py).
#
# ## Target
#
# - 99.4 % on the test digits, steadily in the last epochs.
# - Within fifteen epochs, with fewer than eight thousand parameters.

# %%
import bisect
import statistics

import torch

from mnist_steps import augment, data, figures, pages, runs, stages, summary
from mnist_steps.markup import Text

stage, before = stages.get(8), stages.get(7)

# %% [markdown]
# ## The model
#
# The very network of stage 7.

# %%
assert stage.model is before.model
pages.source(stage.model)

# %% [markdown]
# ### Layer by layer

# %%
table = summary.summarize(stage.build(), (1, 28, 28))
table

# %%
pages.field_claims(stage)

# %% [markdown]
# ## The recipe
#
# One line differs, and it holds a surprise: the schedule's *peak* is the constant rate
# of stage 7. At every other moment this training is slower than the one before.

# %%
pages.recipe(stage, before)

# %%
run, old = runs.load_or_train(8), runs.load_or_train(7)
figures.learning_rates([old, run])

# %%
images = data.mnist().full_train.images[64:72].float() / 255
generator = torch.Generator().manual_seed(7)
figures.digits(
    torch.cat((images, augment.augment(images, stage.recipe.augmentation, generator))),
    ["before"] * 8 + ["after"] * 8,
    alt="Eight digits, above as they are, below slightly turned and stretched.",
)

# %% [markdown]
# ## Training

# %%
pages.provenance(run)

# %% tags=["hide-input"]
at_target = sum(accuracy >= 99.4 for accuracy in run.last_three_test_accuracies)
pages.predict(
    "The same network as in stage 7, and on average a smaller learning rate. How many "
    "of the last three epochs reach the target of 99.4 %?",
    ("None of them", "One or two", "All three"),
    answer=bisect.bisect((1, 3), at_target),
    explanation="The last three had "
    + ", ".join(f"{accuracy:.2f}" for accuracy in run.last_three_test_accuracies)
    + f" %: {at_target} of them reach it. At the end of the schedule the steps are "
    "tiny, so these three networks are nearly one and the same: they tend to pass, or "
    "fail, together.",
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
last_three = run.last_three_test_accuracies
claimed = ", ".join(f"{accuracy:.2f}" for accuracy in stage.claim.test_accuracies[-3:])
held = sum(accuracy >= 99.4 for accuracy in last_three)
spread = statistics.stdev(epoch.test_accuracy for epoch in run.epochs[-5:])
restless = statistics.stdev(epoch.test_accuracy for epoch in old.epochs[-5:])
mean_rate = statistics.mean(step.learning_rate for step in run.steps)
gap = run.final_test_accuracy - old.final_test_accuracy
error = pages.standard_error(run.final_test_accuracy)
budget = table.total_params < 8000 and stage.recipe.epochs <= 15
outcome = "is met in this run" if held == 3 and budget else "is **not** met in this run"
Text(f"""
- **The target {outcome}.** The last three epochs had
  {", ".join(f"{accuracy:.2f}" for accuracy in last_three)} %; {held} of 3 are at 99.4 %
  or above, with {table.total_params:,} parameters and {stage.recipe.epochs} epochs. The
  original's last three had {claimed} %.
- **{"A calmer" if spread < restless else "No calmer"} end.** Over the last five epochs
  the test accuracy has a standard deviation of {spread:.3f} points; in stage 7 it was
  {restless:.3f}.
- **Less haste.** The mean learning rate was {mean_rate:.4f}, against a constant
  {before.recipe.optimizer.lr} in stage 7, and the final epoch changed by {gap:+.2f}
  points.
- **One seed is one throw.** The standard error is {error:.3f} points, and the target
  lies {run.final_test_accuracy - 99.4:+.2f} points from the result. A network whose
  true accuracy is exactly 99.4 % would miss it every other time.
""")

# %% [markdown]
# **What this stage confounds:** the shape of the schedule and the total distance
# travelled. A constant rate at the schedule's mean would be the fair opponent.
#
# ## Exercises
#
# **1.** Where does the schedule start, peak and end? Find the steps.

# %% tags=["solution"]
rates = [step.learning_rate for step in run.steps]
peak = rates.index(max(rates))
print(
    f"start {rates[0]:.5f}, peak {rates[peak]:.5f} at step {peak} "
    f"({peak / len(rates):.0%}), end {rates[-1]:.1e}"
)

# %% [markdown]
# **2.** The original's eight test accuracies are best epochs. Replace them by final
# epochs: which stages of the original would still count as at 99.4 %?

# %% tags=["solution"]
for each in stages.STAGES[:8]:
    best, final = each.claim.best_test_accuracy, each.claim.final_test_accuracy
    print(
        f"stage {each.number}: best {best:.2f}, final "
        f"{final:.2f}{'  at 99.4' if final >= 99.4 else ''}"
    )

# %% [markdown]
# **3.** How sure is one run? Compute the interval that a result like this one leaves
# for the true accuracy, two standard errors to each side.

# %% tags=["solution"]
low, high = run.final_test_accuracy - 2 * error, run.final_test_accuracy + 2 * error
print(f"{low:.2f} % to {high:.2f} %")
images_per_point = 100**2 * 0.994 * 0.006 / 0.01**2
print(
    f"to know it to 0.01 points one would need about {images_per_point / 1e6:.1f} "
    "million test images"
)

# %% [markdown]
# ## Next
#
# Eight steps, from millions of parameters to fewer than eight thousand. Why the field
# of a layer matters, and how to compute it for any network, is the subject of the
# [guide to receptive fields](../guides/receptive_field.py).
