# %% [markdown]
# # Honest evaluation
#
# An accuracy is a measurement, and measurements can flatter. The original of this
# tutorial reports the best of fifteen epochs of one training, judged on the test images
# each time. Nothing in that is made up, and yet the next training need not reach it. By
# how much?
#
# **You will learn** what one figure is worth, why a best epoch flatters, what a
# validation split is for, and that some test labels are wrong.
#
# **Know first** one of the [stages](../stages/08_lr_scheduler.py), for what a run is.

# %% tags=["hide-input"]
import itertools
import statistics

import numpy as np
import torch

from mnist_steps import (
    data,
    evaluation,
    figures,
    pages,
    runs,
    stages,
)
from mnist_steps.experiments import evidence, frontier, study
from mnist_steps.markup import Text

test = data.mnist().test
records = [runs.load(stage.number) for stage in stages.STAGES[:8]]
store = study.Store()
# A run of the study that is also a record is one run: count it once.
outcomes = [
    outcome
    for stage in stages.STAGES[:8]
    for outcome in store.outcomes(stage)
    if outcome.seed != stages.SEED
]

# %% tags=["hide-input"]
Text(
    f"Most of what follows is computed from the {len(records)} recorded runs, one a "
    "stage, and "
    + (
        f"the {len(outcomes)} runs of the study over many seeds."
        if outcomes
        else "from no others: the study over many seeds has no runs yet."
    )
)

# %% [markdown]
# ## What one figure is worth
#
# A network was tested on ten thousand digits. Other digits, another figure: Wilson's
# interval says where its share of *all* digits may lie.

# %% tags=["fold"]
rows = []
for run in records:
    right = int((run.predictions == test.labels).sum())
    interval = evidence.wilson(right, len(test))
    rows.append(
        [
            f"stage {run.stage.number}",
            f"{100 * right / len(test):.2f}",
            f"{interval:.2f}",
            "yes" if evidence.TARGET in interval else "no",
        ]
    )
pages.table(
    ["", "final epoch", "95 % interval", "99.4 inside?"],
    rows,
    "Test accuracy of the recorded runs in percent, with Wilson's interval.",
)

# %% [markdown]
# Where the interval holds the target, one run can neither claim nor deny it. And this
# is only the chance of the test images. Another seed gives another network, which no
# formula about one run can know: that takes several.

# %% tags=["hide-input"]
rows = []
for stage in stages.STAGES[:8]:
    summary = store.summary(stage)
    if summary is not None and summary.sd is not None:
        rows.append(
            [
                f"stage {stage.number}",
                f"{summary.seeds}",
                summary.mean_and_sd,
                f"{summary.min:.2f}",
                f"{summary.pass_rate:.0%}",
                f"{stage.claim.best_test_accuracy:.2f}",
            ]
        )
seeds_table = (
    pages.table(
        ["", "seeds", "mean ± sd", "least", "passed", "the original"],
        rows,
        "Final test accuracy in percent over seeds. A run passes when its last three "
        "epochs all reach the target. The original: the best epoch of one run.",
    )
    if rows
    else Text(
        "The study has no stage with two seeds yet, so the spread between seeds cannot "
        "be shown here. `mnist-steps study --stages 3-8 --seeds 10` makes it."
    )
)
seeds_table

# %% [markdown]
# ## The best of fifteen epochs
#
# Late epochs move the accuracy a little up or down, although the network hardly
# improves any more. Whoever reports the best epoch reports the luckiest moment. The
# final epoch was fixed before anybody looked.

# %% tags=["fold"]
histories = {
    (run.stage.number, run.seed): [epoch.test_accuracy for epoch in run.epochs]
    for run in records
} | {(outcome.number, outcome.seed): outcome.test_accuracies for outcome in outcomes}
gaps = [max(history) - history[-1] for history in histories.values()]
at_the_end = sum(gap == 0 for gap in gaps)

rows = []
for run in records:
    claim = run.stage.claim
    rows.append(
        [
            f"stage {run.stage.number}",
            f"{run.final_test_accuracy:.2f}",
            f"{run.best_test_accuracy:.2f}",
            f"{run.best_test_accuracy - run.final_test_accuracy:.2f}",
            f"{claim.best_test_accuracy - claim.final_test_accuracy:.2f}",
        ]
    )
