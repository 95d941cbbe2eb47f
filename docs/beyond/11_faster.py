# %% [markdown]
# # 11. What fits into fifteen seconds?
#
# Eight stages made the network small. This one makes it quick, with nearly as many
# parameters as [stage 8](../stages/08_lr_scheduler.py). Look at the multiplications:

# %% tags=["hide-input"]
import statistics

import torch
from torch import nn

from mnist_steps import (
    data,
    engine,
    evaluation,
    figures,
    pages,
    runs,
    stages,
    summary,
)
from mnist_steps.experiments import bench, evidence, ladder, study
from mnist_steps.markup import Text

SECONDS = 15  # of a training, at most
stage, before = stages.get(11), stages.get(8)
run, old = runs.load_or_train(11), runs.load_or_train(8)
store = study.Store()
now, earlier = store.outcomes(stage), store.outcomes(before)
figures.budget(before, stage)

# %% [markdown]
# **You will be able to**
#
# - say what a training's time is made of, and what to change when time is short,
# - compute what a stride saves, and see what it costs,
# - tell on a ladder of changes which of them pay.
#
# ## The idea
#
# With $N$ training digits in batches of $B$, a training takes
#
# $$\text{time} = \text{epochs} \cdot \frac{N}{B} \, (t_0 + B \, t_1)$$
#
# where $t_0$ is what a step costs however few digits it has, and $t_1$ what each digit
# adds. So there are three ways: fewer epochs, larger batches, cheaper digits.
#
# A digit costs its multiplications, more or less, and most of them are spent where maps
# are large. With a **stride** of $s$ a kernel moves on by $s$ pixels, so that of $n$
# pixels a side
#
# $$n_\text{out} = \frac{n - k}{s} + 1$$
#
# places are left, rounded down. The area, and with it the work, falls with $s^2$, in
# this layer *and in all that follow*:

# %%
for stride in (1, 2, 3):
    places = (28 - 4) // stride + 1  # of a kernel of 4×4
    first = places**2 * 4**2 * 24  # to 24 channels
    second = (places - 2) ** 2 * 3**2 * 24 * 16  # 3×3, to 16 channels
    print(f"stride {stride}: {places:2} a side, {first + second:9,} multiplications")

# %% tags=["hide-input"]
figures.places([before, stage])

# %% tags=["hide-input"]
test = data.mnist().test[:2000]


def changed_by_a_pixel(run):
    """How many of the digits are read otherwise when they move right by one pixel."""
    model, constants = run.build(), run.stage.recipe.normalize_test
    straight, moved = (
        evaluation.log_probabilities(model, images, constants).argmax(dim=1)
        for images in (test.images, evaluation.shifted(test.images, 0, 1))
    )
    return int((straight != moved).sum())


changed, changed_before = changed_by_a_pixel(run), changed_by_a_pixel(old)
pages.hold_to("What does it cost", changed > changed_before)
Text(f"""
What does it cost? A network that looks at every third place sees a digit anew when it
moves by one pixel. Then it reads {changed} of {len(test):,} test digits otherwise; in
stage 8 it was {changed_before}. That is why stage 11 judges by
[nine views](09_reliable.py#nine-views) after its last epoch.
""")

# %% [markdown]
# ## The change

# %% tags=["hide-input"]
figures.folded("Both networks, drawn", figures.network_change(before, stage))

# %% tags=["hide-input"]
table, old_table = (
    summary.summarize(each.build(), (1, 28, 28)) for each in (stage, before)
)
work = table.total_multiplications / old_table.total_multiplications
peaks = stage.recipe.schedule.max_lr / before.recipe.schedule.max_lr
Text(f"""
The first layer has a stride of three, a kernel of four, so that no pixel is left out,
and more channels, for it alone sees the pixels. {table.total_params:,} parameters,
{old_table.total_params:,} before; {work:.0%} of the multiplications. Fewer epochs,
batches twice as large, and a peak rate {peaks:.0f} times as high, to cross the same
ground in fewer steps.
""")

# %% tags=["hide-input"]
figures.folded("What changes in the recipe", pages.recipe_change(before, stage))

# %% [markdown]
# ## Predict

# %% tags=["hide-input"]
ends = [one.figures.final for one in study.Store().outcomes(stage)]
mean = statistics.fmean(ends)
pages.predict(
    "Stage 8 trains for fifteen epochs at full resolution. This one looks at every "
    "third place, trains in a fraction of the time, and is judged by nine views. Its "
    f"mean over {len(ends)} seeds?",
    ("Below 99.35 %", "From 99.35 to 99.45 %", "Above 99.45 %"),
    answer=0 if mean < 99.35 else 1 if mean <= 99.45 else 2,
    explanation=f"It is {mean:.3f} %.",
)

# %% [markdown]
# ## What happened

