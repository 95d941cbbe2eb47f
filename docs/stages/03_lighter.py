# %% [markdown]
# # 3. Why does it do nothing at first?

# %% tags=["hide-input"]
import bisect
import math
from dataclasses import replace
from statistics import fmean

from mnist_steps import evaluation, figures, pages, runs, stages, summary, training
from mnist_steps.experiments import registry
from mnist_steps.experiments.study import Store
from mnist_steps.figures.style import PALETTE, axes_row, finish
from mnist_steps.markup import Text

stage, before = stages.get(3), stages.get(2)
run, larger = runs.load_or_train(3), runs.load_or_train(2)
figures.loss_by_step([larger, run], steps=450)


# %% tags=["hide-input"]
def standstill(run):
    """Steps until the loss is a tenth below that of a guess."""
    losses = [step.loss for step in run.steps]
    return next(n for n, loss in enumerate(losses) if loss < 0.9 * math.log(10))


per_epoch = len(run.steps) // len(run.epochs)
Text(
    "This stage keeps the shape of stage 2, with "
    f"{before.parameters / stage.parameters:.0f} times fewer parameters. For "
    f"{standstill(run)} steps, {standstill(run) / per_epoch:.1f} epochs, nothing "
    "happens; then it learns."
)

# %% [markdown]
# What holds it up? The first suspect is only half the answer.
#
# **You will be able to**
#
# - say what a loss of $\log 10$ means;
# - compute what a layer, and its width, does to the size of a signal;
# - tell a cause from a companion.
#
# ## The idea
#
# A guess gives each of ten digits a tenth. Its [loss](01_setup.py) is $-\log
# \tfrac{1}{10} = \log 10$, the green line above. While it stays there, the answer does
# not depend on the digit.
#
# ### The way forward
#
# A unit adds up $n$ products of a weight and an input; $n = k^2 C_\text{in}$ is its
# **fan-in**. The first weights are random, half of them negative, so most of a sum
# cancels. On average this is left of the square:
#
# $$\overline{y^2} = n \cdot \operatorname{Var}(w) \cdot \overline{x^2}$$
#
# PyTorch draws weights evenly between $-1/\sqrt{n}$ and $1/\sqrt{n}$; their variance is
# $1/(3n)$. The $n$ cancels: a convolution leaves a third of the square, *however wide
# it is*, and a ReLU takes half of that:

# %%
import torch
from torch import nn

torch.manual_seed(0)
for width in (12, 48):
    signal = torch.randn(4, width, 32, 32)
    for _ in range(7):
        signal = nn.Conv2d(width, width, 3, bias=False)(signal).relu()
    left = signal.pow(2).mean().sqrt()
    print(f"{width} channels, 7 layers: {left:.5f} of 1 is left")
print(f"expected:               {(1 / 6) ** (7 / 2):.5f}")

# %% [markdown]
# So it is in our networks, before any step:

# %% tags=["hide-input"]
signals = {f"stage {n}": figures.signal_at_start(stages.get(n)) for n in (2, 3, 4)}
figures.signal(signals)

# %% [markdown]
# ### The way back
#
# The gradient comes back through the same weights, and fades with them. A small step,
# of rate $\eta$, changes the loss by
#
# $$\Delta L \approx -\eta \, (g_1^2 + g_2^2 + \dots)$$
#
# with a square for each parameter. Call the sum the **pull**: a few large gradients
# make a strong one, and so do very many small ones.

# %% tags=["fold"]
import torch.nn.functional as F

from mnist_steps import data, models

first = data.mnist().full_train[:128]
images = (first.images.float() / 255 - 0.1307) / 0.3081


def pull(model):
    loss = F.nll_loss(model.train()(images), first.labels)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    return sum(gradient.pow(2).sum().item() for gradient in gradients)


torch.manual_seed(8)
print(f"stage 3, before its first step: {pull(models.LighterNet()):.6f}")

# %% [markdown]
# ## The change

# %% tags=["hide-input"]
pages.hold_to("The recipe stays", stage.recipe == before.recipe)
Text(
    "Fewer channels; a convolution more before the pooling and at the end; no ReLU "
    "behind conv4 and conv8. The recipe stays."
)

