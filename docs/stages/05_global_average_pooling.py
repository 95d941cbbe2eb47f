# %% [markdown]
# # 5. Does it matter *where* a stroke was seen?
#
# [Stage 4](04_batch_norm.py) ends with one large kernel, which has a weight for every
# place in the last map: a stroke at the top left counts differently from the same
# stroke at the bottom right. Is that needed? An average treats all places alike, and
# has nothing to learn.

# %% tags=["hide-input"]
import math
import statistics

from mnist_steps import data, evaluation, figures, pages, runs, stages, summary
from mnist_steps.experiments import ablation, evidence, study
from mnist_steps.markup import Text
from mnist_steps.stages import BUDGET, TARGET

stage, before = stages.get(5), stages.get(4)
run, old = runs.load_or_train(5), runs.load_or_train(4)
now, earlier = (study.Store().outcomes(each) for each in (stage, before))
figures.forgetting(old, run)

# %% [markdown]
# **You will be able to**
#
# - say what an average keeps of a map, what it forgets, and which weights it saves;
# - explain why ten runs show a price here that one cannot.
#
# ## The idea
#
# The last convolution here makes ten maps, one for each digit. A unit of the map for
# *seven* says how much of a seven it sees at its place. **Global average pooling**
# takes the mean over the whole map, and that is the digit's score:
#
# $$s_k = \frac{1}{HW} \sum_{i=1}^{H} \sum_{j=1}^{W} x_k(i, j)$$
#
# Here $x_k(i, j)$ is map $k$ in row $i$ of $H$ and column $j$ of $W$. The large kernel
# sums over all places, too, but has a weight to learn for each of them, in each of its
# $C$ maps, for each digit:
#
# $$s_k = \sum_{c=1}^{C} \sum_{i=1}^{H} \sum_{j=1}^{W} w_{k,c}(i, j) \, x_c(i, j)$$

# %%
import torch
from torch import nn

maps = torch.randn(3, 10, 6, 6)  # three images, ten maps each, six by six places
score = maps.mean(dim=(2, 3))  # (3, 10): one number for each map
moved = maps.roll((1, 2), dims=(2, 3))  # all maps: one place down, two to the right

pooled = nn.AvgPool2d(6)(maps).flatten(1)  # PyTorch's name for it
assert torch.allclose(pooled, score, atol=1e-6)  # but for rounding
assert torch.allclose(moved.mean(dim=(2, 3)), score, atol=1e-6)  # the same score
large_kernel = nn.Conv2d(16, 10, 6, bias=False)
print(f"the large kernel: {large_kernel.weight.numel():,} weights")

# %% [markdown]
# `roll` lets in at one edge what leaves at the other: the same numbers in other places.
# The average keeps *how much* was seen, and forgets *where*.

# %% tags=["hide-input"]
test = data.mnist().test[:2000]


def when_moved(run, pixels):
    """How far probability moves, and how many digits are still read, in percent."""
    model, constants = run.build(), run.stage.recipe.normalize_test
    first, second = (
        evaluation.log_probabilities(model, images, constants)
        for images in (test.images, evaluation.shifted(test.images, 0, pixels))
    )
    move = (first.exp() - second.exp()).abs().sum(dim=1).mean() / 2
    right = (second.argmax(dim=1) == test.labels).float().mean()
    return 100 * move.item(), 100 * right.item()


moves = {
    pixels: (when_moved(old, pixels), when_moved(run, pixels)) for pixels in (1, 3)
}

# %% tags=["hide-input"]
(kernel, _), (mean, _) = moves[1]
(_, kernel_reads), (_, mean_reads) = moves[3]
pages.hold_to("both hardly notice", max(kernel, mean) < 2)
pages.hold_to("with the average far more", mean_reads > kernel_reads + 2)
Text(f"""
Move real digits to the right, and ask the trained networks again. By one pixel, both
hardly notice: {kernel:.2f} and {mean:.2f} % of the probability goes to other digits. By
three, the large kernel's network reads {kernel_reads:.1f} % of {len(test):,} test
digits, the one with the average far more: {mean_reads:.1f} %. It loses something, too:
behind the pooling a pixel is half a place, and what is pushed over an edge is gone.
""")

# %% [markdown]
# ## The change

# %% tags=["hide-input"]
figures.network_change(before, stage)

