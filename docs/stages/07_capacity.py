# %% [markdown]
# # 7. A thousand parameters to spend: where?
#
# This stage spends what is left of the budget, all in one place: behind the pooling.
# Was that the right one? First see what a channel costs where.

# %% tags=["hide-input"]
import bisect

import torch
from torch import nn

from mnist_steps import data, figures, pages, runs, stages, summary
from mnist_steps.experiments import ablation, evidence, study
from mnist_steps.markup import Text
from mnist_steps.stages import BUDGET

stage, before = stages.get(7), stages.get(6)
run, old = runs.load_or_train(7), runs.load_or_train(6)
now, earlier = (study.Store().outcomes(each) for each in (stage, before))
figures.budget(before, stage)

# %% [markdown]
# **You will be able to**
#
# - compute what one more channel costs, in parameters and in time,
# - tell width from depth,
# - say what an experiment shows that changes only one thing.
#
# ## The idea
#
# The number of a layer's channels is its **width**; the number of layers behind each
# other is the network's **depth**. What does one more channel cost? It needs a kernel,
# with a slice for each of the $C_\text{before}$ channels that it reads. And each of the
# next layer's $C_\text{after}$ kernels needs one more slice to read it. With kernels of
# $k \times k$, and two numbers of batch normalization:
#
# $$\text{parameters} = k^2 \, (C_\text{before} + C_\text{after}) + 2$$
#
# The size of the map is not in it: a weight is stored once. But it is *used* at every
# place, and that takes time. With $n$ places in the layer's own map and $m$ in the next
# one's:
#
# $$\text{multiplications} = k^2 \, (C_\text{before} \, n + C_\text{after} \, m)$$


# %%
def one_more_channel(before, after, places, places_after, k=3):
    """Parameters and multiplications for one image, between two k×k layers."""
    parameters = k**2 * (before + after) + 2
    multiplications = k**2 * (before * places + after * places_after)
    return parameters, multiplications


early = one_more_channel(12, 12, places=24**2, places_after=22**2)  # like conv2
late = one_more_channel(12, 12, places=6**2, places_after=4**2)  # like conv6
for name, (parameters, multiplications) in (("early", early), ("late", late)):
    print(f"{name:5} {parameters} parameters, {multiplications:7,} multiplications")

# %% tags=["hide-input"]
pages.hold_to("Parameters do not depend on where", early[0] == late[0])
Text(
    "**Parameters do not depend on where** a layer stands, and time does: between "
    f"layers of twelve channels, the early channel takes {early[1] / late[1]:.0f} "
    "times as many multiplications. So for a budget of parameters, like ours, all "
    "places cost the same; under a budget of time one would spend late."
)

# %% [markdown]
# ## The change

# %% tags=["hide-input"]
figures.folded("Both networks, drawn", figures.network_change(before, stage))

# %% tags=["hide-input"]
added = stage.parameters - before.parameters
pages.hold_to("More width in three layers, nothing else", stage.recipe == before.recipe)
Text(f"""
**More width in three layers, nothing else.** `conv5`, `conv6` and `conv7` get a few
more channels: {added:,} parameters more, {stage.parameters:,} in all, and
{BUDGET - 1 - stage.parameters} more would fit. The recipe stays.
""")

# %% tags=["hide-input"]
pages.model_difference(before, stage)

# %% [markdown]
# ## Predict

# %% tags=["hide-input"]
finals, finals_before = (
    [one.figures.final for one in study.Store().outcomes(each)]
    for each in (stage, before)
)
change = evidence.compare(finals_before, finals)
pages.predict(
    f"{stage.parameters - before.parameters:,} parameters more, and the same recipe. "
    f"By how much does the mean of the final test accuracy rise, over {len(finals)} "
    "seeds?",
    (
        "Not at all",
        "By less than seeds of one network differ",
        "By more than seeds of one network differ",
    ),
    answer=bisect.bisect((0, change.spread), change.difference),
    explanation=f"By {change.difference:+.2f} points (95 % interval "
    f"{change.interval:+.2f}). The standard "
    f"deviation between seeds is {change.spread:.2f}.",
)