# %% tags=["hide-input"]
figures.folded("Both networks, drawn", figures.network_change(before, stage))

# %% tags=["hide-input"]
pages.model_difference(before, stage)

# %% [markdown]
# ## Predict

# %% tags=["hide-input"]
made = Store().outcomes(stage)
still = {  # whole epochs at the loss of a guess, by seed
    one.seed: sum(loss > 0.98 * math.log(10) for loss in one.epochs["train_loss"])
    for one in made
}
some, many = 2, 4
pages.predict(
    f"{len(made)} trainings differ in their seed alone: other first weights, another "
    "order of the digits. How many whole epochs does the slowest of them stand still?",
    (f"At most {some}", f"{some + 1} or {many}", f"{many + 1} or more"),
    answer=bisect.bisect((some + 0.5, many + 0.5), max(still.values())),
    explanation=f"{max(still.values())}, and the quickest {min(still.values())}. All "
    f"of them: {', '.join(map(str, sorted(still.values())))}.",
)

# %% [markdown]
# ## What happened

# %% tags=["hide-input"]
figures.beside(
    figures.all_curves([stage], of="train_loss"), figures.seeds([before, stage])
)

# %% tags=["hide-input"]
finals, finals_before = (
    [one.figures.final for one in each] for each in (made, Store().outcomes(before))
)
lowest = min(finals_before) - max(finals)
pages.hold_to("every one below every seed of stage 2", lowest > 0)
Text(
    "All get going, then learn alike. They end "
    f"{fmean(finals_before) - fmean(finals):.2f} points lower on average, "
    "every one below every seed of stage 2."
)

# %% tags=["hide-input"]
figures.folded("Digits that are newly right or wrong", pages.newly(before, stage))

# %% [markdown]
# ## Why

# %% tags=["hide-input"]
faded = {
    name: one.activations[0] / one.activations[-1] for name, one in signals.items()
}
pages.hold_to("It fades in stage 2 as well", faded["stage 2"] > 100)
pages.hold_to(
    "a single weight's gradient is no larger there",
    fmean(signals["stage 2"].gradients) < 1.1 * fmean(signals["stage 3"].gradients),
)
pulls = {}
for number in (2, 3, 4):
    torch.manual_seed(8)
    pulls[number] = pull(stages.get(number).build())
Text(
    "The first suspect is the fading signal. Through stage 3 it shrinks "
    f"{faded['stage 3']:,.0f}-fold. It fades in stage 2 as well, "
    f"{faded['stage 2']:,.0f}-fold, and a single weight's gradient is no larger there. "
    f"Yet stage 2 stands still for {standstill(larger)} steps, stage 3 for "
    f"{standstill(run)}: fading alone does not explain that. But stage 2 has "
    f"{before.parameters / stage.parameters:.0f} times as many weights, and "
    f"{pulls[2] / pulls[3]:.0f} times the pull."
)

# %% [markdown]
# Is it the pull? Each seed draws other weights, and has another pull:

# %% tags=["hide-input"]
first_pull = {}
for seed in still:
    torch.manual_seed(seed)
    first_pull[seed] = pull(stage.build())
figure, (axes,) = axes_row(4.6, 1.9)
axes.plot(
    list(first_pull.values()),
    list(still.values()),
    "o",
    color=PALETTE["test"],
    alpha=0.75,
)
axes.set_xscale("log")
axes.set(
    xlabel="pull before the first step",
    ylabel="epochs of standstill",
    ylim=(0, max(still.values()) + 0.6),
)
listed = "; ".join(
    f"{first_pull[seed]:.1e} and {still[seed]}"
    for seed in sorted(still, key=first_pull.get)
)
finish(figure, f"For each seed its pull, and its whole epochs of standstill: {listed}.")

# %% tags=["hide-input"]
by_pull = sorted(still, key=first_pull.get)
half = len(by_pull) // 2
weak, strong = (
    fmean(still[seed] for seed in part) for part in (by_pull[:half], by_pull[half:])
)
pages.hold_to(
    "The weaker the first pull, the longer the standstill", weak > 1.5 * strong
)
Text(
    f"The weaker the first pull, the longer the standstill: {weak:.1f} epochs for the "
    f"weaker half of the seeds, {strong:.1f} for the stronger."
)

