# %% [markdown]
# # 10. How small can it be?
#
# Fewer than eight thousand parameters was the rule of a course, not the limit. Here are
# our stages 6 to 9, and what others have published. Left of them it is nearly empty.

# %% tags=["hide-input"]
import itertools
import math
import statistics

import torch
from torch import nn

from mnist_steps import data, figures, pages, runs, stages, summary
from mnist_steps.experiments import evidence, frontier, search, study
from mnist_steps.markup import Text, link
from mnist_steps.stages import TARGET

stage, before = stages.get(10), stages.get(9)
run, old = runs.load_or_train(10), runs.load_or_train(9)
store = study.Store()
now, earlier = store.outcomes(stage), store.outcomes(before)


def finals_of(made):
    """By one view of each digit, as public runs are judged."""
    return [one.one_view_accuracies[-1] for one in made]


others = [
    (f"stage {each.number}", each.parameters, finals_of(store.outcomes(each)))
    for each in stages.STAGES[5:8]
]
figures.frontier(
    [],
    [*others, ("stage 9", before.parameters, finals_of(earlier))],
    frontier.PUBLISHED,
    height=220,
)

# %% [markdown]
# **You will be able to**
#
# - say how parameters follow from the width,
# - draw a frontier, accuracy against size, and read it,
# - say what twice as many parameters buy, and where they buy less.
#
# ## The idea
#
# ### Width counts twice
#
# Give every layer $w$ times as many channels. Then a kernel of $k \times k$ from
# $C_\text{in}$ to $C_\text{out}$ has
#
# $$k^2 (w C_\text{in}) (w C_\text{out}) = w^2 \, k^2 \, C_\text{in} \, C_\text{out}$$
#
# weights. Half of the width leaves a quarter of them, and seven tenths about a half:


# %%
def parameters(channels, digits=10):
    """Of 3×3 layers with normalization, an average, and scores by a 1×1 layer."""
    kernels = sum(9 * a * b for a, b in zip((1, *channels), channels, strict=False))
    return kernels + 2 * sum(channels) + (channels[-1] + 1) * digits


wide = [10, 14, 14, 16, 16]  # stage 9
for width in (1, 0.7, 0.5):
    channels = [round(width * each) for each in wide]
    print(f"width {width:3}: channels {channels}, {parameters(channels):,} parameters")

# %% tags=["hide-input"]
figures.budget(before, stage)

# %% [markdown]
# ### What a parameter buys
#
# Let $e$ be the share of digits that are misread, and $P$ the number of parameters. If
# mistakes shrink by the same factor with each doubling, then $e = a \, P^{-b}$, a
# straight line when both axes are logarithmic. Two networks give its slope:
#
# $$b = - \frac{\log (e_2 / e_1)}{\log (P_2 / P_1)}$$
#
# With $b = 1$, twice as many parameters halve the mistakes; with $b = 0$ they buy
# nothing. The line of the best at each size is a **frontier**.
#
# ## The change

# %% tags=["hide-input"]
pages.hold_to("the same recipe", stage.recipe == before.recipe)
share = stage.parameters / before.parameters
pages.hold_to("about half", 0.48 < share < 0.53)
Text(f"""
Every layer is narrower: as many layers, the same recipe. {stage.parameters:,}
parameters are left of {before.parameters:,}, {share:.0%}.
""")

# %% tags=["hide-input"]
figures.folded("Both networks, drawn", figures.network_change(before, stage))

# %% [markdown]
# ## Predict

# %% tags=["hide-input"]
ends, ends_before = (
    [one.one_view_accuracies[-1] for one in study.Store().outcomes(each)]
    for each in (stage, before)
)
change = evidence.compare(ends_before, ends)
cost = -change.difference
pages.predict(
    "Stage 10 has about half of stage 9's parameters. How much accuracy does that cost "
    "on average?",
    ("Less than 0.05 points", "From 0.05 to 0.15 points", "More than 0.15 points"),
    answer=0 if cost < 0.05 else 1 if cost <= 0.15 else 2,
    explanation=f"{cost:.3f} points, both judged by one view. In mistakes that is "
    f"{100 - statistics.fmean(ends):.2f} in a hundred digits in place of "
    f"{100 - statistics.fmean(ends_before):.2f}.",
)