# %% tags=["hide-input"]
figures.beside(figures.seeds([before, stage]), figures.all_curves([before, stage]))

# %% tags=["hide-input"]
seconds = [one.seconds for one in now]
where = now[0].environment
Text(f"""
A training takes **{statistics.fmean(seconds):.1f} seconds**, from reading the data to
the trained network, all judging included: {min(seconds):.1f} to {max(seconds):.1f} over
{len(now)} seeds, on {where["threads"]} threads of {where["processor"]}, by this
project's [engine](../guides/speed.py), which does in C what PyTorch does. In the last
epoch the curves leap: there, nine views judge.
""")

# %% tags=["hide-input"]
figures.folded("Digits that are newly right or wrong", pages.newly(before, stage))

# %% [markdown]
# ## Why
#
# Which of the changes did it? A ladder tells: it begins with stage 8 in six epochs, and
# each **rung** changes one thing more and keeps the changes above it. All are computed
# by the engine, so that the change shows and not the code.

# %% tags=["hide-input"]
rungs = [(rung, made) for rung, made in ladder.LADDER.outcomes() if made]
figures.rungs(
    [
        figures.Rung(
            rung.title,
            [one.figures.final for one in made],
            statistics.fmean(one.seconds for one in made),
            9 if rung.stage.recipe.test_shifts else 1,
        )
        for rung, made in rungs
    ]
)

# %% tags=["hide-input"]
effects, unproven = {}, []
for (_, above), (rung, made) in zip(rungs, rungs[1:], strict=False):
    change = evidence.compare(
        [one.figures.final for one in above], [one.figures.final for one in made]
    )
    times = [statistics.fmean(one.seconds for one in each) for each in (above, made)]
    effects[rung.name] = (rung, change, 1 - times[1] / times[0])
    gains = change.ranked and change.difference > 0
    if not gains and effects[rung.name][2] < 0.1:
        unproven.append(f"'{rung.title}'")
_, strided, saved = effects["stride"]
_, viewed, _ = effects[None]
pages.hold_to("saves most of the time", saved > 0.5)
pages.hold_to("and costs accuracy", strided.difference < 0)
pages.hold_to("bring it back", viewed.ranked and viewed.difference > 0)
cost = "beyond chance" if strided.ranked else "within what seeds differ by"
weak = (
    f"- **Not proven**, with these seeds: {' and '.join(unproven)}, neither a tenth of "
    "the time nor accuracy beyond chance. The rungs below were chosen with them."
    if unproven
    else ""
)
Text(f"""
- **The stride** saves most of the time, {saved:.0%}, and costs accuracy:
  {strided.difference:+.2f} points, {cost}.
- **Nine views** at the end bring it back: {viewed.difference:+.2f} points, from the
  same weights.
{weak}
""")

# %% tags=["hide-input"]
first_rung, first = rungs[0]
by_epoch = (
    statistics.fmean(seconds) / stage.recipe.epochs,
    statistics.fmean(one.seconds for one in first) / first_rung.stage.recipe.epochs,
)
time_share = by_epoch[0] / by_epoch[1]
follows = (
    "time follows the multiplications"
    if time_share < 1.2 * work
    else "the rest is no multiplication, such as moving digits and starting each step"
)
Text(f"""
Multiplications fall to {work:.0%} of stage 8's, an epoch's time to {time_share:.0%}:
{follows}. And there are fewer epochs.
""")

# %% [markdown]
# **How it was found:** strides, epochs, rates and views were compared on validation
# images, some twenty networks with few seeds; early tries were looked at on test digits
# too. **What it confounds:** the order of the rungs. At another place, a rung might pay
# less, or more.
#
# ## Check yourself

# %% tags=["hide-input"]
pages.check(
    "An image is 28 pixels wide. A kernel of 4 pixels moves with a stride of 3, "
    "without padding. How many places does it have in a row?",
    [
        ("7", "28 / 4 is how many kernels lie side by side. These overlap by a pixel."),
        ("9", "(28 − 4) / 3 + 1: eight steps, and the place where it begins."),
        ("25", "That is with a stride of 1."),
    ],
    answer=1,
)

# %% tags=["hide-input"]
pages.check(
    "You double the batch and keep the epochs. How many steps does the training take?",
    [
        ("As many, with more digits each", "The digits of an epoch stay as many."),
        ("Twice as many", "Each step takes more digits, so fewer are needed."),
        ("Half as many", "So a higher rate may make up for the fewer steps."),
    ],
    answer=2,
)

# %% tags=["hide-input"]
pages.check(
    "A rung gains 0.02 points, and its seeds have a standard deviation of 0.05. Do you "
    "keep it?",
    [
        ("If it saves time", "Its accuracy is undecided, its time is measured."),
        ("Yes, it gains", "Other seeds might well have shown a loss."),
        ("No, it is too small", "Small is no reason, if it costs nothing."),
    ],
    answer=0,
)

