# %% [markdown]
# # 9. Can every seed reach it?
#
# [Stage 8](../stages/08_lr_scheduler.py) reaches 99.4 % on average, and misses it with
# some seeds. Its runs are the dots, their mean and spread make the bell, and what is
# shaded red lies below.

# %% tags=["hide-input"]
import statistics

import torch
from torch import nn

from mnist_steps import augment, data, evaluation, figures, pages, runs, stages, summary
from mnist_steps.experiments import evidence, search, study
from mnist_steps.experiments.causes import CAUSES
from mnist_steps.experiments.frontier import PUBLISHED
from mnist_steps.markup import Text
from mnist_steps.stages import BUDGET, TARGET

stage, before = stages.get(9), stages.get(8)
run, old = runs.load_or_train(9), runs.load_or_train(8)
store = study.Store()
now, earlier = store.outcomes(stage), store.outcomes(before)
finals, finals_before = ([one.figures.final for one in made] for made in (now, earlier))
figures.bells({"stage 8": finals_before})

# %% [markdown]
# **You will be able to**
#
# - say how far above a target the mean must lie for nearly every run to reach it,
# - say what a stride throws away, and how dilation keeps it,
# - search for a network without touching the test images.
#
# ## The idea
#
# ### How far above is safe?
#
# Runs of one network scatter around their mean $m$, with a standard deviation $s$. If
# they do so like a bell, the share that ends below a target $T$ is
#
# $$P(\text{below}) = \Phi(z) \qquad z = \frac{T - m}{s}$$
#
# where $\Phi(z)$ is the share of the standard bell to the left of $z$. So what counts
# is how many standard deviations lie between mean and target:

# %%
from statistics import NormalDist

for above in (0, 1, 2, 3):  # standard deviations from the target up to the mean
    below = NormalDist().cdf(-above)
    all_ten = (1 - below) ** 10
    print(f"{above}: {below:5.1%} end below, all of ten reach it: {all_ten:.0%}")

# %% tags=["hide-input"]
mean, spread = statistics.fmean(finals_before), statistics.stdev(finals_before)
above = (mean - TARGET) / spread
below = statistics.NormalDist().cdf(-above)
missed = sum(final < TARGET for final in finals_before)
pages.hold_to("That is too close", 0 < above < 1)
Text(f"""
Stage 8's mean lies {above:.1f} standard deviations above the target. That is too close:
the bell expects {below:.0%} to miss it, and {missed} of {len(earlier)} did. It takes a
higher mean, or less spread.
""")

# %% [markdown]
# ### Nine views
#
# Moved by one pixel, a digit stays the same digit, but the network's answer wavers. So
# ask nine times, as it is and moved to all sides, and take the mean over these
# **views**, $\log p(k) = \frac{1}{9} \sum_{v=1}^{9} \log p_v(k)$ (then scale the ten
# to a sum of one). Here stage 8 is asked. The fifth view, the digit as it is, misleads
# it; the mean of nine does not:

# %% tags=["hide-input"]
test, model = data.mnist().test, old.build()
constants = before.recipe.normalize_test
moves = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
for position in old.wrong(test.labels):
    digit, label = test.images[[position]], int(test.labels[position])
    views = torch.cat([evaluation.shifted(digit, *move) for move in moves])
    answers = evaluation.log_probabilities(model, views, constants)
    if answers.mean(dim=0).argmax() == label:
        break
figures.views(views, answers.exp(), label)

# %% [markdown]
# That is nine times the work, and **the same network**, so this page judges both ways.
#
# ### Keep every place
#
# Why does it waver? A pooling by two looks at every second place of every second row,
# and a digit moved by one pixel falls on others. Without its stride all stay, but
# kernels behind it see half as far, unless their weights lie two apart. That is
# **dilation**:

# %% tags=["hide-input"]
figures.beside(
    figures.one_axis([("pool", 2, 2, 1), ("conv", 3, 1, 1)], 14, 2),
    figures.one_axis([("pool", 2, 1, 1), ("conv", 3, 1, 2)], 14, 4),
)

# %% [markdown]
# Both kernels see six pixels across. With the same weights both compute the same, the
# dilated one at the places in between as well:

