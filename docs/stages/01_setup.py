# %% [markdown]
# # 1. How many numbers does it take to read a digit?

# %% tags=["hide-input"]
import bisect
import math
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
replace(figures.network(stage), caption="", folded=None)  # the rest is for stage 2

# %% tags=["hide-input"]
table = summary.summarize(stage.build(), (1, 28, 28))
counts = {row.name: row.params for row in table.rows}
heaviest = sum(sorted(counts.values())[-2:]) / table.total_params
pages.hold_to("Two of seven convolutions hold nine tenths", 0.88 < heaviest < 0.95)
Text(
    "This network reads handwritten digits by multiplying, adding, and picking the "
    "larger of numbers. Training finds what it multiplies by, its **parameters**: "
    f"{table.total_params:,}, drawn as a square for each layer. The last stage needs "
    f"{stages.get(8).parameters:,}."
)

# %% [markdown]
# Two of seven convolutions hold nine tenths. Which, and why?
#
# **You will be able to**
#
# - count the parameters of any convolution, and say what changes them;
# - write a training loop, and prove it before you trust it;
# - say what the test set is for, and why its digits can be easier.
#
# The stages retell a course notebook, *the original*: [Session 7 of
# ERA](https://github.com/Shilpaj1994/ERA/tree/master/Session7).
#
# ## The idea
#
# A convolution lays a **kernel**, a small square of weights, on the image, multiplies
# each pixel by the weight on it, and adds up: one pixel of a new image, a **map**. Then
# it moves on.

# %% tags=["hide-input"]
figures.sliding_kernel(runs.load(3))

# %% [markdown]
# A layer that reads several maps has such a square $w_c$ for each map $c$, and adds up
# all products, perhaps with a **bias** $b$. At the place $(i, j)$:
#
# $$y_{i,j} = b + \sum_{c}\sum_{u,v} w_{c,u,v}\, x_{c,\,i+u,\,j+v}$$

# %% tags=["fold"]
import torch
import torch.nn.functional as F

from mnist_steps import data

digit = data.mnist().full_train.images[:1].float() / 255  # (1, 1, 28, 28)
kernel = torch.tensor([[-1.0, -1, -1], [0, 0, 0], [1, 1, 1]])
patch = digit[0, 0, 6:9, 12:15]  # three rows, three columns
by_hand = (kernel * patch).sum().item()
by_pytorch = F.conv2d(digit, kernel[None, None])[0, 0, 6, 12].item()
print(f"by hand {by_hand:.4f}, by PyTorch {by_pytorch:.4f}")

# %% [markdown]
# So a kernel has $k \times k$ weights for each of the $C_\text{in}$ maps that it reads.
# $C_\text{out}$ new maps take as many kernels, each with one bias:
#
# $$P = k^2 \, C_\text{in} \, C_\text{out} + C_\text{out}$$

# %%
from torch import nn

for c_in, c_out in ((256, 512), (512, 1024)):  # conv5 and conv6, the two
    layer = nn.Conv2d(c_in, c_out, kernel_size=3)
    counted = layer.weight.numel() + layer.bias.numel()
    assert counted == 3**2 * c_in * c_out + c_out
    print(f"{c_in} maps → {c_out:4} maps: {counted:,} parameters")

# %% [markdown]
# The image's size is not in it: all places share one kernel.
#
# ### Learning walks downhill
#
# The network gives each digit a probability $p$. The **loss** $L = -\log
# p_\text{right}$ is zero when it is sure and right; the **gradient** $g$ says how $L$
# changes with each parameter $w$. A step goes against it, by the **learning rate**
# $\eta$; **momentum** $\mu$ keeps part of the last step:
#
# $$v \leftarrow \mu v + g \qquad w \leftarrow w - \eta v$$


# %% tags=["hide-input"]
figures.folded(
    "One step against the gradient, drawn",
    figures.descent(figures.one_step(stages.get(4), rate=0.05, reach=8)),
)


# %%
def train(network, batches, learning_rate=0.01, momentum=0.9):
    optimizer = torch.optim.SGD(network.parameters(), learning_rate, momentum)
    losses = []
    for images, labels in batches:
        optimizer.zero_grad()  # forget the gradient of the batch before
        loss = F.nll_loss(network(images), labels)  # of log-probabilities, (N, 10)
        loss.backward()  # the gradient, for each parameter
        optimizer.step()  # downhill
        losses.append(loss.item())
    return losses


# %% [markdown]
# Is the loop right? What can learn at all can learn a few digits by heart:


# %% tags=["fold"]
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
# A turned digit stays the same digit. So training turns each anew every time, by an
# **affine map**: six numbers that say where in the old picture a new pixel looks:
#
# $$x' = a \, x + b \, y + c \qquad y' = d \, x + e \, y + f$$

