# %% [markdown]
# # 3. Why does it do nothing for an epoch?

# %% tags=["hide-input"]
import math

from mnist_steps import figures, pages, runs, stages

stage, before = stages.get(3), stages.get(2)
run, larger, normalized = (runs.load_or_train(number) for number in (3, 2, 4))
figures.loss_by_step([run, larger, normalized], steps=400)

# %% tags=["hide-input"]
from mnist_steps.markup import Text


def leaves(run):
    """The first step whose loss is a tenth below that of a guess."""
    losses = [step.loss for step in run.steps]
    return next((n for n, loss in enumerate(losses) if loss < 0.9 * math.log(10)), None)


per_epoch = len(run.steps) // len(run.epochs)
Text(
    "This stage keeps the shape of stage 2 and an eighteenth of its parameters. It "
    f"learns, in the end. But for {leaves(run)} steps, {leaves(run) / per_epoch:.1f} "
    "epochs, the loss does not move, and then it falls as if nothing had been in its "
    "way. What was?"
)

# %% [markdown]
# **You will be able to**
#
# - read a loss that stands still;
# - compute what one layer does to the size of a signal, and what width does to it;
# - tell a cause from something that only comes along with it.
#
# You need the loss, the gradient and the parameters of [stage 1](01_setup.py).
#
# ## The idea
#
# ### The loss of a guess
#
# Who knows nothing gives each of ten digits a tenth. That costs
#
# $$L = -\log \tfrac{1}{10} = \log 10$$

# %%
import torch
import torch.nn.functional as F

scores = torch.zeros(1, 10)  # all alike
print(f"{F.cross_entropy(scores, torch.tensor([7])):.4f} = {math.log(10):.4f}")

# %% [markdown]
# It is the dotted line above. A loss that stays there says: the answer is the same,
# whatever the digit.
#
# ### What a layer does to a signal
#
# A unit adds up $n$ products of a weight and an input; $n = k^2 C_\text{in}$ is its
# **fan-in**. The first weights are random, some above and some below zero, so much of
# the sum cancels. What is left has, on average, the square
#
# $$\operatorname{E}[y^2] = n \cdot \operatorname{Var}(w) \cdot \operatorname{E}[x^2]$$
#
# PyTorch draws weights evenly from $-1/\sqrt{n}$ to $1/\sqrt{n}$. Their variance is
# $1/(3n)$, and $n$ cancels: a layer leaves a third of the square, and a ReLU behind it,
# which takes the negative ones away, half of that. Wide or narrow makes no difference.

# %%
from torch import nn


def left_after(layers, width):
    torch.manual_seed(0)
    signal = torch.randn(8, width, 32, 32)
    for _ in range(layers):
        signal = nn.Conv2d(width, width, 3, bias=False)(signal).relu()
    return signal.pow(2).mean().sqrt().item()


for width in (12, 64):
    print(f"{width} channels: {left_after(7, width):.5f}, expected {6**-3.5:.5f}")

# %% [markdown]
# In our networks it is no different. This is how much the values behind each
# convolution still differ from digit to digit, before any training:

# %% tags=["hide-input"]
figures.signal([before, stage, stages.get(4)])

# %% [markdown]
# ### What comes back
#
# The gradient takes the same way back, through the same weights, and fades like the
# signal. How much a small step lowers the loss depends on all of them:
#
# $$\Delta L \approx -\eta \sum_i g_i^2$$
#
# A sum over all parameters: so it matters how small each gradient is, *and how many
# there are*.

# %%
from mnist_steps import data

first = data.mnist().full_train[:256]
images = (first.images.float() / 255 - 0.1307) / 0.3081


def squared_gradient(model):
    model.train()
    F.nll_loss(model(images), first.labels).backward()
    return sum(weight.grad.pow(2).sum() for weight in model.parameters()).item()


for number in (2, 3, 4):
    torch.manual_seed(8)
    print(f"stage {number}: {squared_gradient(stages.get(number).build()):.6f}")

# %% [markdown]
# ## The change

# %% tags=["hide-input"]
figures.network_change(before, stage)

# %% tags=["hide-input"]
pages.model_difference(before, stage)

# %% tags=["hide-input"]
pages.recipe_change(before, stage)

# %% [markdown]
# Fewer channels everywhere; one convolution moved to before the pooling, and one more at
# the end. Look also for the ReLUs that are *not* there, behind conv4 and conv8.
#
# ## Predict

# %% tags=["hide-input"]
import bisect

from mnist_steps.experiments.study import Store

made, earlier = (Store().outcomes(each) for each in (stage, before))


def epochs_still(outcome):
    """How many whole epochs pass at the loss of a guess."""
    losses = outcome.epochs["train_loss"]
    return next((n for n, loss in enumerate(losses) if loss < 0.98 * math.log(10)), len(losses))


still = sorted(map(epochs_still, made))
close, far = 1, 3
pages.predict(
    f"{len(made)} trainings differ in nothing but their seed: in the first weights and the order "
    "of the digits. How far apart are the moments when they get going?",
    (
        f"At most {close} epoch",
        f"Up to {far} epochs",
        f"More than {far} epochs",
    ),
    answer=bisect.bisect((close + 0.5, far + 0.5), still[-1] - still[0]),
    explanation=f"One stands still for {still[0]} whole epochs, another for {still[-1]}: {', '.join(map(str, still))}.",
)

# %% [markdown]
# ## What happened
