# %% [markdown]
# # 4. One kind of layer ends the standstill: what does it do to a channel?

# %% tags=["hide-input"]
import bisect
import math
from dataclasses import replace
from statistics import fmean

from mnist_steps import figures, pages, runs, stages, summary
from mnist_steps.experiments import ablation, evidence, registry
from mnist_steps.experiments.study import Store
from mnist_steps.markup import Text

stage, before = stages.get(4), stages.get(3)
figures.normalization()

# %% [markdown]
# All values of one channel, for one batch of digits. Move through the first steps:
# without the layer, they stay a thin line at zero. Behind **batch normalization**, they
# are spread out from the start. How, with two learnt numbers per channel?
#
# **You will be able to**
#
# - write down its formula, and check it against PyTorch;
# - say what changes after training;
# - say what a small batch does to it, and when a batch of one fails.
#
# ## The idea
#
# Take all values $x$ of one channel, of each image in the batch, at each place.
# Subtract their mean $\mu$ and divide by the root of their variance $\sigma^2$:
# whatever came in has now mean zero and variance one. Then two learnt numbers, $\gamma$
# and $\beta$, stretch and shift it to where the network wants it:
#
# $$y = \gamma \, \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}} + \beta$$
#
# A tiny $\varepsilon$ keeps the root from being zero. $\gamma$ begins as one, $\beta$
# as zero.

# %%
import torch
from torch import nn

torch.manual_seed(0)
x = 3 + 0.1 * torch.randn(32, 12, 8, 8)  # 12 channels, faint and off centre
mean = x.mean(dim=(0, 2, 3), keepdim=True)  # over images and places
variance = x.var(dim=(0, 2, 3), unbiased=False, keepdim=True)
by_hand = (x - mean) / (variance + 1e-5).sqrt()

norm = nn.BatchNorm2d(12)
assert torch.allclose(norm(x), by_hand, atol=1e-4)
print(f"spread {x.std():.2f} before, {norm(x).std():.2f} behind")

# %% [markdown]
# So a signal cannot [fade](03_lighter.py): what a layer leaves of it, the next
# normalization restores. On the way back, the same root divides the gradient.

# %% tags=["hide-input"]
figures.signal([before, stage])

# %% [markdown]
# ### Training and evaluation
#
# In training, a digit's answer depends on the others in its batch: a little noise, more
# of it in small batches. When it is judged, the answer must depend on the digit alone.
# So in **evaluation** the layer takes constants, averages of $\mu$ and $\sigma^2$ that
# it kept while it trained. `model.train()` and `model.eval()` switch.

# %%
for _ in range(50):
    norm(x)  # each time, the averages move a tenth of the way
in_training = norm(x[:1]), norm(x)[:1]  # alone, and in company
norm.eval()
in_evaluation = norm(x[:1]), norm(x)[:1]
alike = torch.equal(*in_training), torch.equal(*in_evaluation)
print("the same in training: {}, in evaluation: {}".format(*alike))

# %% [markdown]
# Here the layer stands behind the ReLU, from stage 6 on before it.
#
# ## The change

# %% tags=["hide-input"]
table = summary.summarize(stage.build(), (1, 28, 28))
large = table.rows[-1]
batch, batch_before = (each.recipe.batch_size for each in (stage, before))
pages.hold_to(
    "The recipe changes in its batches alone",
    stage.recipe == replace(before.recipe, batch_size=batch),
)
Text(
    "Normalization behind each convolution but the last. And one large kernel, with "
    f"{large.params / table.total_params:.0%} of the parameters, in place of the last "
    f"two layers. The recipe changes in its batches alone: {batch} digits in place of "
    f"{batch_before}."
)

# %% tags=["hide-input"]
figures.folded("Both networks, drawn", figures.network_change(before, stage))

# %% tags=["hide-input"]
pages.model_difference(before, stage)

# %% [markdown]
# ## Predict

# %% tags=["hide-input"]
made, earlier = Store().outcomes(stage), Store().outcomes(before)
first, first_before = (
    fmean(one.epochs["train_accuracy"][0] for one in each) for each in (made, earlier)
)
low, high = 50, 90
pages.predict(
    f"In the first epoch, stage 3 read {first_before:.0f} % of the training digits, no "
    "better than chance. And stage 4, on average over its seeds?",
    (f"Fewer than {low} %", f"Between {low} and {high} %", f"More than {high} %"),
    answer=bisect.bisect((low, high), first),
    explanation=f"{first:.1f} %, counted while it learned, over {len(made)} seeds.",
)

# %% [markdown]
# ## What happened

# %% tags=["hide-input"]
figures.beside(figures.seeds([before, stage]), figures.all_curves([before, stage]))