# %% [markdown]
# The surest test of a cause: change nothing else. **Kaiming initialization** draws the
# first weights with the variance $2/n$. A convolution doubles the square, its ReLU
# halves it, and nothing fades.

# %% tags=["hide-input"]
arms = {arm.name: outcomes for arm, outcomes in registry.get("causes").outcomes()}
kaiming = arms["causes-kaiming-3"]
started = [one for one in kaiming if one.epochs["train_loss"][0] < 0.9 * math.log(10)]
lost = [one for one in kaiming if one.figures.final < 50]
pages.hold_to("So the faint signal was a cause", len(started) > len(kaiming) / 2)
redrawn_pull = {}
for one in kaiming:
    torch.manual_seed(one.seed)
    redrawn = stage.build()
    training.initialize(redrawn, "kaiming")
    redrawn_pull[one.seed] = pull(redrawn)
strongest = sorted(redrawn_pull, key=redrawn_pull.get)[len(kaiming) - len(lost) :]
dead = [one for one in lost if abs(one.epochs["train_loss"][-1] - math.log(10)) < 1e-5]
warning = ""
if lost:
    ends = sorted({f"{one.figures.final:.1f}" for one in lost})
    warning = f" In {len(lost)} of {len(kaiming)} nothing is ever learnt: "
    warning += f"{' or '.join(ends)} % at the end, a guess."
if lost and len(dead) == len(lost):
    warning += " No signal passes the ReLUs any more: the loss is that of a guess."
if lost and {one.seed for one in lost} == set(strongest):
    warning += " The first pull was strongest there: a step can be too long as well."
Text(
    f"Now {len(started)} of {len(kaiming)} seeds get going within the first epoch; "
    f"these end at {fmean(one.figures.final for one in started):.2f} % on average, "
    f"where PyTorch's first weights led to {fmean(finals):.2f} %. "
    f"So the faint signal was a cause; many weights can make up for it.{warning}"
)

# %% [markdown]
# **What this stage confounds:** fewer channels, one layer moved, one added, two ReLUs
# gone. That the channels cost the accuracy is likely, not shown.
#
# ## Check yourself

# %% tags=["hide-input"]
pages.check(
    "For a hundred steps, the loss of ten balanced classes stays at the logarithm of "
    "ten. What do you know?",
    [
        (
            "It is always wrong",
            "That would cost far more: a right class at p = 0.01 costs 4.6.",
        ),
        (
            "Its answer ignores the image",
            "It gives all classes a tenth. Why it does so, you do not know yet.",
        ),
        (
            "The learning rate is zero",
            "One cause of many: a weak pull or wrong labels look alike.",
        ),
    ],
    answer=1,
)

# %% tags=["hide-input"]
pages.check(
    "You double the channels of every layer. How does that change the signal that the "
    "last layer gets, before training?",
    [
        (
            "It is twice as large",
            "There are twice as many products, of smaller weights.",
        ),
        ("It is half as large", "The weights are smaller, but there are more of them."),
        (
            "Not at all, on average",
            "n cancels. The pull grows: there are more weights.",
        ),
    ],
    answer=2,
)

# %% tags=["hide-input"]
pages.check(
    "In stage 2 the signal fades as in stage 3, and it starts to learn far sooner. "
    "What follows?",
    [
        (
            "Fading does not explain the difference between the two",
            "What both have in common cannot tell them apart.",
        ),
        (
            "Fading does no harm",
            "It may do harm to both: only a test that changes it alone can tell.",
        ),
        (
            "More parameters are always better",
            "Two networks that differ in many things say nothing about always.",
        ),
    ],
    answer=0,
)

# %% [markdown]
# ## Exercises
#
# **1.** Between conv8 and conv9 there is no ReLU, so they are one linear map. Merge
# them into one convolution. How large is its kernel, and has it more weights?

# %% [markdown] tags=["hint"]
# Send images through the pair that are zero but for a single one: what comes out is a
# piece of the merged kernel.

# %% tags=["solution"]
model = run.build()
pair = nn.Sequential(model.conv8, model.conv9)
single_ones = torch.eye(12 * 4 * 4).reshape(-1, 12, 4, 4)
with torch.no_grad():
    kernel = pair(single_ones).reshape(12, 4, 4, 10).permute(3, 0, 1, 2)
    inputs = torch.randn(5, 12, 4, 4)
    assert torch.allclose(F.conv2d(inputs, kernel), pair(inputs), atol=1e-4)