# %% tags=["fold"]
torch.manual_seed(8)
maps = torch.randn(1, 14, 24, 24)
pooled = nn.Sequential(nn.MaxPool2d(2, stride=2), nn.Conv2d(14, 14, 3))
dilated = nn.Sequential(nn.MaxPool2d(2, stride=1), nn.Conv2d(14, 14, 3, dilation=2))
dilated.load_state_dict(pooled.state_dict())

few, many = pooled(maps), dilated(maps)
same = torch.allclose(many[..., ::2, ::2], few, atol=1e-5)  # but for rounding
print(f"places: {tuple(few.shape[2:])} and {tuple(many.shape[2:])}")
print(f"every second one of every second row is the same: {same}")

# %% [markdown]
# So the mean at the end hears the strided network four times: of the digit as it is,
# and moved down, to the right, and both. No parameter more, and in each of these layers
# about three and a half times the work.
#
# ### Choose without looking
#
# Trying many networks on the test digits and keeping the best is luck again. So each
# candidate here learnt from eleven twelfths of the training digits, and was judged on
# the rest, its [validation images](../guides/evaluation.py): not by accuracy, which
# counts a few mistakes, but by loss, the mean of $-\log p$, $p$ being the probability
# of the right digit. That asks how sure it was of *all*.
#
# ## The change

# %% tags=["hide-input"]
figures.folded("Both networks, drawn", figures.network_change(before, stage))

# %% tags=["hide-input"]
convolutions = [
    sum(isinstance(layer, nn.Conv2d) for layer in each.build())
    for each in (before, stage)
]
pages.hold_to("There are fewer", convolutions[1] < convolutions[0])
split = data.mnist()
pages.hold_to("eleven twelfths", 12 * len(split.train) == 11 * len(split.full_train))
work = many[0, 0].numel() / few[0, 0].numel()
pages.hold_to("three and a half times", 3.3 < work < 3.7)
peaks = stage.recipe.schedule.max_lr / before.recipe.schedule.max_lr
Text(f"""
**Every place is kept:** the pooling has lost its stride, and the kernels behind it are
dilated. There are fewer and wider layers, all with a ReLU now: {stage.parameters:,}
parameters; stage 8 has {before.parameters:,}. The peak rate is {peaks:.0f} times as
high, crops are lighter, shifts are new, and **weight decay** pulls each weight a little
towards zero at every step.
""")

# %% tags=["hide-input"]
figures.folded("What changes in the recipe", pages.recipe_change(before, stage))

# %% [markdown]
# ## Predict

# %% tags=["hide-input"]
made = study.Store().outcomes(stage)
own = [evidence.run_figures(one.one_view_accuracies) for one in made]
holding = sum(one.passes() for one in own)
ending = sum(one.final >= TARGET for one in own)
pages.predict(
    f"Stage 9 was trained with {len(own)} seeds. In how many of these trainings are "
    "all of the last three epochs at 99.4 % or above, judged by one view?",
    ("In fewer than half", "In most, not in all", "In all"),
    answer=2 if holding == len(own) else 1 if holding * 2 >= len(own) else 0,
    explanation=f"In {holding} of {len(own)}. After the last epoch {ending} are there.",
)

# %% [markdown]
# ## What happened

# %% tags=["hide-input"]
figures.beside(figures.seeds([before, stage]), figures.all_curves([before, stage]))

# %% tags=["hide-input"]
once = [one.one_view_accuracies[-1] for one in now]  # of the same trainings


def views_add(made):
    """What nine views of a run add to one, in points, run by run."""
    return [one.figures.final - one.one_view_accuracies[-1] for one in made]


gains = views_add(now)
gain, worth = evidence.bootstrap(gains), statistics.fmean(gains)
by_one = evidence.compare(finals_before, once)
pages.hold_to("beyond chance", by_one.ranked and by_one.difference > 0)
pages.hold_to("nothing that seeds can show", 0 in gain and abs(worth) < 0.02)
Text(f"""
By one view, as stage 8 is judged, the mean is {by_one.difference:.2f} points above
stage 8's, beyond chance. And nine views, which were to help, are worth {worth:+.3f}
points over {len(gains)} seeds (95 % interval {gain:+.3f}): nothing that seeds can show.
""")