# %% tags=["hide-input"]
finals, finals_before = (
    [one.figures.final for one in each] for each in (made, earlier)
)
change = evidence.compare(finals_before, finals)
pages.hold_to(
    "and the seeds lie closer together",
    max(finals) - min(finals) < 0.5 * (max(finals_before) - min(finals_before)),
)
pages.hold_to("That is no chance", change.ranked)
Text(
    f"{change.difference:+.2f} points on average (95 % interval "
    f"{change.interval:+.2f}), "
    "and the seeds lie closer together. That is no chance. What did it?"
)

# %% tags=["hide-input"]
figures.folded("Digits that are newly right or wrong", pages.newly(before, stage))

# %% [markdown]
# ## Why
#
# We took it out of the last network of this tutorial and left all else as it is, in
# shorter trainings. And we changed the batch size alone, which changes here, too.

# %% tags=["hide-input"]
effects = {effect.arm.name: effect for effect in ablation.effects()}
without, large_batch = effects["ablation-no-batch-norm"], effects["ablation-batch-512"]
behind = effects["ablation-batch-norm-after"]
(_, taken_out), *_ = ablation.ABLATION.outcomes([without.arm])
stuck = sum(one.epochs["train_loss"][0] > 0.98 * math.log(10) for one in taken_out)
pages.table(
    ["", "percentage points"],
    [[effect.arm.title, effect.size] for effect in (without, large_batch, behind)],
    "The last network of the tutorial with one thing changed: difference of the mean "
    f"test accuracy, its 95 % interval in brackets, {without.runs} seeds of "
    f"{ablation.EPOCHS} epochs.",
)