# %% [markdown]
# ## What happened

# %% tags=["hide-input"]
figures.beside(figures.seeds([before, stage]), figures.all_curves([before, stage]))

# %% tags=["hide-input"]
above = change.interval.low > 0 and not change.ranked
pages.hold_to("A small gain, likely but not large", above)
learnt = evidence.compare(
    *([one.epochs["train_accuracy"][-1] for one in made] for made in (earlier, now))
)
pages.hold_to(
    "and there the gain is beyond doubt",
    learnt.ranked and learnt.difference > 0,
)
Text(f"""
**A small gain, likely but not large.** The interval of the difference,
{change.interval:+.2f} points, leaves out zero. But
the gain of {change.difference:.2f} is smaller than the {change.spread:.2f} by which
seeds of one stage differ: a lucky run without the new channels often ends above one
that has them. So this site, which asks that means differ by more than seeds do, does
not rank the two. Of training digits stage 7 reads {learnt.difference:.2f} points more,
and there the gain is beyond doubt.
""")

# %% tags=["hide-input"]
pages.newly(before, stage)

# %% [markdown]
# ## Why
#
# Only one thing changed, so the gain, as far as there is one, comes from it: the
# cleanest experiment of the eight. But *what* is the one thing? Width and parameters
# grew together, and depth stayed. Whether a new layer would have done more with these
# parameters, one stage cannot tell. That takes a third network. Two come near it:

# %% tags=["hide-input"]
arms = {one.arm.name.removeprefix("ablation-"): one for one in ablation.effects()}
narrower, shallower = arms["less-capacity"], arms["fewer-layers"]
one = shallower.comparison.ranked and not narrower.comparison.ranked
pages.hold_to("only for the second is that larger than chance", one)
rows = []
for effect, words in ((narrower, "less width"), (shallower, "less depth")):
    fewer = effect.arm.stage.parameters - stage.parameters
    rows.append([words, effect.arm.title, f"{fewer:+,}", effect.size])
pages.table(
    ["taken away", "arm", "parameters", "test accuracy"],
    rows,
    f"Two arms of the ablation: the last network, trained for {ablation.EPOCHS} epochs "
    f"with {ablation.SEEDS} seeds, and what happens without one thing. Differences in "
    "percentage points, 95 % intervals in brackets.",
    words=(1,),
)

# %% [markdown]
# Both means fall, more where more parameters go, and only for the second is that larger
# than chance. That fits two answers: depth is worth more, or just the number of
# parameters counts. To tell, compare a wide and a deep network **at equal parameters**,
# over many seeds. And [what one more brings](../beyond/10_smaller.py#why) depends on
# how many there are.
#
# ## Check yourself

# %% tags=["hide-input"]
pages.check(
    "A 3×3 layer reads ten channels, makes ten, and the next 3×3 layer reads them. You "
    "add an eleventh. How many parameters is that, without normalization?",
    [
        ("90", "That is its own kernel. The next layer must read it, too."),
        ("180", "9 · 10 for its own kernel, 9 · 10 for those that read it."),
        ("900", "So many has the whole layer. One channel is a tenth of that, twice."),
    ],
    answer=1,
)

# %% tags=["hide-input"]
pages.check(
    "You may add one channel, and want the network to stay as quick as it can. Where?",
    [
        ("At the end, where maps are small", "The same weights, used at few places."),
        ("At the beginning, where maps are large", "There each is used most often."),
        ("It does not matter", "Not for the parameters. For time it does."),
    ],
    answer=0,
)

# %% tags=["hide-input"]
pages.check(
    "A wider network ends above the narrow one, over ten seeds and beyond doubt. Is "
    "width better than depth?",
    [
        ("Yes, that is what was measured", "Nobody tried a deeper one."),
        (
            "Open: it also has more parameters",
            "The fair opponent is a deeper network with as many.",
        ),
        ("No, depth is always better", "That was not measured, either."),
    ],
    answer=1,
)