# %% tags=["hide-input"]
figures.folded("Turn, enlarge and move a digit", figures.affine_map())

# %%
six = torch.tensor([[[0.78, 0.28, 0.0], [-0.28, 0.78, 0.0]]])  # turns and enlarges
grid = F.affine_grid(six, digit.shape, align_corners=False)  # where to look
turned = F.grid_sample(digit, grid, align_corners=False)

# %% [markdown]
# **What is the test set for?** Training digits are the exercises, test digits the exam.
# Whoever sits it ten times and reports the best mark has practised on it. So one
# chooses on **validation** digits, held back from training.
#
# ## The change

# %% tags=["hide-input"]
recipe = stage.recipe
rate, momentum = recipe.optimizer.lr, recipe.optimizer.momentum
Text(
    "Nothing yet. **Padding**, zeros around a map, keeps its size. The **recipe**: "
    f"batches of {recipe.batch_size}; {recipe.epochs} **epochs**, each through all "
    f"training digits; learning rate {rate}, momentum {momentum}."
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
    "Training digits are known to the network, but turned. Test digits are new, and "
    "stand straight. From the second to the fifth epoch, of which does it read more?",
    (
        "Training digits",
        f"Both alike, within {even} points",
        "Test digits",
    ),
    answer=bisect.bisect((-even, even), early),
    explanation=f"The test digits are ahead by {early:+.2f} percentage points there, "
    f"the mean over {len(made)} seeds; in the last epoch by {ahead[-1]:+.2f}.",
)

# %% [markdown]
# ## What happened
#
# Each dot is one **seed**, which decides all that is random, such as the first weights.

# %% tags=["hide-input"]
figures.beside(figures.seeds([stage]), figures.all_curves([stage]))

# %% tags=["hide-input"]
finals = sorted(one.figures.final for one in made)
error = pages.standard_error(fmean(finals))
Text(
    f"The {len(made)} seeds end between {finals[0]:.2f} and {finals[-1]:.2f} %. A "
    "change that moves one run by as much has shown nothing. Other test digits would "
    f"move it by about {error:.2f} points, the **standard error**. But all networks "
    "read the *same* ones: [pairs](../guides/evaluation.py) tell more."
)

# %% [markdown]
# ## Why
#
# How can the exam be easier? Three things differ; take away one at a time. We ask stage
# 3, of the same recipe: the giant's weights are too large to keep.

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
apart = math.hypot(
    pages.standard_error(standing, len(straight)), pages.standard_error(new)
)
pages.hold_to(
    "are within what chance moves", max(new - standing, turning - learning) < 2 * apart
)
Text(
    f"Standing straight brings {standing - turning:+.2f} points. Having learnt "
    f"({turning - learning:+.2f}) and being new ({new - standing:+.2f}) "
    "are within what chance moves. The first row and the last differ in all three."
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
    "Your network reads 98 % of its training digits and 99 % of the test digits. What "
    "do you know?",
    [
        (
            "Nothing yet",
            "Augmentation, and weights that still change, lower the first.",
        ),
        (
            "It knew the test digits",
            "It may have, but you see the same without it, as in the table above.",
        ),
        (
            "It reads new digits better",
            f"Asked in the same way, it does not: {len(straight):,} tell no more.",
        ),
    ],
    answer=0,
)

# %% tags=["hide-input"]
pages.check(
    "You train ten networks and report the one with the best test accuracy. What is "
    "wrong with its figure?",
    [
        ("Nothing", "But one was picked, for its luck."),
        ("It is too high", "The best of ten is good, and lucky as well."),
        ("It is too low", "Picking the best can only raise a figure."),
    ],
    answer=1,
)

# %% [markdown]
# ## Exercises
#
# **1.** Which layer multiplies most? Guess, then compute.

# %% [markdown] tags=["hint"]
# Each weight is used once at each place of the layer's output.

# %% tags=["solution"]
for name, layer in stage.build().named_children():
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
# **3.** *A training broken on purpose.* One line of the loop is gone. Which?

# %% tags=["hide-input"]
network = small_network()
optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
broken = []
for _ in range(300):
    loss = F.nll_loss(network(images), labels)
    loss.backward()
    optimizer.step()
    broken.append(loss.item())
figures.folded(
    "The loss of both, drawn",
    figures.loss_by_step({"sound": losses, "broken": broken}, steps=300),
)

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
run = runs.load_or_train(1)
pages.results(run)

# %% [markdown] tags=["audit"]
# Eight that it got wrong, and was most sure of. Would you have read them?

# %% tags=["audit"]
figures.mistakes(run, count=8)

# %% tags=["audit"]
figures.confusion(run)

# %% tags=["audit"]
pages.provenance(run, steps=1, images=300)

# %% [markdown]
# ## Next
#
# It works, and is a giant. [Stage 2](02_skeleton.py) plans a network from its end.