pages.table(
    ["", "final", "best", "best − final", "the original's best − final"],
    rows,
    "What the best epoch adds to the final one, in percentage points.",
)

# %% tags=["hide-input"]
Text(
    f"Over {len(gaps)} runs the best epoch lies "
    f"**{statistics.fmean(gaps):.3f} points** above the final one on average, at most "
    f"{max(gaps):.2f}; in {at_the_end} of them the final epoch *is* the best. For "
    "scale: the standard error of one run at the target is "
    f"{pages.standard_error(evidence.TARGET):.3f} points."
)

# %% [markdown]
# How much of that is luck? Simulate a network that has stopped improving, whose figure
# only wavers from epoch to epoch as our runs do near their end, and report the best of
# several.

# %%
# The spread of steps, over the root of two, is that of figures without a steady rise.
wavering = statistics.median(
    np.diff(history[-6:]).std(ddof=1) / 2**0.5 for history in histories.values()
)
generator = np.random.default_rng(0)
flattery = {}
for epochs in range(1, 16):
    figures_seen = generator.normal(0, wavering, size=(20_000, epochs))
    flattery[epochs] = figures_seen.max(axis=1).mean()
for epochs in (1, 2, 3, 5, 10, 15):
    print(f"best of {epochs:2}: flatters by {flattery[epochs]:+.3f} points")

# %% tags=["hide-input"]
gained = statistics.fmean(gaps)
competing = next((epochs for epochs in flattery if flattery[epochs] >= gained), None)
Text(
    f"The figures of a typical run waver by {wavering:.3f} points (standard "
    f"deviation), and the best of fifteen such figures flatters by {flattery[15]:.3f}. "
    f"Ours gained {gained:.3f}, "
    + (
        "more than luck at the end of a training explains."
        if competing is None
        else f"no more than the best of {competing}. "
        + (
            "Not all epochs compete: early ones are too poor to win."
            if competing < 15
            else ""
        )
    )
)

# %% [markdown]
# ## The best of ten, a hundred, seven hundred runs
#
# Seeds can be picked as epochs can. Train one network with many seeds and report the
# best run: how far does it lie above the mean, which is what the next training can
# expect? The runs of all stages with ten seeds, each measured in standard deviations
# from its stage's mean, are a stock of luck to draw from.

# %% tags=["fold"]
deviations = []
for stage in stages.STAGES:
    finals = np.array([one.figures.final for one in store.outcomes(stage)])
    if len(finals) >= 10:
        # A mean of its own runs lies too near to them; the root puts that right.
        enlarged = (len(finals) / (len(finals) - 1)) ** 0.5
        deviations += list(enlarged * (finals - finals.mean()) / finals.std(ddof=1))
last_stage = store.summary(stages.get(8))

ours, bell = {}, {}
for count in (1, 2, 5, 10, 30, 100, 300, 700):  # runs to pick the best from
    drawn = generator.choice(deviations, size=(1_000, count)).max(axis=1).mean()
    normal = generator.normal(size=(1_000, count)).max(axis=1).mean()
    ours[count], bell[count] = last_stage.sd * drawn, last_stage.sd * normal

# %% tags=["hide-input"]
figures.picked({"like a bell": bell, "like our runs": ours})

# %% tags=["hide-input"]
pages.table(
    ["", "as our runs differ", "as a bell does", "what would be shown"],
    [
        [
            f"best of {count}",
            f"{ours[count]:+.3f}",
            f"{bell[count]:+.3f}",
            f"{last_stage.mean + bell[count]:.2f} %",
        ]
        for count in (10, 100, 700)
    ],
    "How far the best of several runs lies above their mean, in percentage points: for "
    f"stage 8, whose mean is {last_stage.mean:.3f} % and whose seeds have a standard "
    f"deviation of {last_stage.sd:.3f}. The shape is that of {len(deviations)} runs, "
    "or that of a bell.",
)

