# %% [markdown]
# # 8. Half the learning rate on average, and better: why?
#
# A large learning rate travels fast and cannot stand still. A small one stands still and
# does not travel. A **schedule** has both, one after the other. Drag its peak:

# %% tags=["hide-input"]
import bisect
import statistics

from mnist_steps import data, figures, pages, runs, stages, summary
from mnist_steps.experiments import evidence, study
from mnist_steps.experiments.causes import CAUSES
from mnist_steps.markup import Text
from mnist_steps.original import BUDGET, EPOCHS, TARGET

stage, before = stages.get(8), stages.get(7)
run, old = runs.load_or_train(8), runs.load_or_train(7)
now, earlier = (study.Store().outcomes(each) for each in (stage, before))
figures.schedule(stage.recipe)

# %% [markdown]
# **You will be able to**
#
# - name the phases of a one-cycle schedule, and say what each is for,
# - say what the momentum does meanwhile, and why that is a second change,
# - say how sure 'it reaches the target' is.
#
# ## The idea
#
# Each step subtracts a piece of the gradient $g$ from the weights $w$. **Momentum** $\mu$
# keeps a part of the step before; the **learning rate** $\eta$ decides the size:
#
# $$v \leftarrow \mu \, v + g \qquad w \leftarrow w - \eta \, v$$
#
# The gradient comes from a few digits, and other digits would have given another one. So
# it points downhill only on average; the rest is noise. Far from the goal that hardly
# matters. Near it the noise is all there is, and the weights jump about as far as $\eta$
# lets them. So one begins large and ends small.
#
# **OneCycle** has two phases. In the **warm-up** the rate climbs from a small value to its
# peak: at the beginning the gradients are wild, and large steps would do harm. Then the
# **annealing**: it falls along half a cosine, almost to zero. With $t$ from 0 to 1 through
# a phase, the rate goes from $a$ to $b$ as
#
# $$\eta(t) = b + \frac{a - b}{2} \, (1 + \cos \pi t)$$

# %%
import torch
from torch import nn

weights = [nn.Parameter(torch.zeros(1))]
optimizer = torch.optim.SGD(weights, lr=0.01, momentum=0.9)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=1000)

rates, momenta = [], []
for step in range(1000):
    rates.append(optimizer.param_groups[0]["lr"])
    momenta.append(optimizer.param_groups[0]["momentum"])
    optimizer.step()
    schedule.step()

for step in (0, 150, 300, 650, 999):
    print(f"step {step:3}: rate {rates[step]:.6f}, momentum {momenta[step]:.3f}")

# %% [markdown]
# Look at the second column. You asked for a momentum, and it is gone: OneCycle moves it,
# too, **the other way**. Down while the rate climbs, up again while it falls. If the
# gradient stayed the same, $v$ would grow to $g / (1 - \mu)$. So what really counts for the
# speed is
#
# $$\frac{\eta}{1 - \mu}$$

# %%
speeds = [rate / (1 - momentum) for rate, momentum in zip(rates, momenta)]
constant = 0.01 / (1 - 0.9)  # stage 7
mean = sum(speeds) / len(speeds)
print(f"mean rate:  {sum(rates) / len(rates) / 0.01:.0%} of stage 7's")
print(f"mean speed: {mean / constant:.0%}, at most {max(speeds) / constant:.0%}")

# %% [markdown]
# So this training is slower than stage 7's, at every moment, even at its peak. Whatever
# it gains, it does not gain by haste.
#
# ## The change

# %% tags=["hide-input"]
pages.hold_to("The network stays: it is that of stage 7", stage.model is before.model)
pages.hold_to("at every moment, even at its peak", max(speeds) < constant)
pages.recipe_change(before, stage)

# %% [markdown]
# The network stays: it is that of stage 7. In the recipe one row differs, and two things
# move: the rate and the momentum.
#
# ## Predict

# %% tags=["hide-input"]
verdict, verdict_before = (study.verdict_of(made) for made in (now, earlier))
pages.predict(
    "The same network as in stage 7, and on average a smaller learning rate. Over "
    f"{verdict.runs} seeds, how many trainings have all of their last three epochs at "
    f"{TARGET} % or above?",
    ("None of them", "Some, but fewer than half", "Half of them or more"),
    answer=bisect.bisect((1, verdict.runs / 2), verdict.hold),
    explanation=f"{verdict.hold} of {verdict.runs} hold it through three epochs, and "
    f"{verdict.end} end there. In stage 7 it was {verdict_before.hold} and "
    f"{verdict_before.end}.",
)

# %% [markdown]
# ## What happened

# %% tags=["hide-input"]
figures.all_curves({"stage 7": earlier, "stage 8": now})

# %% tags=["hide-input"]
finals, finals_before = (
    [outcome.figures.final for outcome in made] for made in (now, earlier)
)
gain = evidence.compare(finals_before, finals)
width, width_before = statistics.stdev(finals), statistics.stdev(finals_before)