# %% [markdown]
# ## What happened

# %% tags=["hide-input"]
figures.beside(figures.seeds([before, stage]), figures.all_curves([before, stage]))

# %% tags=["hide-input"]
learnt = evidence.compare(
    *([one.history[-1].train_accuracy for one in made] for made in (earlier, now))
)
pages.hold_to("It costs little, and surely something", change.ranked and 0 < cost < 0.2)
pages.hold_to("Fewer training digits are read", learnt.ranked and learnt.difference < 0)
Text(f"""
**It costs little, and surely something.** The mean falls by {cost:.2f} points (95 %
interval {-change.interval.high:.2f} to {-change.interval.low:.2f}), {100 * cost:.0f}
more of ten thousand digits. Fewer training digits are read as well, by
{-learnt.difference:.2f} points, so this is not overfitting.
""")

# %% tags=["hide-input"]
figures.folded("Digits that are newly right or wrong", pages.newly(before, stage))

# %% [markdown]
# ## Why
#
# One stage is one point. Here is a whole family: the same layers and recipe, with fewer
# channels and with more, nothing tuned for the other members. All are judged by one
# view, like the public runs. Those are *single* runs: compare them with the small dots,
# not with the means.

# %% tags=["hide-input"]
family = frontier.FRONTIER.outcomes(frontier.FAMILY)
figures.frontier(
    [(member.stage.parameters, finals_of(made)) for member, made in family],
    others,
    frontier.PUBLISHED,
)

# %% tags=["hide-input"]
points = [
    (member.stage.parameters, 100 - statistics.fmean(finals_of(made)))
    for member, made in family
]


def slope(first, last):
    (small, more), (large, fewer) = first, last
    return -math.log(fewer / more) / math.log(large / small)


middle = next(at for at in points if at[0] > 1500)
steep, flat = slope(points[0], middle), slope(middle, points[-1])
pages.hold_to("more than halves", steep > 1.1)
pages.hold_to("buys less", flat < 0.7 * steep)
good, enough = (
    next(count for count, error in points if 100 - error >= mark)
    for mark in (99, TARGET)
)
Text(f"""
At the small end, from {points[0][0]:,} to {middle[0]:,} parameters, each doubling more
than halves the mistakes: $b$ is {steep:.2f}. From there to {points[-1][0]:,} it buys
less: {flat:.2f}. The smallest member with a mean of 99 % or more has {good:,}
parameters, the smallest with {TARGET} or more {enough:,}.
""")

# %% tags=["hide-input"]
test = data.mnist().test
answers = torch.stack([one.predictions(test.labels) for one in earlier])
misread = answers != test.labels
voted, alone = answers.mode(dim=0).values, misread.sum(dim=1).float().mean()
wrong, always = (voted != test.labels).sum(), misread.all(dim=0)
pages.hold_to("the difference is luck", wrong < alone)
Text(f"""
The line bends: the wider, the less width buys. A run of stage 9 misreads
{alone:.0f} digits on average, by nine views. Let its {len(earlier)} runs vote, and
{wrong} stay wrong: the difference is luck of single runs. And {always.sum()} digits
none of them reads. Here they are: above is the label, below what most of the runs say.
*Would you read the label?*
""")

# %% tags=["hide-input"]
figures.misread(test.images[always], test.labels[always], voted[always])

# %% tags=["hide-input"]
rows = []
for one in frontier.PUBLISHED:
    final = "not shown" if one.final is None else f"{one.final:.2f}"
    source = link(one.address, one.source) if one.address else one.source
    rows.append([source, f"{one.parameters:,}", f"{one.best:.2f}", final])