# %% tags=["hide-input"]
far = [count for count in ours if bell[count] > ours[count] + 0.01]
pages.hold_to("From there on", bool(far))
Text(f"""
So a network with a mean of {last_stage.mean:.2f} % shows
{last_stage.mean + bell[10]:.2f} % to whoever picks from ten runs, and
{last_stage.mean + bell[700]:.2f} % to whoever picks from seven hundred. It is the same
network. The two lines part at {far[0]} runs: {len(deviations)} runs hold no rarer luck
than one in so many. From there on only the bell says more, and whether luck has its
shape so far out, nobody has measured here.
""")

# %% [markdown]
# ### Reading what others have published
#
# Nearly all public figures are of *one* run, most of its best epoch, judged on the test
# digits. That is no fraud, but it has to be known. Where a log is shown, the last epoch
# can be read beside the best:

# %% tags=["hide-input"]
shown = [one for one in frontier.PUBLISHED if one.final is not None]
below = [one for one in shown if one.final < one.best]
pages.table(
    ["public run", "best epoch", "last epoch"],
    [
        [
            f"{one.parameters:,} parameters",
            f"{one.best:.2f}",
            "not shown" if one.final is None else f"{one.final:.2f}",
        ]
        for one in frontier.PUBLISHED
    ],
    "Test accuracy in percent of one run each, as far as we could read it; where they "
    "are, stage 10 says.",
)

# %% tags=["hide-input"]
Text(f"""
Of {len(frontier.PUBLISHED)} such runs {len(shown)} show their last epoch, and in
{len(below)} it lies below the best. Of how many runs each is the best, a log cannot
say. So ask of a figure: *best or last epoch? One run, or the best of how many? Judged
on which digits, and did these digits choose anything?* A headline that its own log does
not show is not a result.
""")

# %% [markdown]
# ## Choosing on the test set
#
# Eight stages were tried on the same test images, and each decision to keep something
# looked at the outcome. Every such choice fits the test images a little. To see it, cut
# them in two at random, choose the network that is best on the first half, and look at
# its figure on the second, which had no say.

# %%
predictions = torch.stack(
    [run.predictions.long() for run in records]
    + [outcome.predictions(test.labels) for outcome in outcomes]
)
correct = (predictions == test.labels).numpy()  # (networks, 10000)
half = len(test) // 2
splits = [generator.permutation(len(test)) < half for _ in range(500)]
chooses = np.stack(splits).astype(np.float32)  # (500, 10000)
first = 100 / half * chooses @ correct.T.astype(np.float32)  # (500, networks)
second = 2 * 100 * correct.mean(axis=1) - first
winners = first.argmax(axis=1)[:, None]
chosen_on = np.take_along_axis(first, winners, axis=1).mean()
judged_on = np.take_along_axis(second, winners, axis=1).mean()
selection = chosen_on - judged_on
print(f"the winner where it was chosen: {chosen_on:.3f} %")
print(f"the winner on the other half:   {judged_on:.3f} %")

# %% tags=["hide-input"]
Text(
    f"Choosing among {len(correct)} networks flatters the winner by **{selection:.3f} "
    f"points** on average, with {half:,} images to choose on."
)

# %% [markdown]
# ## The validation split
#
# So choices need images of their own. The package keeps the last training images for
# that:

# %%
mnist = data.mnist()
for name in ("full_train", "train", "validation", "test"):
    print(f"{name:10} {len(getattr(mnist, name)):6,} images")

# %% [markdown]
# `study.tasks_for(stage, seeds, judged_on="validation")` trains without them and judges
# on them. Choose by that, as often as you like; then train the one choice on all
# training images, and look at the test images once.
#
# A validation image must not be trained on. The recorded runs reproduce the original,
# which trained on all sixty thousand. What would *their* "validation" accuracy say?

# %% tags=["fold"]
rows, differences = [], []
for run in records:
    if run.stage.parameters > 8_000:
        continue  # the small ones do, and take a second each
    judged = evaluation.evaluate(
        run.build(), mnist.validation, run.stage.recipe
    ).accuracy
    differences.append(judged - run.final_test_accuracy)
    rows.append(
        [
            f"stage {run.stage.number}",
            f"{judged:.2f}",
            f"{run.final_test_accuracy:.2f}",
            f"{differences[-1]:+.2f}",
        ]
    )