# %% [markdown]
# ## Exercises
#
# **1.** Find the largest equal number of channels for `conv5`, `conv6` and `conv7`
# within the budget.

# %% [markdown] tags=["hint"]
# Write the parameters of everything behind the pooling as a function of the number of
# channels, check it with twelve, which is stage 6, and let a loop try.

# %% tags=["solution"]
layers = summary.summarize(stage.build(), (1, 28, 28)).rows
up_to_pooling = sum(row.params for row in layers[:11])


def parameters_with(channels):
    kernels = 9 * (10 * channels + 2 * channels * channels) + channels * 10
    scales_and_shifts = 3 * 2 * channels
    return up_to_pooling + kernels + scales_and_shifts + 2 * 10


assert parameters_with(12) == before.parameters
best = max(channels for channels in range(1, 40) if parameters_with(channels) < BUDGET)
print(f"{best} channels: {parameters_with(best):,} parameters")
print(f"{best + 1} channels: {parameters_with(best + 1):,}, too many")

# %% [markdown]
# **2.** Is one of two networks better? Take the two recorded runs, and count the test
# digits that exactly one of them reads. If both were equally good, how would these
# split?

# %% [markdown] tags=["hint"]
# `run.predictions` and `old.predictions` have a digit for each test image. Digits that
# both read, or none, say nothing. For the others, think of a fair coin.

# %% tags=["solution"]
labels = data.mnist().test.labels
now_right, old_right = run.predictions == labels, old.predictions == labels
only_now = (now_right & ~old_right).sum().item()
only_old = (old_right & ~now_right).sum().item()
thrown = only_now + only_old
print(f"only stage 7 reads {only_now}, only stage 6 reads {only_old}")
print(f"a coin gives {thrown / 2:.0f} ± {thrown**0.5 / 2:.0f} heads in {thrown} throws")

# %% [markdown] tags=["solution"]
# This is McNemar's test in one line. It is about these two networks alone, not about
# stages 6 and 7: for those, other seeds count.

# %% [markdown]
# **3.** *A training broken on purpose.* This is the network of stage 7, in full width.
# Something happened before the first step, and it learns much less. What?

# %% tags=["fold"]
train = data.mnist().full_train[:1600]
digits = stage.recipe.normalize_train(train.images.float() / 255)
networks, losses = {}, {"healthy": [], "broken": []}
for name, found in losses.items():
    torch.manual_seed(8)
    network = networks[name] = stage.build()
    if name == "broken":
        for layer in (network.conv5, network.conv6, network.conv7):
            nn.init.constant_(layer.weight, 0.01)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    for images, labels in zip(digits.split(32), train.labels.split(32), strict=True):
        optimizer.zero_grad()
        loss = nn.functional.nll_loss(network(images), labels)
        loss.backward()
        optimizer.step()
        found.append(loss.item())

figures.loss_by_step(losses, steps=50)

# %% [markdown] tags=["hint"]
# The broken network is as wide as the healthy one, on paper. Look at the channels of
# `conv5` after the training: how much do their kernels differ from each other?

# %% tags=["solution"]
for name, network in networks.items():
    kernels = network.conv5.weight.detach()  # (14, 10, 3, 3): one for each channel
    apart = (kernels - kernels[:1]).abs().max()
    print(f"{name}: channels of conv5 differ from the first by at most {apart:.3f}")

# %% [markdown] tags=["solution"]
# All channels began with the same weights. So they make the same map, get the same
# gradient, and stay the same for ever: fourteen channels do the work of one. Random
# initial weights are not there to be small. They are there to be **different**.

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
# [Train this network in your browser](../lab.md#preset=7). The learning rate is still
# as large at the end as at the start: [stage 8](08_lr_scheduler.py) lets it fall.