figures.folded(
    "The public runs, and where they are",
    pages.table(
        ["public run", "parameters", "best epoch", "last epoch"],
        rows,
        "Test accuracy in percent of one run each, judged by one view, as far as we "
        "could read it in a log or a text. We know of nobody who states a mean over "
        "seeds.",
    ),
)

# %% [markdown]
# **The search** went as in [stage 9](09_reliable.py#choose-without-looking), on
# validation images: one seed each, then several for the finalists.

# %% tags=["hide-input"]
tried, finalists = search.tried(10), search.tried(10, search.FINALS)
luck = statistics.stdev(one.history[-1].test_loss for one in now)
figures.folded(
    "What was tried, and its loss",
    figures.candidates(search.groups(tried, finalists), luck),
)

# %% tags=["hide-input"]
pages.hold_to("It is this", search.chosen(10).adopted)
shapes = [one.shape for one in finalists]
only = shapes.count(search.chosen(9).shape) == 1
pages.hold_to("and the only finalist with those layers", only)
Text(f"""
What is wanted here is small, so not the lowest loss decides, but a rule, fixed before
any of them read a test digit: of the finalists with stage 9's layers the fewest
parameters that read {TARGET + search.MARGIN:.2f} % of the validation digits on average.
It is this stage, and the only finalist with those layers.
""")

# %% [markdown]
# **What this stage confounds:** all layers shrink at once, in proportion. Another shape
# with as many parameters may do better; few were tried.
#
# ## Check yourself

# %% tags=["hide-input"]
pages.check(
    "You give each layer of a network a third of its channels. About how many of its "
    "parameters are left?",
    [
        ("A third", "That would be one side alone. Each kernel loses on both."),
        ("A ninth", "A third of the inputs, times a third of the outputs."),
        ("A twenty-seventh", "The kernel's size, 3×3, does not shrink."),
    ],
    answer=1,
)

# %% tags=["hide-input"]
pages.check(
    "A network with 1,000 parameters misreads 2 % of the digits, and b is 1. What "
    "would 4,000 parameters misread?",
    [
        ("0.5 %", "Two doublings, and each halves the mistakes."),
        ("1 %", "That is one doubling. From 1,000 to 4,000 it is two."),
        ("0.02 %", "Four times as many parameters, a quarter of the mistakes."),
    ],
    answer=0,
)

# %% tags=["hide-input"]
pages.check(
    "Somebody shows 99.44 % in the best epoch of one run, at 6,260 parameters. Your "
    "ten runs at this size have a mean of 99.40 %. Whose network is better?",
    [
        ("Theirs, by 0.04 points", "Your best run may well have shown as much, too."),
        ("Yours, since it has ten runs", "More runs make you sure, and not better."),
        ("One cannot say", "A picked figure lies above its mean; how far, is open."),
    ],
    answer=2,
)

# %% [markdown]
# ## Exercises
#
# **1.** Where are the parameters? Count them by kind of layer.

# %% [markdown] tags=["hint"]
# Go over `stage.build()`; `type(module).__name__` is the kind.

# %% tags=["solution"]
counts = {}
for module in stage.build():
    count = sum(parameter.numel() for parameter in module.parameters())
    if count:
        kind = type(module).__name__
        counts[kind] = counts.get(kind, 0) + count
for kind, count in counts.items():
    print(f"{kind}: {count:,} ({count / stage.parameters:.0%})")

# %% [markdown]
# **2.** At how many parameters does the family's line cross the target?

# %% [markdown] tags=["hint"]
# `points` holds parameters and mistakes in percent. Find the two neighbours with the
# target between them, and go the same share of the way in both logarithms.

# %% tags=["solution"]
aim = math.log(100 - TARGET)
for (small, more), (large, fewer) in itertools.pairwise(points):
    if fewer <= 100 - TARGET < more:
        way = (math.log(more) - aim) / (math.log(more) - math.log(fewer))
        crossing = math.exp(math.log(small) + way * math.log(large / small))
        print(f"near {crossing:,.0f} parameters")

