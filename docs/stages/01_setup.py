# %% [markdown]
# # 1. How many numbers does it take to read a digit?

# %% tags=["hide-input"]
import bisect
from dataclasses import replace
from statistics import fmean

from mnist_steps import (
    augment,
    evaluation,
    figures,
    pages,
    runs,
    stages,
    summary,
    training,
)
from mnist_steps.experiments.study import Store
from mnist_steps.markup import Text

stage = stages.get(1)
figures.network(stage)

# %% tags=["hide-input"]
table = summary.summarize(stage.build(), (1, 28, 28))
counts = {row.name: row.params for row in table.rows}
heaviest = sum(sorted(counts.values())[-2:]) / table.total_params
pages.hold_to("Two of its seven convolutions hold nine tenths", 0.88 < heaviest < 0.95)
Text(
    "This network reads handwritten digits, and all it does is multiply, add, and "
    "pick the larger of numbers. What it multiplies by are its **parameters**, which "
    f"training finds: {table.total_params:,} of them, drawn as squares. The last stage "
    f"of this tutorial needs {stages.get(8).parameters:,}."
)

# %% [markdown]
# Two of its seven convolutions hold nine tenths. Which two, and why so many? You will
# have computed it in a minute.
#
# **You will be able to**
#
# - count the parameters of any convolution, and say what changes them;
# - write a training loop, and prove it right before you trust it;
# - say what the test set is for, and why its digits can be the easier ones.
#
# One semester of PyTorch is plenty. The eight stages retell a course notebook, [Session
# 7 of ERA](https://github.com/Shilpaj1994/ERA/tree/master/Session7), which we call *the
# original*. What it claimed stands in the audit at the end of each page.
#
# ## The idea
#
# ### A convolution multiplies and adds
#
# A **kernel** is a small square of weights. Lay it on the image, multiply each pixel by
# the weight on top of it, and add up: that is one pixel of a new image, called a
# **map**. Move the kernel on by one, and do it again.

# %% tags=["hide-input"]
figures.sliding_kernel(runs.load(3))

# %% [markdown]
# If there are several maps $c$ to read, the kernel has a square of weights for each. A
# **bias** $b$ may be added at the end:
#
# $$y_{i,j} = b + \sum_{c}\sum_{u,v} w_{c,u,v}\, x_{c,\,i+u,\,j+v}$$

# %%
import torch
import torch.nn.functional as F
from torch import nn

from mnist_steps import data

digit = data.mnist().full_train.images[:1].float() / 255  # (1, 1, 28, 28)
kernel = torch.tensor([[-1.0, -1, -1], [0, 0, 0], [1, 1, 1]])
patch = digit[0, 0, 6:9, 12:15]  # three rows, three columns
print("by hand   ", (kernel * patch).sum().item())
print("by PyTorch", F.conv2d(digit, kernel[None, None])[0, 0, 6, 12].item())

# %% [markdown]
# Now count. A kernel of $k \times k$ has $k^2$ weights for each of the $C_\text{in}$
# maps that it reads, and makes one map. $C_\text{out}$ maps take as many kernels, each
# with one bias:
#
# $$P = k^2 \, C_\text{in} \, C_\text{out} + C_\text{out}$$

# %%
from mnist_steps.models import SetupNet

for name, layer in SetupNet().named_children():
    if isinstance(layer, nn.Conv2d):
        k, c_in, c_out = layer.kernel_size[0], layer.in_channels, layer.out_channels
        formula = k**2 * c_in * c_out + c_out
        assert formula == layer.weight.numel() + layer.bias.numel()
        print(f"{name}  {k}² · {c_in:4} · {c_out:4} + {c_out:4} = {formula:9,}")

# %% [markdown]
# The image's size is not in the formula. The same kernel is used at every place, so a
# larger image costs time, and no parameter.
#
# ### Learning walks downhill
#
# The network gives each of ten digits a probability. The **loss** is $-\log p$ of the
# right one: zero when it is sure and right. The **gradient** $g$ says, for each
# parameter $w$, how the loss changes with it. A step goes against the gradient; the
# **learning rate** $\eta$ says how far, and **momentum** $\mu$ keeps some of the step
# before:
#
# $$L = -\log p_\text{right} \qquad
# v \leftarrow \mu v + g \qquad w \leftarrow w - \eta v$$