pages.table(
    ["", "validation images", "test images", "difference"],
    rows,
    "Accuracy in percent of the recorded networks, which were trained on the "
    "validation images too.",
)

# %% tags=["hide-input"]
above = sum(difference > 0 for difference in differences)
Text(
    f"{above} of {len(differences)} networks look better on the images that they were "
    f"trained on, by {statistics.fmean(differences):.2f} points on average. Part of "
    "that is memory. How much, only a network that never saw these images could tell."
)

# %% [markdown]
# Even a clean validation figure need not equal the test figure. MNIST's test digits
# were written by other people than its training digits ([LeCun, Cortes and
# Burges](https://yann.lecun.com/exdb/mnist/)), while training and validation images
# share their writers. Use validation figures to compare, not to foretell.
#
# ## Digits that everybody gets wrong
#
# Some mistakes are no accident of one training. How many networks get each digit wrong?

# %%
wrong_by = (~correct).sum(axis=0)  # (10000,)
networks = len(correct)
everybody = np.flatnonzero(wrong_by == networks)
most = np.flatnonzero(wrong_by >= 0.75 * networks)
print(f"wrong by at least one of {networks} networks: {(wrong_by > 0).sum()} digits")
print(f"wrong by three quarters of them:   {len(most)}")
print(f"wrong by all of them:              {len(everybody)}")

# %% tags=["hide-input"]
worst = most[np.argsort(-wrong_by[most], kind="stable")][:24]
seen_as = torch.mode(predictions[:, worst], dim=0).values
titles = [
    f"no. {position}\n{test.labels[position]}, seen as {digit}\n"
    f"by {wrong_by[position]} of {networks}"
    for position, digit in zip(worst.tolist(), seen_as.tolist(), strict=True)
]