# %% [markdown]
# ## Exercises
#
# **1.** Where does a step's time go, beside stage 8's?

# %% [markdown] tags=["hint"]
# `bench.breakdown` measures a few steps of a stage, part by part.

# %% tags=["solution"]
choice = engine.choose(stage.build(), stage.recipe)
for each in (before, stage):
    step = bench.breakdown(each, steps=20, engine=choice.engine)
    print(f"stage {each.number}: {step}\n")

# %% [markdown]
# **2.** Move test digits to the right by one, two, three pixels. How many answers of
# one view change, and how many of nine?

# %% [markdown] tags=["hint"]
# `evaluation.evaluate(model, split, recipe, final=True)` judges by nine views, without
# `final` by one. `evaluation.shifted` moves images.

# %% tags=["solution"]
model = run.build()
for pixels in (1, 2, 3):
    moved = data.Split(evaluation.shifted(test.images, 0, pixels), test.labels)
    for final in (False, True):
        before_move, after_move = (
            evaluation.evaluate(model, split, stage.recipe, final).predictions
            for split in (test, moved)
        )
        views = "nine views" if final else "one view"
        print(f"{pixels} to the right, {views}: {(before_move != after_move).sum()}")

# %% [markdown]
# **3.** *A training broken on purpose.* 'Normalization takes time', says a student, and
# takes it out. The rate stays as high as on this page. What happens, and why?

# %% tags=["fold"]
train = data.mnist().full_train[:12800]
digits = stage.recipe.normalize_train(train.images.float() / 255)


def losses_of(rate, normalized):
    torch.manual_seed(8)
    network = nn.Sequential(
        *(
            layer
            for layer in stage.build()
            if normalized or not isinstance(layer, nn.BatchNorm2d)
        )
    )
    optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9)
    found = []
    for images, labels in zip(digits.split(128), train.labels.split(128), strict=True):
        optimizer.zero_grad()
        loss = nn.functional.nll_loss(network(images), labels)
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


high = stage.recipe.schedule.max_lr
losses = {"healthy": losses_of(high, True), "broken": losses_of(high, False)}
figures.loss_by_step(losses, steps=100)

# %% [markdown] tags=["hint"]
# Try lower rates. And what does a normalization make of a layer whose weights have
# become ten times as large?

# %% tags=["solution"]
last = [
    statistics.fmean(losses_of(rate, normalized=False)[-10:]) for rate in (0.01, 0.1)
]
assert last[0] < last[1] < statistics.fmean(losses["broken"][-10:])
print(f"rate 0.01: the loss ends at {last[0]:.3f}, rate 0.1: at {last[1]:.3f}")

# %% [markdown] tags=["solution"]
# The higher the rate, the worse it learns. Behind a normalization it does not matter
# how large a layer's weights are, for what comes out is scaled back: a step that was
# too large does no harm that stays. Without it, it does. Normalization takes time, and
# it is **what lets the rate be this high**.

# %% [markdown] tags=["audit"]
# ## The audit

# %% tags=["audit", "hide-input"]
table

# %% tags=["audit", "hide-input"]
pages.recipe(stage)

# %% tags=["audit", "hide-input"]
rows = []
for rung, made in rungs:
    found = study.summary_of(made)
    _, change, less = effects.get(rung.name, (None, None, None))
    if rung is first_rung:
        change = None
    effect, sure = "–", ""
    if change is not None:
        effect = f"{change.difference:+.3f}"
        sure = "beyond chance" if change.ranked else "within chance"
    rows.append(
        [
            rung.title,
            found.mean_and_sd,
            effect,
            sure,
            f"{found.seconds:.1f}",
            f"{found.seeds}",
        ]
    )
pages.table(
    ["changed", "accuracy", "difference", "", "seconds", "seeds"],
    rows,
    "Mean and standard deviation of the test accuracy after the last epoch in percent; "
    "the difference from the rung above in points; mean time of a training.",
    words=(3,),
)

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
# The last rung but one is the same trainings, judged by one view to the end.
single = study.verdict_of(now) or study.verdict_of(rungs[-2][1])
pages.hold_to("Yes, by nine views", several.reached)
pages.hold_to("Within fifteen seconds", statistics.fmean(seconds) <= SECONDS)
judged = "yes as well" if single.reached else "no"
Text(f"""
- **Yes, by nine views**, on average.
- **By one view**, which is what *reached* means here: {judged}, the mean is
  {single.mean:.3f} %.
- **Within fifteen seconds:** yes, {statistics.fmean(seconds):.1f} seconds.
""")

# %% [markdown]
# ## Next
#
# See it happen on your machine, `mnist-steps train 11`, or [in your
# browser](../lab.md#preset=11). The [guide to speed](../guides/speed.py) tells where a
# step's time goes.