# %% tags=["hide-input"]
figures.descent(figures.one_step(stages.get(4), rate=0.05, reach=8))


# %%
def train(network, batches, learning_rate=0.01, momentum=0.9):
    optimizer = torch.optim.SGD(network.parameters(), learning_rate, momentum)
    losses = []
    for images, labels in batches:
        optimizer.zero_grad()  # forget the gradient of the batch before
        log_probabilities = network(images)  # (N, 10)
        loss = F.nll_loss(log_probabilities, labels)
        loss.backward()  # the gradient, for each parameter
        optimizer.step()  # downhill
        losses.append(loss.item())
    return losses


# %% [markdown]
# Is the loop right? Ask something easy of it first: the same few digits, again and
# again. Whatever can learn at all can learn these by heart.


# %%
def small_network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, stride=3), nn.ReLU(),  # 8 maps of 8×8
        nn.Conv2d(8, 10, 8), nn.Flatten(), nn.LogSoftmax(dim=1),
    )  # fmt: skip


few = data.mnist().full_train[:64]
images, labels = few.images.float() / 255, few.labels
network = small_network()
losses = train(network, [(images, labels)] * 300)
right = (network(images).argmax(dim=1) == labels).sum().item()
print(f"loss {losses[0]:.3f} → {losses[-1]:.3f}; {right} of {len(labels)} right")
assert right == len(labels), "a loop that cannot do this has a bug"

# %% [markdown]
# ### One digit, many pictures
#
# A digit that is turned a little is still the same digit. So each time it is shown, it
# is turned anew, and now and then enlarged. Such a move is an **affine map**, six
# numbers. They say, for each pixel of the new picture, where in the old one to look:
#
# $$\begin{pmatrix} x' \\ y' \end{pmatrix} =
# \begin{pmatrix} a & b & c \\ d & e & f \end{pmatrix}
# \begin{pmatrix} x \\ y \\ 1 \end{pmatrix}$$

# %% tags=["hide-input"]
figures.affine_map()

# %%
six = torch.tensor([[[0.78, 0.28, 0.0], [-0.28, 0.78, 0.0]]])  # turns and enlarges
grid = F.affine_grid(six, digit.shape, align_corners=False)  # where to look
turned = F.grid_sample(digit, grid, align_corners=False)

# %% [markdown]
# ### What the test set is for
#
# Training digits are the exercises, test digits the exam. Whoever takes the exam ten
# times and reports the best mark has practised on the exam. So choices are made on
# **validation** digits, a part of the training set that is held back. The test set
# answers at the end.
#
# ## The change
#
# So far there is nothing to change: the picture above is where we begin. Its code is
# in the audit.

# %% tags=["hide-input"]
recipe = stage.recipe
rate, momentum = recipe.optimizer.lr, recipe.optimizer.momentum
Text(
    "**Padding** lays zeros around a map, so that it keeps its size. The **recipe**: "
    f"batches of {recipe.batch_size} digits; {recipe.epochs} **epochs**, each of which "
    f"shows every training digit once; SGD with a learning rate of {rate} and a "
    f"momentum of {momentum}."
)

# %% [markdown]
# ## Predict

# %% tags=["hide-input"]
made = Store().outcomes(stage)
ahead = [  # epoch by epoch, the mean over seeds
    fmean(
        one.epochs["test_accuracy"][epoch] - one.epochs["train_accuracy"][epoch]
        for one in made
    )
    for epoch in range(stage.recipe.epochs)
]
early, even = fmean(ahead[1:5]), 0.1
pages.predict(
    "The network has seen the training digits before, but turned. Test digits are new "
    "to it, and stand straight. From the second to the fifth epoch, of which does it "
    "read more?",
    (
        "Of the training digits",
        f"As many of both, within {even} percentage points",
        "Of the test digits",
    ),
    answer=bisect.bisect((-even, even), early),
    explanation=f"The test digits are ahead by {early:+.2f} percentage points there, "
    f"the mean over {len(made)} seeds; in the last epoch by {ahead[-1]:+.2f}.",
)