def two_panels(positions, titles, said):
    """Digits in two panels: beside each other, or on a phone below each other."""
    half = 3 * -(-len(titles) // 6)
    return figures.panels(
        *(
            figures.digits(
                test.images[positions[part]],
                titles[part],
                columns=3,
                alt=f"{said}: {'; '.join(titles[part])}.".replace("\n", ", "),
            )
            for part in (slice(half), slice(half, None))
        )
    )


two_panels(worst, titles, "Test digits that most networks get wrong")

# %% [markdown]
# Above each: its position, the label, what the networks most often take it for, and how
# many get it wrong. Where networks of different size, recipe and seed agree against the
# label, the label is the suspect. Candidates, no more: one family shares its blind
# spots.
#
# ## Labels that people doubt
#
# Northcutt, Athalye and Mueller let five people look at each test digit that their
# method flagged, and found fifteen of MNIST's test labels to be wrong ([Pervasive Label
# Errors in Test Sets Destabilize Machine Learning
# Benchmarks](https://arxiv.org/abs/2103.14749), NeurIPS 2021; the votes are
# [published](https://github.com/cleanlab/label-errors/tree/main/mturk)). These are the
# fifteen digits of which fewer than three of the five saw what the label says.

# %% tags=["fold"]
# position: label, the other digit asked about,
# and the votes for the label, for the other, for neither
DOUBTED = {
    947: (8, 9, 0, 5, 0),
    1621: (0, 6, 2, 3, 0),
    1901: (9, 4, 2, 3, 0),
    2130: (4, 9, 2, 2, 1),
    2462: (2, 0, 0, 4, 1),
    2597: (5, 3, 0, 4, 1),
    2654: (6, 1, 0, 2, 3),
    3520: (6, 4, 2, 0, 3),
    3558: (5, 0, 1, 4, 0),
    5937: (5, 3, 1, 3, 1),
    6651: (0, 6, 0, 5, 0),
    6783: (1, 6, 2, 3, 0),
    8527: (4, 9, 2, 2, 1),
    9679: (6, 3, 2, 0, 3),
    9729: (5, 6, 2, 3, 0),
}
doubted = list(DOUBTED)
assert test.labels[doubted].tolist() == [label for label, *_ in DOUBTED.values()]
titles = [
    f"no. {position}\nlabel {label}: {votes} of 5\n{other}: {others} of 5"
    for position, (label, other, votes, others, _) in DOUBTED.items()
]
two_panels(doubted, titles, "Test digits with votes of five people")

# %% tags=["hide-input"]
both = set(doubted) & set(most.tolist())
never = [position for position in doubted if wrong_by[position] == 0]
with_the_people = [
    position
    for position, (_, other, votes, others, _) in DOUBTED.items()
    if others > votes and int(torch.mode(predictions[:, position]).values) == other
]
kept = np.ones(len(test), dtype=bool)
kept[doubted] = False
last = records[-1]
right = (last.predictions == test.labels).numpy()
finals = [run.final_test_accuracy for run in records]
steps = [abs(after - before) for before, after in itertools.pairwise(finals)]
Text(f"""
- **{len(both)} of the {len(doubted)}** doubted digits are among the {len(most)} that
  three quarters of our networks get wrong;
  {len(set(doubted) & set(everybody.tolist()))} of the {len(everybody)} that all get
  wrong are doubted.
- On {len(with_the_people)} of them our networks most often see what more people saw
  than the label.
- {len(never) or "None"} of them {"is" if len(never) < 2 else "are"} read as labelled by
  every network.
- Without these {len(doubted)} images the last stage's accuracy is
  {100 * right[kept].mean():.2f} % instead of {100 * right.mean():.2f}. Fifteen images
  are {100 * len(doubted) / len(test):.2f} points;
  {sum(step < 100 * len(doubted) / len(test) for step in steps)} of the {len(steps)}
  steps from one stage to the next are smaller.
""")

# %% [markdown]
# We leave the test set as it is, since only then do figures compare with those of
# others. But a network at the very top of this scale has learnt some of its mistakes.
#
# ## What this tutorial does
#
# - The headline is the **final epoch**, fixed before looking; the best stands beside
#   it.
# - Over **many seeds** where a study has them, with standard deviation, minimum and the
#   share that passes.
# - A difference is called one only when its interval leaves out zero and it exceeds the
#   spread.
# - Stages 1 to 8 repeat **choices** that the original made by looking at test images.
#   One's own belong on the validation images.
#
# ## Exercises
#
# **1.** Somebody trains ten times and reports the best epoch of the best run. Simulate
# it for a true level at the target, with seeds and epochs that waver as ours do.

# %% tags=["solution"]
# Between seeds take as much as between epochs; a study says more.
level = generator.normal(evidence.TARGET, wavering, size=(5_000, 10, 1))
reported = (level + generator.normal(0, wavering, size=(5_000, 10, 15))).max(
    axis=(1, 2)
)
print(f"reported on average {reported.mean():.2f} %, true level {evidence.TARGET} %")
print(f"no reported figure lay below {reported.min():.2f} %")

# %% [markdown]
# **2.** Of the digits that the last stage gets wrong, how many does each other stage
# get wrong too?

# %% tags=["solution"]
mistaken = ~right
for run in records[:-1]:
    theirs = (run.predictions != test.labels).numpy()
    shared = (theirs & mistaken).sum()
    print(
        f"stage {run.stage.number}: {theirs.sum()} mistakes, "
        f"{shared} of the last stage's {mistaken.sum()}"
    )

# %% [markdown]
# **3.** How many digits does a vote of all recorded networks read, compared with the
# best of them? And is it fair to say 'the best of them'?

# %% tags=["solution"]
voted = torch.mode(predictions[: len(records)], dim=0).values
shares = 100 * correct[: len(records)].mean(axis=1)
print(f"the vote: {100 * (voted == test.labels).float().mean():.2f} %")
print(
    f"the best single network: {shares.max():.2f} %, chosen by looking at the test "
    "images"
)
print(f"the networks' mean: {shares.mean():.2f} %")

# %% [markdown]
# ## Next
#
# [Studies over many seeds](study.md) make the runs that such statements need.