# %% tags=["hide-input"]
large = before.build().conv7.weight.numel()
Text(
    f"The large kernel, `conv7`, had {large:,} of {before.parameters:,} parameters. "
    "The average has none. And `conv6` now makes ten maps, one a digit. "
    f"{stage.parameters:,} parameters are left, fewer than {BUDGET:,} for the first "
    f"time. And batches have {stage.recipe.batch_size} digits in place of "
    f"{before.recipe.batch_size}."
)

# %% tags=["hide-input"]
figures.folded("The lines that differ", pages.model_difference(before, stage))

# %% [markdown]
# ## Predict

# %% tags=["hide-input"]
finals, finals_before = (
    [one.figures.final for one in study.Store().outcomes(each)]
    for each in (stage, before)
)
change = evidence.compare(finals_before, finals)
pages.predict(
    "The heaviest layer is gone, and an average without a single weight takes its "
    f"place. What does that do to the final test accuracy, over {len(finals)} seeds?",
    ("It falls", "It stays, as far as the seeds can tell", "It rises"),
    answer=1 if not change.ranked else 2 * (change.difference > 0),
    explanation=f"The mean changed by {change.difference:+.2f} percentage points (95 % "
    f"interval {change.interval:+.2f}).",
)

# %% [markdown]
# ## What happened

# %% tags=["hide-input"]
figures.beside(figures.seeds([before, stage]), figures.all_curves([before, stage]))

# %% tags=["hide-input"]
fell = change.ranked and change.difference < 0
pages.hold_to("It falls, and another seed does not change that", fell)
pages.hold_to("The budget is met", stage.parameters < BUDGET)
pages.hold_to("the accuracy is not", max(finals) < TARGET)
gap = run.final_test_accuracy - old.final_test_accuracy
Text(f"""
**It falls, and another seed does not change that.** The mean goes down by
{-change.difference:.2f} points (95 % interval {-change.interval.high:.2f} to
{-change.interval.low:.2f}). One run of each could not show it: each lies about
{change.spread:.2f} points from its mean by luck, up or down, and a difference has the
luck of both. With seed {run.seed} it is {gap:+.2f}. The luck of ten nearly cancels.
""")

# %% tags=["hide-input"]
pages.newly(before, stage)

# %% [markdown]
# ## Why

# %% tags=["hide-input"]
learnt = evidence.compare(
    *([one.epochs["train_accuracy"][-1] for one in made] for made in (earlier, now))
)
arm = next(one for one in ablation.effects() if one.arm.name.endswith("-large-kernel"))
equal = arm.comparison
pages.hold_to("no difference that the seeds can tell", not equal.ranked)
pages.hold_to(
    "also reads fewer of its *training* digits", learnt.difference < 0 and learnt.ranked
)
Text(f"""
Lost are the places, and {before.parameters - stage.parameters:,} parameters; and the
batch was halved. Which of them is it?

- The network also reads fewer of its *training* digits, by {-learnt.difference:.2f}
  points. Its **capacity**, what it could represent at best, has become smaller.
- [Later](../beyond/ablation.py) the last network of this tutorial got a large kernel
  again, at equal parameters: no difference that the seeds can tell,
  {equal.difference:+.2f} points (95 % interval {equal.interval.low:+.2f} to
  {equal.interval.high:+.2f}, {arm.runs} seeds).

So it may well have been the parameters, not the places. And what the average is good
at, the test hardly asks for: its digits all stand in the middle.
""")

# %% [markdown]
# ## Check yourself

# %% tags=["hide-input"]
pages.check(
    "In a map of 6 × 6 places one unit has the value 36, all others 0. What is the "
    "average? And if the 36 stood in a corner?",
    [
        ("1, and 1 again", "36 / 36 = 1, wherever the 36 stands."),
        ("36, and 36 again", "That is the maximum. Max pooling would keep it."),
        ("1, and less in a corner", "An average has no weights that differ by place."),
    ],
    answer=0,
)

# %% tags=["hide-input"]
pages.check(
    "`nn.Conv2d(10, 10, 6, bias=False)` gives way to `nn.AvgPool2d(6)`. How many "
    "weights does that save?",
    [
        ("100", "So many would a 1×1 kernel have. This one is 6 × 6."),
        ("360", "6 × 6 × 10 are the weights for one digit only."),
        ("3,600", "6 × 6 places, 10 maps, 10 digits; and the average has none."),
    ],
    answer=2,
)