# %% [markdown]
# **3.** *A training broken on purpose.* One word saves five sixths of this network's
# parameters. It learns, and stays far behind. What did the word cost?


# %% tags=["fold"]
def narrow(groups):
    layers = [nn.Conv2d(1, 12, 3), nn.BatchNorm2d(12), nn.ReLU()]
    for _ in range(3):
        layers += [nn.Conv2d(12, 12, 3, groups=groups), nn.BatchNorm2d(12), nn.ReLU()]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 10)]
    return nn.Sequential(nn.MaxPool2d(2), *layers, nn.LogSoftmax(dim=1))


train = data.mnist().full_train[:3200]
digits = stage.recipe.normalize_train(train.images.float() / 255)
networks, losses = {}, {"healthy": [], "broken": []}
for name, found in losses.items():
    torch.manual_seed(8)
    network = networks[name] = narrow(groups=1 if name == "healthy" else 12)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for images, labels in zip(digits.split(64), train.labels.split(64), strict=True):
        optimizer.zero_grad()
        loss = nn.functional.nll_loss(network(images), labels)
        loss.backward()
        optimizer.step()
        found.append(loss.item())

figures.folded("The loss of both, drawn", figures.loss_by_step(losses, steps=50))

# %% [markdown] tags=["hint"]
# Look at the shape of a kernel in both networks. How many channels does it read?

# %% tags=["solution"]
for name, network in networks.items():
    count = sum(parameter.numel() for parameter in network.parameters())
    print(f"{name}: {count:,} parameters, kernels {tuple(network[4].weight.shape)}")

# %% [markdown] tags=["solution"]
# With `groups=12` each channel reads one channel, its own: twelve chains that never
# meet before the end. Such **depthwise** layers are used, but with a 1×1 layer behind
# each, which [mixes](../stages/06_pointwise.py#the-idea) what the chains have found.

# %% [markdown] tags=["audit"]
# ## The audit

# %% tags=["audit", "hide-input"]
summary.summarize(stage.build(), (1, 28, 28))

# %% tags=["audit", "hide-input"]
pages.recipe(stage)

# %% tags=["audit", "hide-input"]
rows = []
for member, made in family:
    found = study.verdict_of(made)
    by_nine = statistics.fmean(one.figures.final for one in made)
    rows.append(
        [
            member.title,
            f"{member.stage.parameters:,}",
            f"{found.mean:.3f}",
            f"{found.interval:.2f}",
            f"{by_nine:.3f}",
            f"{found.end} of {found.runs}",
            f"{found.hold} of {found.runs}",
        ]
    )
pages.table(
    ["layers", "parameters", "mean", "95 % interval", "nine views", "end", "hold"],
    rows,
    "The family: test accuracy in percent after the last epoch, by one view, and the "
    f"mean by nine. By one view, how many runs end at {TARGET} or above, and hold it "
    "through three epochs.",
)

# %% tags=["audit", "hide-input"]
pages.candidates(tried)

# %% tags=["audit", "hide-input"]
pages.results(run)

# %% tags=["audit", "hide-input"]
pages.provenance(run)

# %% [markdown]
# ## Was it reached?

# %% tags=["hide-input"]
pages.verdicts(stage)

# %% tags=["hide-input"]
several = evidence.verdict([one.test_accuracies for one in now])
single = study.verdict_of(now)
pages.hold_to("By one view: yes", single.reached and several.reached)
pages.hold_to("fewer than four thousand", stage.parameters < 4000)


def doubt(found):
    sure = "beyond doubt" if found.beyond_doubt else "not beyond doubt"
    return f"{sure}: the interval begins at {found.interval.low:.3f} %"


Text(f"""
- **By one view: yes** on average, with fewer than four thousand parameters, and
  {doubt(single)}.
- **By nine views** as well, and {doubt(several)}.
""")

# %% [markdown]
# ## Next
#
# [Train this network in your browser](../lab.md#preset=10). Small is not fast: [stage
# 11](11_faster.py) works against the clock.