weights = model.conv8.weight.numel() + model.conv9.weight.numel()
print(f"{tuple(kernel.shape[2:])}: {kernel.numel()} weights in place of {weights}")

# %% [markdown] tags=["solution"]
# The pair can do nothing that the one kernel could not, but with fewer weights.

# %% [markdown]
# **2.** Test digits are normalized by other constants than training digits, a slip of
# the original. How many of the recorded network's answers does it change?

# %% [markdown] tags=["hint"]
# `evaluation.evaluate(model, split, recipe)` judges; `dataclasses.replace` makes a
# recipe with another `normalize_test`.

# %% tags=["solution"]
recipe, test = stage.recipe, data.mnist().test[:2000]  # the first of them
alike = replace(recipe, normalize_test=recipe.normalize_train)
as_it_was, put_right = (
    evaluation.evaluate(model, test, one) for one in (recipe, alike)
)
print(f"{as_it_was.accuracy:.2f} % as it was, {put_right.accuracy:.2f} % put right")
print((as_it_was.predictions != put_right.predictions).sum().item(), "answers differ")

# %% [markdown] tags=["solution"]
# Half of the slip is a change of scale, and without biases all scores grow alike with
# their image: the order of the ten stays. What is left is a small shift.

# %% [markdown]
# **3.** *A training broken on purpose.* Here the loss stands still for ever, without a
# tremble, although each batch holds other digits. What is wrong with the first weights?


# %% tags=["hide-input"]
def losses_of(first_weights):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 5, stride=3, bias=False), nn.ReLU(),
        nn.Conv2d(8, 10, 8, bias=False), nn.Flatten(), nn.LogSoftmax(dim=1),
    )  # fmt: skip
    for weight in model.parameters():
        first_weights(weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    part, losses = data.mnist().full_train[:9600], []
    for images, labels in zip(
        part.images.split(64), part.labels.split(64), strict=True
    ):
        optimizer.zero_grad()
        loss = F.nll_loss(model((images.float() / 255 - 0.1307) / 0.3081), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


sound, broken = losses_of(lambda weight: None), losses_of(nn.init.zeros_)
assert max(broken) - min(broken) < 1e-6
figures.loss_by_step({"sound": sound, "broken": broken}, steps=150)

# %% [markdown] tags=["hint"]
# When is the answer *exactly* the same for every image? And what is the gradient of
# $w_1 w_2 x$ by $w_1$ when $w_2$ is that?

# %% [markdown] tags=["solution"]
# They are all zero. So is every output, and each digit gets exactly a tenth. The
# gradient of each weight has the other layer's weights as a factor: zero as well. In
# stage 3 the weights were small, here the pull is nothing at all.

# %% [markdown] tags=["audit"]
# ## The audit
#
# ### Every layer

# %% tags=["audit"]
summary.summarize(stage.build(), (1, 28, 28))

# %% tags=["audit"]
pages.field_claims(stage)

# %% [markdown] tags=["audit"]
# The original takes the last kernel for one of three pixels. It has two, and adds one
# jump to the field.
#
# Its author first tried the layers of stage 2 with fewer channels, found that poor, and
# moved a convolution to before the pooling.
#
# ### The whole recipe

# %% tags=["audit"]
pages.recipe(stage)

# %% [markdown] tags=["audit"]
# ### The result, and what the original claimed

# %% tags=["audit"]
pages.results(run)

# %% [markdown] tags=["audit"]
# The original reads it as room to learn that the test accuracy is above the training
# accuracy. [Stage 1](01_setup.py#why) shows why that says nothing.

# %% tags=["audit"]
figures.curves(run)

# %% tags=["audit"]
figures.mistakes(run)

# %% tags=["audit"]
figures.confusion(run)

# %% tags=["audit"]
pages.provenance(run, steps=3)

# %% [markdown]
# ## Next
#
# [Train this network in your browser](../lab.md#preset=3), and watch it stand still.
# Larger first weights help once. [Stage 4](04_batch_norm.py) has a layer that sees to
# the signal at every step.