# %% tags=["hide-input"]
pages.check(
    "You replace a layer, train once before and once after, and the accuracy falls by "
    "a tenth of a point. What do you know?",
    [
        (
            "The new layer is worse",
            "Runs of one network differ by that much, as the dots above show.",
        ),
        (
            "Nothing about the layer yet",
            "Each network needs several seeds, and the difference of their means has "
            "to exceed what seeds do by themselves.",
        ),
        (
            "The new layer is no worse, since the difference is small",
            "Small is not none: that, too, only several seeds could tell.",
        ),
    ],
    answer=1,
)

# %% [markdown]
# ## Exercises
#
# **1.** An average is a convolution whose weights nobody has to learn. Build its
# kernel, and show that it gives what the `gap` layer gives.

# %% [markdown] tags=["hint"]
# The kernel has the shape (10, 10, 6, 6). Score $k$ listens to map $k$ alone: which of
# the 100 pairs of digit and map have weights other than zero? And how large are they?

# %% tags=["solution"]
kernel = torch.zeros(10, 10, 6, 6)
for digit in range(10):
    kernel[digit, digit] = 1 / 36
by_kernel = nn.functional.conv2d(maps, kernel)
assert torch.allclose(by_kernel, stage.build().gap(maps), atol=1e-6)
print(f"{kernel.numel():,} numbers, and not one to learn")

# %% [markdown]
# **2.** In the first test digit, which places of the trained network's map 7 speak for
# a seven, and which against it?

# %% [markdown] tags=["hint"]
# `list(model.children())` has all layers in order. The last three are the average, the
# flattening and the log-softmax. Normalize the image as the recipe does.

# %% tags=["solution"]
model, normalize = run.build(), stage.recipe.normalize_test
seven = normalize(test.images[:1].float() / 255)
with torch.no_grad():
    maps_of_seven = nn.Sequential(*list(model.children())[:-3])(seven)  # (1, 10, 6, 6)
print(maps_of_seven[0, 7].round(decimals=1))
print(f"their average, the score: {maps_of_seven[0, 7].mean():.2f}")

# %% [markdown]
# **3.** *A training broken on purpose.* One word in this copy of the network is wrong.
# The loss begins far too high and never comes near zero, yet digits are read better and
# better. Which word?

# %% tags=["fold"]
torch.manual_seed(8)
network = nn.Sequential(*list(stage.build().children())[:-1], nn.LogSoftmax(dim=0))
optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
train = data.mnist().full_train[:6400]
digits = stage.recipe.normalize_train(train.images.float() / 255)

losses, right = [], []
for images, labels in zip(digits.split(64), train.labels.split(64), strict=True):
    optimizer.zero_grad()
    output = network(images)
    loss = nn.functional.nll_loss(output, labels)
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
    right.append(100 * (output.argmax(dim=1) == labels).float().mean().item())

figures.loss_by_step({"this training": losses}, steps=100)

# %% [markdown] tags=["hint"]
# A network that knows nothing spreads its probability evenly. With ten digits, the loss
# is then $-\log \frac{1}{10}$. Which number takes the place of ten here? What is there
# as many of?

# %% tags=["solution"]
first, last = statistics.fmean(right[:16]), statistics.fmean(right[-16:])
print(f"of the first thousand digits {first:.0f} % are read, of the last {last:.0f} %")
print(f"log 64 is {math.log(64):.2f}, the first loss is {losses[0]:.2f}")
print(f"log 6.4 is {math.log(6.4):.2f}, the last ones {min(losses[-16:]):.2f} and more")

# %% [markdown] tags=["solution"]
# 64 is the number of images in a batch. `LogSoftmax(dim=0)` goes down the batch: for
# each digit the images share the probability among them, instead of ten digits for each
# image. A batch has six or seven images of a digit, and at best these share it evenly.
# The loss cannot fall below that. With `dim=1` it is the network of this stage. When
# you average or normalize, say over *which axis*.

# %% [markdown] tags=["audit"]
# ## The audit

# %% tags=["audit", "hide-input"]
summary.summarize(stage.build(), (1, 28, 28))

# %% tags=["audit", "hide-input"]
pages.recipe(stage)

# %% tags=["audit", "hide-input"]
pages.results(run)

# %% tags=["audit", "hide-input"]
pages.provenance(run)

# %% [markdown]
# ## Next
#
# [Train this network in your browser](../lab.md#preset=5). The budget is met, the
# accuracy is not. [Stage 6](06_pointwise.py) spends the parameters differently.