# %% tags=["hide-input"]
figures.folded("Digits that are newly right or wrong", pages.newly(before, stage))

# %% [markdown]
# ## Why
#
# Where does one look among millions of networks? [The ablations](ablation.py) gave two
# hints: the peak rate may be higher, and pooling early costs nothing that seeds could
# show. First came networks by one recipe, then recipes for two of them, then dilation.

# %% tags=["hide-input"]
tried, finalists = search.tried(9), search.tried(9, search.FINALS)
luck = statistics.stdev(one.history[-1].test_loss for one in now)
figures.folded(
    "What was tried, and its loss",
    figures.candidates(search.groups(tried, finalists), luck),
)

# %% tags=["hide-input"]
losses = {one.arm.name.removeprefix("search-"): one.loss for one in tried}
lower = [("wide", "deep"), ("deep", "peak-0.1"), ("wide-light", "wide")]
lower += [("wide-decay", "wide"), ("wide-light-decay", "wide-light")]
gained = [losses[of] - losses[one] for one, of in lower]
pages.hold_to("by less than luck", 0 < min(gained) and max(gained) < luck)
best = finalists[0]
pages.hold_to("it is this stage", best.adopted)
apart = finalists[1].loss - best.loss
pages.hold_to("Lowest, but hardly, is", 0 < apart < luck / 2)
lost = " ".join(one.label for one in finalists[1:])
pages.hold_to("gave no more", "wider at the end" in lost and "the rate rises" in lost)
strided_one = next(one for one in finalists if not one.dilated)
pages.hold_to("was lucky in the first round", strided_one.losses[0] < strided_one.loss)
Text(f"""
One seed drops the worst, and cannot pick the best. Wider layers, a higher peak rate,
lighter crops and a little weight decay each lowered the loss, by less than luck: all
four were taken, which of them count is open.

The finalists had {search.FINALS.seeds} seeds. Lowest, but hardly, is '{best.label}':
it is this stage. Tried later, more channels before the average or another pace of the
rate gave no more. The best with a stride was lucky in the first round:
{strided_one.losses[0]:.4f} with its one seed, {strided_one.loss:.4f} with
{len(strided_one.runs)}. The winner of many is partly a winner by luck.
""")

# %% tags=["hide-input"]
strided = next(
    made for arm, made in CAUSES.outcomes() if arm.name == "causes-strided-9"
)
once_strided = [one.one_view_accuracies[-1] for one in strided]
dilation = evidence.compare(once_strided, once)
worth_strided = statistics.fmean(views_add(strided))
gain_strided = evidence.bootstrap(views_add(strided))
proven = "more than luck" if 0 not in dilation.interval else "likely, and not proven"
pages.hold_to("Dilation alone", dilation.difference > 0)
pages.hold_to("neither is more than chance", 0 in gain and 0 in gain_strided)
Text(f"""
**Dilation alone**, against the same network and recipe with a stride, gains
{dilation.difference:.3f} points on test digits by one view (95 % interval
{dilation.interval:+.3f}, {len(strided)} seeds each): {proven}. Nine views add
{worth:+.3f} points to it, {worth_strided:+.3f} to the strided one: neither is more than
chance, though it fits a network that hears the places by itself.
""")

# %% [markdown]
# **What this stage confounds:** nearly everything but dilation.
#
# ## Check yourself

# %% tags=["hide-input"]
pages.check(
    "A network's mean lies one standard deviation above the target. You train it ten "
    "times. What do you expect?",
    [
        ("All ten reach it, since the mean does", "The mean says half of the story."),
        ("Eight or nine reach it", "A sixth of the bell lies below."),
        ("Five reach it", "That would be a mean at the target itself."),
    ],
    answer=1,
)

# %% tags=["hide-input"]
pages.check(
    "Two candidates differ on the validation images: one reads two digits more, the "
    "other has the lower loss. Which do you keep?",
    [
        ("The one that reads more", "Two digits of five thousand change with a seed."),
        ("Either, validation says nothing", "It does, when differences exceed luck."),
        ("The lower loss", "It counts all images, each with how sure the network was."),
    ],
    answer=2,
)

