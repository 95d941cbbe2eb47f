# %% [markdown]
# # 1. The setup
#
# Every experiment stands on a pipeline: images come in, a network trains, numbers come
# out. If the pipeline is wrong, every later number is wrong too. So the first stage
# takes a network that is far too large to fail, and puts all the care into everything
# around it.
#
# The eight stages retell a course notebook, [Session 7 of
# ERA](https://github.com/Shilpaj1994/ERA/tree/master/Session7): these pages call it
# *the original*. It trained each network once; what it claimed stands beside what we
# measured.
#
# **You will learn** to load MNIST, to augment a whole batch at once, to write a
# training loop and a test loop, and to read the results with the right amount of
# suspicion.
#
# **Know first** what a convolution, a loss and an optimizer are. One semester of
# PyTorch is plenty.
#
# ## Target
#
# - Extract, transform and load the data, and look at it.
# - A network that works, however large.
# - A training loop and a test loop that every later stage can keep.

# %%
import bisect
import time

import torch
import torchvision
from torch.utils.data import DataLoader, Subset
from torchvision import transforms

from mnist_steps import (
    augment,
    data,
    evaluation,
    figures,
    pages,
    runs,
    stages,
    summary,
    training,
)
from mnist_steps.markup import Text

stage = stages.get(1)

# %% [markdown]
# ## Extract: the data
#
# The data set comes with the package, so nothing is downloaded. Images are bytes: paper
# is the smallest value, ink the largest.

# %%
mnist = data.mnist()
print(
    "training images ",
    tuple(mnist.full_train.images.shape),
    mnist.full_train.images.dtype,
)
print(
    "training labels ",
    tuple(mnist.full_train.labels.shape),
    mnist.full_train.labels.dtype,
)
print("test images     ", tuple(mnist.test.images.shape))

# %%
figures.digits(
    mnist.full_train.images[:16],
    [str(label.item()) for label in mnist.full_train.labels[:16]],
    alt="The first sixteen training digits, each with its label above it.",
)

# %% [markdown]
# Two more splits exist for choices. Whoever compares ten networks on the test set and
# keeps the best has trained on the test set, a little. Choices belong on the validation
# split; the test set only answers at the end.

# %%
print(
    "to choose on:",
    len(mnist.train),
    "for training,",
    len(mnist.validation),
    "for validation",
)

# %% [markdown]
# ## Transform: the way everybody knows
#
# This is the pipeline of most PyTorch tutorials, and of the original of this one: a
# transform for one image, a data set that applies it, a loader that collects batches.
# It reads the very same files.

# %%
per_image = transforms.Compose(
    [
        transforms.RandomApply([transforms.CenterCrop(22)], p=0.1),
        transforms.Resize((28, 28)),
        transforms.RandomRotation((-15.0, 15.0), fill=0),
        transforms.ToTensor(),
        transforms.Normalize((0.1307,), (0.3081,)),
    ]
)
data.unpack()
classic = torchvision.datasets.MNIST(data.root(), train=True, transform=per_image)
few = Subset(classic, range(4096))

start = time.perf_counter()
for _ in DataLoader(few, batch_size=stage.recipe.batch_size, shuffle=True):
    pass
classic_seconds = time.perf_counter() - start

# %% [markdown]
# It works, one image at a time. But each of these transforms only moves pixels, and
# moving pixels is an affine map: six numbers that say where in the input each output
# pixel looks. A crop is such a map, a rotation is one, and both together are again one.
# So a whole batch can be moved in a single call, with its own random map for every
# image.

# %%
pages.source(augment.batch_affine)

# %%
generator = torch.Generator().manual_seed(0)
start = time.perf_counter()
for chosen in torch.randperm(4096, generator=generator).split(stage.recipe.batch_size):
    images = mnist.full_train.images[chosen].float() / 255
    images = augment.augment(images, stage.recipe.augmentation, generator)
    images = evaluation.normalize(images, stage.recipe.normalize_train)
ours_seconds = time.perf_counter() - start

# %% tags=["hide-input"]
Text(
    f"Measured in this build: the loader took **{classic_seconds:.2f} s** for "
    f"{len(few):,} images, batches cut from memory took **{ours_seconds:.2f} s**, "
    f"{classic_seconds / ours_seconds:.0f} times less. That is why training here has "
    "no loader."
)

# %% [markdown]
# Before and after: with a small probability the centre is cut out and enlarged, then
# everything is turned by a random angle.

# %%
before = mnist.full_train.images[:8].float() / 255
generator = torch.Generator().manual_seed(4)
after = augment.augment(before, stage.recipe.augmentation, generator)
figures.digits(
    torch.cat((before, after)),
    ["before"] * 8 + ["after"] * 8,
    alt="Eight digits, above as they are, below turned by up to fifteen degrees, some "
    "enlarged.",
)

# %% [markdown]
# ## The model
#
# Two columns stand beside the layers: the size of the layer's output, and its
# **receptive field**, the width in input pixels of the square that one of its units can
# see.

# %%
pages.source(stage.model)

# %% [markdown]
# ### Layer by layer

# %%
table = summary.summarize(stage.build(), (1, 28, 28))
table

# %% [markdown]
# The original wrote its own receptive fields beside the layers. Here they are beside
# ours, which are computed from the network.

# %%
pages.field_claims(stage)