# %% [markdown]
# ## What happened
#
# A **seed** decides all that is random: the first weights, the order of the digits, how
# each is turned. Every dot is one seed, and nothing else differs.

# %% tags=["hide-input"]
figures.seeds([stage])

# %% tags=["hide-input"]
finals = sorted(one.figures.final for one in made)
error = pages.standard_error(fmean(finals))
Text(
    f"{len(made)} seeds end between {finals[0]:.2f} and {finals[-1]:.2f} %. A change "
    "that moves a single run by as much has shown nothing. Other test digits would "
    f"move it, too, by about {error:.2f} points: the **standard error** of a share of "
    "ten thousand. But all our networks read the *same* ten thousand. Asking which "
    "digits only one of two gets wrong, [in pairs](../guides/evaluation.py), tells "
    "more."
)

# %% tags=["hide-input"]
figures.all_curves([stage])

# %% tags=["hide-input"]
run = runs.load_or_train(1)
figures.mistakes(run, count=8)

# %% [markdown]
# Eight that it got wrong, and was most sure of. Would you have read them?
#
# ## Why
#
# How can the exam be easier than the exercises? Three things differ, and each can be
# taken away by itself. The giant's weights are too large to keep here, so we ask the
# network of stage 3, which was trained by the same recipe.

# %% tags=["hide-input"]
small = runs.load(3)
finished, alike = small.build(), replace(recipe, normalize_test=recipe.normalize_train)
straight = data.mnist().full_train[:3000]
generator = torch.Generator().manual_seed(0)
moved = augment.augment(straight.images.float() / 255, recipe.augmentation, generator)
moved = data.Split((255 * moved).round().to(torch.uint8), straight.labels)


def accuracy(split):
    return evaluation.evaluate(finished, split, alike).accuracy


learning, turning, standing, new = asked = (
    small.epochs[-1].train_accuracy,
    accuracy(moved),
    accuracy(straight),
    small.final_test_accuracy,
)
names = (
    "training digits, turned, counted while it still learns",
    "training digits, turned, once it has learnt",
    "training digits, standing straight",
    "test digits, standing straight",
)
pages.table(
    ["", "right, in percent"],
    [[name, f"{value:.2f}"] for name, value in zip(names, asked, strict=True)],
    f"One network, asked in four ways; {len(straight):,} of the training digits.",
)

# %% tags=["hide-input"]
pages.hold_to("Asked in the same way, it does not", standing > new)
Text(
    f"Having learnt brings {turning - learning:+.2f} points, standing straight "
    f"{standing - turning:+.2f}, and being new {new - standing:+.2f}. Whoever compares "
    "the first row with the last compares three things at once."
)

# %% [markdown]
# ## Check yourself

# %% tags=["hide-input"]
places, pairs = 14 * 14, 64 * 128
pages.check(
    "A convolution reads 64 maps of 14×14 with kernels of 3×3 and makes 128 maps. It "
    "has biases. How many parameters?",
    [
        (
            f"{9 * 128 + 128:,}",
            "That would do if each kernel read one map. It reads all 64.",
        ),
        (
            f"{9 * pairs + 128:,}",
            "9 weights for each pair of a map read and a map made, and 128 biases.",
        ),
        (
            f"{places * (9 * pairs + 128):,}",
            "That gives each of the 14×14 places a kernel of its own. They share one.",
        ),
    ],
    answer=1,
)

# %% tags=["hide-input"]
pages.check(
    "Which of these makes a convolution's parameters fewer?",
    [
        ("Images of half the size", "Fewer places, but the same kernel at each."),
        ("No padding", "Padding adds places at the border, and no weight."),
        ("Kernels of 3×3 in place of 5×5", "9 weights in place of 25, for each pair."),
    ],
    answer=2,
)

# %% tags=["hide-input"]
pages.check(
    "Your network reads 98 % of its training digits and 99 % of the test digits. What "
    "do you know?",
    [
        (
            "Nothing yet, before both are asked in the same way",
            "Augmentation and weights that still change lower the first of the two.",
        ),
        (
            "It has seen the test digits in training",
            "It may have, but you see the same without it, as in the table above.",
        ),
        (
            "It reads new digits better than known ones",
            "Asked in the same way, it does not: see the last two rows of the table.",
        ),
    ],
    answer=0,
)