# %% tags=["hide-input"]
pages.hold_to("each stands still again", stuck == len(taken_out))
pages.hold_to(
    "Both do much", without.comparison.ranked and large_batch.comparison.ranked
)
pages.hold_to("the seeds cannot tell", not behind.comparison.ranked)
steps, steps_before = (-(-60_000 // each.recipe.batch_size) for each in (stage, before))
Text(
    f"Both do much. Without the layer, {stuck} of {len(taken_out)} trainings pass "
    "their first epoch at the loss of a guess: each stands still again. A smaller "
    f"batch means more steps: {steps} an epoch in place of {steps_before}. Whether the "
    "layer stands better before or behind the ReLU, the seeds cannot tell."
)

# %% tags=["hide-input"]
arms = {arm.name: outcomes for arm, outcomes in registry.get("causes").outcomes()}
kaiming, both = arms["causes-kaiming-3"], arms["causes-kaiming-4"]
started, both_started = (
    [one for one in made if one.epochs["train_loss"][0] < 0.9 * math.log(10)]
    for made in (kaiming, both)
)
without_layer = fmean(one.figures.final for one in started)
pages.hold_to("But these end lower", without_layer < fmean(finals))
shifted = evidence.compare(finals, [one.figures.final for one in both])
pages.hold_to("The layer does not need them", shifted.difference < 0)
why = "Why they cost that is open." if shifted.ranked else "It may be chance."
Text(f"""
Is it only the start, then? Larger first weights help that, too:

- **Without normalization**, in [stage 3](03_lighter.py#why), {len(started)} of
  {len(kaiming)} seeds start in the first epoch. But these end lower, at
  {without_layer:.2f} % on average; stage 4 ends at {fmean(finals):.2f} %. As batches
  and layers differ too, this does not decide it.
- **With it**, {len(both_started)} of {len(both)} start, and the mean changes by
  {shifted.difference:+.2f} points (95 % interval {shifted.interval.low:+.2f} to
  {shifted.interval.high:+.2f}). The layer does not need them. {why}
""")

# %% [markdown]
# **What this stage confounds:** normalization, a quarter of the batch and so four times
# the steps, fewer channels, another end. The gain belongs to all of them together.
#
# ## Check yourself

# %% tags=["hide-input"]
pages.check(
    "The network is trained, and judges a single digit. Where do the mean and the "
    "variance come from?",
    [
        ("From this digit", "That is what training mode would do with a batch of one."),
        (
            "From averages kept while it trained",
            "They are constants now, so the answer depends on the digit alone.",
        ),
        (
            "From all test digits",
            "Then an answer would depend on which other digits are tested.",
        ),
    ],
    answer=1,
)

# %% tags=["hide-input"]
pages.check(
    "A channel of 10×10 in training mode, and a batch of one image. What happens?",
    [
        (
            "It works",
            "A mean of a hundred values. A batch of one fails on a map of 1×1 alone.",
        ),
        (
            "It fails",
            "One image has a variance, too: that of its hundred places.",
        ),
        (
            "It gives zeros",
            "On a map of 1×1 each value is its own mean; PyTorch refuses that.",
        ),
    ],
    answer=0,
)

# %% tags=["hide-input"]
pages.check(
    "Why may a convolution right before batch normalization do without a bias?",
    [
        ("It would be slow", "One number a channel is hardly any work."),
        ("The ReLU removes it", "A ReLU removes what is negative, not a shift."),
        (
            "The subtracted mean has it",
            "Whatever is added to a whole channel is gone, and β can add it again.",
        ),
    ],
    answer=2,
)

# %% [markdown]
# ## Exercises
#
# **1.** In evaluation, batch normalization is one multiplication and one addition a
# channel. Write it so, and check it with the trained network's first such layer.

# %% [markdown] tags=["hint"]
# Collect what $x$ is multiplied by. The constants are `running_mean` and `running_var`.

# %% tags=["solution"]
norm1 = runs.load(4).build().batch_norm1
factor = norm1.weight / (norm1.running_var + norm1.eps).sqrt()
shift = norm1.bias - norm1.running_mean * factor
x = torch.randn(2, 12, 26, 26)
written = x * factor[:, None, None] + shift[:, None, None]
print(torch.allclose(norm1(x), written, atol=1e-5))

# %% [markdown]
# **2.** Send one image with maps of 3×3, 2×2 and 1×1 through a new layer in training
# mode. Where does it fail, and what would a batch of two do there?

# %% [markdown] tags=["hint"]
# Count the values that the mean of one channel goes over. `try` and `except ValueError`
# keep the loop going.

# %% tags=["solution"]
for images, side in ((1, 3), (1, 2), (1, 1), (2, 1)):
    try:
        spread = nn.BatchNorm2d(1)(torch.randn(images, 1, side, side)).flatten()
        print(images, "image,", side, "wide:", [round(v, 2) for v in spread.tolist()])
    except ValueError as error:
        print(images, "image,", side, "wide:", error)

# %% [markdown] tags=["solution"]
# With two values, one becomes nearly 1 and the other nearly -1, whatever they were: it
# works, and says only which was the larger.

# %% [markdown]
# **3.** *A training broken on purpose.* In training mode this network learns like a
# sound one. In evaluation, on the same digits at the same moment, it hardly does better
# than a guess. What did its normalization not do?

# %% tags=["hide-input"]
import torch.nn.functional as F

from mnist_steps import data


def losses_of(**options):
    """Losses in training mode, and in evaluation on the same batch."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 5, stride=3), nn.ReLU(), nn.BatchNorm2d(8, **options),
        nn.Conv2d(8, 16, 3), nn.ReLU(), nn.BatchNorm2d(16, **options),
        nn.Conv2d(16, 10, 6), nn.Flatten(), nn.LogSoftmax(dim=1),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    part, losses, judged = data.mnist().full_train[:9600], [], []
    for images, labels in zip(
        part.images.split(64), part.labels.split(64), strict=True
    ):
        images = images.float() / 255
        model.eval()
        with torch.no_grad():
            judged.append(F.nll_loss(model(images), labels).item())
        model.train()
        optimizer.zero_grad()
        loss = F.nll_loss(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, judged


(_, sound), (learning, judged) = losses_of(), losses_of(momentum=0.0)
figures.loss_by_step(
    {
        "sound, in evaluation": sound,
        "broken, in training": learning,
        "broken, in evaluation": judged,
    },
    steps=150,
)

# %% [markdown] tags=["hint"]
# In evaluation, the layer takes constants. What are they before the first step, and
# what are they here after the last?

# %% [markdown] tags=["solution"]
# Its averages never moved: it was made by `nn.BatchNorm2d(8, momentum=0)`. This
# `momentum` is the share of the *new* batch in the average, a tenth by default. With
# zero, mean 0 and variance 1 stay for ever, and in evaluation nothing is normalized.
# Other libraries call one minus this number momentum, so the mistake is easily made.

# %% [markdown] tags=["audit"]
# ## The audit
#
# ### Every layer

# %% tags=["audit"]
summary.summarize(stage.build(), (1, 28, 28))

# %% [markdown] tags=["audit"]
# The original's receptive fields are all right here.
#
# ### The whole recipe

# %% tags=["audit"]
pages.recipe(stage)

# %% [markdown] tags=["audit"]
# ### The result, and what the original claimed

# %% tags=["audit"]
run = runs.load_or_train(4)
pages.results(run)

# %% tags=["audit"]
claim = stage.claim
Text(
    f"The original reports {claim.best_test_accuracy:.2f} %, the best of fifteen "
    f"epochs; its last had {claim.final_test_accuracy:.2f} %. It credits the smaller "
    "batch with the quicker start."
)

# %% tags=["audit"]
figures.curves(run)

# %% tags=["audit"]
figures.mistakes(run)

# %% tags=["audit"]
figures.confusion(run)

# %% tags=["audit"]
pages.provenance(run)

# %% [markdown]
# ## Next
#
# [Train this network in your browser](../lab.md#preset=4): it starts at once. [Stage
# 5](05_global_average_pooling.py) asks whether the large kernel is needed.