def last_moves(made):
    """By how much accuracy changes from epoch to epoch, over the last three epochs."""
    return statistics.fmean(
        abs(one.test_accuracies[-place] - one.test_accuracies[-place - 1])
        for one in made
        for place in (1, 2)
    )


calm, restless = last_moves(now), last_moves(earlier)
pages.hold_to("The whole bundle moves up", gain.ranked and gain.difference > 0)
pages.hold_to("its width hardly changes", 0.7 < width / width_before < 1.4)
pages.hold_to("calmer from epoch to epoch", calm < 0.75 * restless)
Text(f"""
**The whole bundle moves up**, by {gain.difference:.2f} points (95 % interval
{gain.interval.low:+.2f} to {gain.interval.high:+.2f}), and its width hardly changes: seeds
have a standard deviation of {width:.2f} points, where it was {width_before:.2f}. Each single
curve is calmer from epoch to epoch at the end: it moves by {calm:.2f} points, in stage 7 by
{restless:.2f}. So the schedule calms a training, but it does not make trainings agree.
""")

# %% tags=["hide-input"]
figures.seeds({"stage 7": finals_before, "stage 8": finals})

# %% tags=["hide-input"]
pages.newly(earlier, now)

# %% [markdown]
# ## Why
#
# Three things changed at once: the rate is *lower on average*, it *falls to zero*, and the
# *momentum* moves. Take them apart, with two more trainings for each seed: one with the
# schedule but a momentum that stays at that of stage 7; and one with a constant rate, as
# low as the schedule's mean.

# %% tags=["hide-input"]
# CAUSES

# %% [markdown]
# ## Check yourself

# %% tags=["hide-input"]
pages.check(
    "In the middle of the annealing, where does the rate stand?",
    [
        ("At half its peak", "The cosine is zero there, and what is left is the mean of both ends."),
        ("At its peak", "That is where the annealing begins."),
        ("Nearly at zero", "That comes at the very end, where the cosine is flat."),
    ],
    answer=0,
)

# %% tags=["hide-input"]
pages.check(
    "You make a `OneCycleLR` for an optimizer with a momentum of 0.9. Which momentum do "
    "the steps use?",
    [
        ("0.9, as you said", "OneCycle overwrites it unless `cycle_momentum=False`."),
        ("From 0.95 to 0.85, and back", "The other way than the rate, by default."),
        ("None, a schedule replaces it", "Rate and momentum are both there at every step."),
    ],
    answer=1,
)

# %% tags=["hide-input"]
pages.check(
    "Ten curves of one network move up together, and their distance from each other "
    "stays. What did the change do?",
    [
        ("It made trainings more reliable", "Then they would have come closer together."),
        ("It made the network better for any seed", "The mean rose; luck is as large as before."),
        ("Nothing, since the spread is the same", "The spread and the mean are two things."),
    ],
    answer=1,
)

# %% tags=["hide-input"]
pages.check(
    f"Somebody trains once and ends at {TARGET} %. Has the network reached {TARGET} %?",
    [
        ("Yes, it is measured", "One run is. Another seed may end below, as the dots show."),
        ("One cannot say from one run", "It takes the mean over seeds, and its interval."),
        ("No, it takes ten runs at that", "The mean may lie there when some runs do not."),
    ],
    answer=1,
)

# %% [markdown]
# ## Exercises
#
# **1.** How sure is one run, even without another seed? The test digits are a sample,
# too. Compute two standard errors to each side of the recorded run.

# %% [markdown] tags=["hint"]
# A share $p$ of $n$ digits has the standard error $\sqrt{p (1 - p) / n}$.

# %% tags=["solution"]
p, n = run.final_test_accuracy / 100, 10_000
error = (p * (1 - p) / n) ** 0.5
print(f"{100 * (p - 2 * error):.2f} % to {100 * (p + 2 * error):.2f} %")
needed = p * (1 - p) / 0.0001**2  # for an error of a hundredth of a point
print(f"for an error of 0.01 points: about {needed / 1e6:.1f} million test digits")

# %% [markdown]
# **2.** The original reports the best of its fifteen epochs. Which of its eight stages
# are still at the target when you take the last epoch instead?

# %% [markdown] tags=["hint"]
# `stages.ORIGINAL` has the eight stages; each has a `claim` with `best_test_accuracy` and
# `final_test_accuracy`.

# %% tags=["solution"]
for each in stages.ORIGINAL:
    best, final = each.claim.best_test_accuracy, each.claim.final_test_accuracy
    reached = "  reached" if final >= TARGET else ""
    print(f"stage {each.number}: best {best:.2f}, final {final:.2f}{reached}")

# %% [markdown]
# **3.** *A training broken on purpose.* The same network and schedule as above, on a part
# of the digits. Everything runs, nothing complains, and it hardly learns. What is wrong?

# BROKEN