# %% tags=["hide-input"]
pages.check(
    "Judged by nine views, a network gains over many seeds. What has become better?",
    [
        ("The judging", "The weights are the same. It also takes nine times as long."),
        ("The network", "Not one of its weights has changed."),
        ("Nothing, it is luck", "Over many seeds luck cancels out."),
    ],
    answer=0,
)

# %% [markdown]
# ## Exercises
#
# **1.** What are the headlines of both stages, the best epoch of the best run?

# %% [markdown] tags=["hint"]
# `outcome.figures` has `best` and `final` of a run.

# %% tags=["solution"]
for name, made in (("stage 9", now), ("stage 8", earlier)):
    headline = max(one.figures.best for one in made)
    honest = statistics.fmean(one.figures.final for one in made)
    print(f"{name}: headline {headline:.2f} %, mean of final epochs {honest:.3f} %")

# %% [markdown]
# **2.** How many digits does every run get wrong?

# %% [markdown] tags=["hint"]
# `set(outcome.wrong)` are the places of a run's mistakes. Sets have an intersection.

# %% tags=["solution"]
wrong = [set(one.wrong) for one in now]
always, ever = set.intersection(*wrong), set.union(*wrong)
print(f"each run gets {min(map(len, wrong))} to {max(map(len, wrong))} digits wrong")
print(f"wrong in all {len(now)} runs: {len(always)}, in at least one: {len(ever)}")

# %% [markdown]
# **3.** *A training broken on purpose.* One character differs, and it learns slowly.
# Why?

# %% tags=["fold"]
train = data.mnist().full_train[:1600]
losses, seen = {"healthy": [], "broken": []}, {}
for name, found in losses.items():
    torch.manual_seed(8)
    network, numbers = stage.build(), torch.Generator().manual_seed(8)
    share = 0.03 if name == "healthy" else 0.3
    moves = (augment.RandomRotation(8), augment.RandomTranslation(share))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    for images, labels in zip(
        train.images.split(32), train.labels.split(32), strict=True
    ):
        moved = augment.augment(images.float() / 255, moves, numbers)
        seen.setdefault(name, moved)
        optimizer.zero_grad()
        outputs = network(stage.recipe.normalize_train(moved))
        loss = nn.functional.nll_loss(outputs, labels)
        loss.backward()
        optimizer.step()
        found.append(loss.item())

figures.folded("The loss of both, drawn", figures.loss_by_step(losses, steps=50))

# %% [markdown] tags=["hint"]
# The loop keeps the first batch of both trainings in `seen`. Look at it.

# %% tags=["solution"]
figures.digits(seen["broken"][:8], columns=8, alt="Digits, some cut by the edge.")

# %% [markdown] tags=["solution"]
# Shifts by up to three tenths of the width, in place of three hundredths: digits leave
# the image. Nothing warns you, the labels are right, and the loss even falls. **Look at
# what your network sees**, after the augmentation.

# %% [markdown] tags=["audit"]
# ## The audit

# %% tags=["audit", "hide-input"]
summary.summarize(stage.build(), (1, 28, 28))

# %% tags=["audit", "hide-input"]
pages.recipe(stage)

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
public = max(one.final for one in PUBLISHED if one.final and one.parameters < BUDGET)
pages.hold_to("and by every run", single.end == single.runs)
pages.hold_to("holds for the end, and no further", single.hold < single.runs)
short = (
    f"**Not yet:** the mean is {single.mean:.3f} %, and what is in the way is open."
    if single.mean < public
    else f"**Yes:** {single.mean:.3f} %."
)
NINE_VIEWS = 99.57  # set beforehand
missed = NINE_VIEWS - several.mean
told = f"missed by {missed:.3f}" if missed > 0 else "reached"
Text(f"""
- **The target: yes, and by every run**, judged by one view: the lowest of
  {single.runs} ends at {min(once):.2f} %. Through three epochs {single.hold} of them
  hold it, {several.hold} by nine views. So 'every seed' holds for the end, and no
  further.
- **Our own, higher goals:** a *mean* by one view at {public:.2f} %, where the best
  [public single run](10_smaller.py#why) of this size ends. {short} By nine views
  {NINE_VIEWS:.2f} %: {told}.
""")

# %% [markdown]
# ## Next
#
# [Train this network in your browser](../lab.md#preset=9). With that much in hand, how
# small can it be? [Stage 10](10_smaller.py).