# %% tags=["hide-input"]
pages.check(
    "You train ten networks and report the one with the best test accuracy. What is "
    "wrong with its figure?",
    [
        ("Nothing, each network was tested once", "But one was picked, for its luck."),
        ("It is too high, on average", "The best of ten is good, and lucky as well."),
        ("It is too low, on average", "Picking the best can only raise a figure."),
    ],
    answer=1,
)

# %% [markdown]
# ## Exercises
#
# **1.** Which layer holds the most parameters, and which multiplies the most? Guess
# before you compute.

# %% [markdown] tags=["hint"]
# Each weight is used once at each place of the layer's output.

# %% tags=["solution"]
for name, layer in SetupNet().named_children():
    if isinstance(layer, nn.Conv2d):
        height, width = next(r.output_shape[1:] for r in table.rows if r.name == name)
        weights = layer.weight.numel()
        products = weights * height * width
        print(f"{name}: {weights:9,} weights, {products:11,} multiplications")

# %% [markdown] tags=["solution"]
# An early kernel has few weights and many places, a late one many weights and few
# places.

# %% [markdown]
# **2.** Which six numbers turn a digit by a quarter? Compare with `torch.rot90`.

# %% [markdown] tags=["hint"]
# Coordinates go from -1 to 1, $x$ to the right and $y$ down. Where in the old picture
# must the new top right corner look?

# %% tags=["solution"]
quarter = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]])
grid = F.affine_grid(quarter, digit.shape, align_corners=False)
turned = F.grid_sample(digit, grid, align_corners=False)
print(torch.allclose(turned, torch.rot90(digit, 1, dims=(2, 3)), atol=1e-5))

# %% [markdown]
# **3.** *A training broken on purpose.* The same 64 digits, the same network, one line
# of the loop gone. What happens to the loss, and which line was it?

# %% tags=["hide-input"]
network = small_network()
optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
broken = []
for _ in range(300):
    loss = F.nll_loss(network(images), labels)
    loss.backward()
    optimizer.step()
    broken.append(loss.item())
figures.loss_by_step({"sound": losses, "broken": broken}, steps=300)

# %% [markdown] tags=["hint"]
# It begins like the other, even faster. What could grow from step to step, although the
# digits are the same?

# %% [markdown] tags=["solution"]
# `optimizer.zero_grad()` is missing. `backward` *adds* to the gradients that are there,
# so each step goes along the sum of all gradients so far: faster and faster, past the
# valley, and up the other side.

# %% [markdown] tags=["audit"]
# ## The audit
#
# ### Every layer

# %% tags=["audit"]
summary.summarize(stage.build(), (1, 28, 28))

# %% tags=["audit"]
pages.field_claims(stage)

# %% [markdown] tags=["audit"]
# The last column but one is the **receptive field**, how many pixels a unit can see;
# stage 2 explains it. The original doubled the field at each pooling. What doubles is
# the distance between neighbouring units.
#
# ### The code, and the whole recipe

# %% tags=["audit"]
pages.source(stage.model)

# %% tags=["audit"]
pages.recipe(stage)

# %% [markdown] tags=["audit"]
# Test images are normalized by other constants than training images: a slip of the
# original that all eight stages keep. Stage 3 measures what it costs.
#
# ### The loop and the judgement
#
# The loop above, with everything that the stages need:

# %% tags=["audit"]
pages.source(training.train_epoch)

# %% tags=["audit"]
pages.source(evaluation.evaluate)

# %% [markdown] tags=["audit"]
# ### The result, and what the original claimed

# %% tags=["audit"]
pages.results(run)

# %% tags=["audit"]
figures.confusion(run)

# %% tags=["audit"]
pages.provenance(run, steps=1)

# %% [markdown]
# ## Next
#
# It works, and it is a giant. How little of it would do?
# [Stage 2](02_skeleton.py) plans a network from its end.