# %% [markdown]
# The original doubled the field at each pooling. But a pooling of two by two lets a
# unit see just one more step of the grid below. What doubles is the **jump**, the
# distance between neighbouring units, and so every later kernel reaches twice as far.
#
# ## The recipe

# %%
pages.recipe(stage)

# %% [markdown]
# One line deserves a second look: test images are normalized with other constants than
# training images. It is a slip of the original, and all eight stages keep it. Each set
# was scaled by its own statistics, so the network sees test digits with a little less
# contrast than those it learnt from. [Stage 3](03_lighter.py) measures what that costs.
#
# ## Training
#
# This is the whole loop. Read it once slowly: every later stage uses it unchanged.

# %%
pages.source(training.train_epoch)

# %%
pages.source(evaluation.log_probabilities)

# %% [markdown]
# Training this network takes long on a CPU, so the page shows a **record**: a run made
# with exactly this code, saved with the package. To prove that it belongs to today's
# code, every build of this page trains the first steps again and compares the losses.
# The line below says how that went; `mnist-steps train 1` trains the whole of it on
# your machine.

# %%
run = runs.load_or_train(1)
pages.provenance(run, steps=2)

# %% tags=["hide-input"]
final = run.epochs[-1]
ahead = final.test_accuracy - final.train_accuracy
even = 0.1
pages.predict(
    "Training digits are turned and cropped, test digits are not. In the final epoch, "
    "of which does the network get more right?",
    (
        "Of the training digits, which it has seen before",
        f"Of both the same share, within {even} percentage points",
        "Of the test digits, although it has never seen them",
    ),
    answer=bisect.bisect((-even, even), ahead),
    explanation=f"Training {final.train_accuracy:.2f} %, test "
    f"{final.test_accuracy:.2f} %. Two forces pull: digits seen before are easier, and "
    "turned or cropped digits are harder. Moreover, training accuracy is counted while "
    "the weights still change, test accuracy after the epoch's last step.",
)

# %% [markdown]
# ## Results

# %%
pages.results(run)

# %%
figures.curves(run)

# %% [markdown]
# Which digits does it still get wrong? Those with the most misplaced confidence come
# first.

# %%
figures.mistakes(run)

# %%
figures.confusion(run)

# %% [markdown]
# ## Analysis

# %% tags=["hide-input"]
last_two = sum(row.params for row in table.rows if row.name in ("conv5", "conv6"))
error = pages.standard_error(run.final_test_accuracy)
final = run.epochs[-1]
Text(f"""
- **It is enormous.** {table.total_params:,} parameters for ten digits,
  {last_two / table.total_params:.0%} of them in conv5 and conv6 alone. One image costs
  {table.total_macs / 1e6:.0f} million multiplications.
- **The pipeline works.** The final test accuracy is {run.final_test_accuracy:.2f} %,
  with a best epoch of {run.best_test_accuracy:.2f} %; the original reported
  {stage.claim.best_test_accuracy:.2f} %.
- **Test beats training** by {final.test_accuracy - final.train_accuracy:+.2f}
  percentage points, and that is no miracle: training accuracy is measured on turned and
  cropped digits, while the weights still change.
- **How sure are we?** On ten thousand images, an accuracy of
  {run.final_test_accuracy:.2f} % has a standard error of {error:.3f} points from the
  choice of images alone. The difference of two networks has a larger one, by the root
  of two, as long as nobody looks at *which* digits each of them reads: both read the
  same digits here, and [paired](../guides/evaluation.py) they tell more.
""")

# %% [markdown]
# **What this stage confounds:** nothing yet, for there is nothing to compare it with.
# That changes on the next page, where five things move at once.
#
# ## Exercises
#
# **1.** Which layer holds the most parameters, and which does the most arithmetic?
# Guess before you compute.

# %% tags=["solution"]
most_parameters = max(table.rows, key=lambda row: row.params)
most_arithmetic = max(table.rows, key=lambda row: row.macs)
print(f"most parameters: {most_parameters.name}, {most_parameters.params:,}")
print(
    f"most arithmetic: {most_arithmetic.name}, {most_arithmetic.macs:,} multiplications"
)

# %% [markdown] tags=["solution"]
# A kernel early in the network has few weights but is applied at every position; one
# late in the network has many weights and few positions.

# %% [markdown]
# **2.** Rotate one digit by hand. Write the matrix for a quarter turn and apply it with
# `augment.batch_affine`.

# %% tags=["solution"]
quarter = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]])
turned = augment.batch_affine(before[:1], quarter)
assert torch.allclose(turned, torch.rot90(before[:1], 1, dims=(2, 3)), atol=1e-5)
figures.digits(
    torch.cat((before[:1], turned)),
    ["before", "after"],
    columns=2,
    alt="The first digit upright, and turned by ninety degrees.",
)

# %% [markdown]
# **3.** The two sets of constants: compute the mean and the standard deviation of all
# training pixels and of all test pixels. Which constants of the recipe are which?

# %% tags=["solution"]
for name, split in (("training", mnist.full_train), ("test", mnist.test)):
    pixels = split.images.double() / 255
    print(f"{name}: mean {pixels.mean():.4f}, standard deviation {pixels.std():.4f}")

# %% [markdown]
# ## Next
#
# The network works, and it is a giant. [Stage 2](02_skeleton.py) draws a skeleton that
# all later networks keep.
