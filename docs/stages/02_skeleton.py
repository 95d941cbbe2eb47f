# %% [markdown]
# # 2. How much of the image must a unit see before it may decide?

# %% tags=["hide-input"]
import bisect
from statistics import fmean

import torch

from mnist_steps import data, evaluation, figures, pages, runs, stages, summary
from mnist_steps.experiments import evidence
from mnist_steps.experiments.study import Store
from mnist_steps.markup import Text

stage, before = stages.get(2), stages.get(1)
table = summary.summarize(stage.build(), (1, 28, 28))
figures.plan(stage)

# %% [markdown]
# From top to bottom, maps shrink and what a unit sees grows. At the end one unit is
# left, and it sees 28 pixels: the whole image, not one more or less. It was planned so,
# from the last unit backwards.
#
# **You will be able to**
#
# - compute how much of the image any unit sees;
# - plan a network backwards from what its last unit has to see;
# - say why channels are squeezed before they are expanded.
#
# ## The idea
#
# ### What a unit sees
#
# One number of a map is a **unit**. The pixels that can change it are its **receptive
# field**. Behind one convolution of 3×3 it is three pixels wide, behind two five: the
# outer units look one pixel further.
#
# **Pooling** keeps the largest of 2×2 units and moves on by two, its **stride** $s$.
# That alone shows a unit little more. But from now on neighbours lie two pixels apart,
# and by this distance, the **jump** $j$, every later kernel reaches:
#
# $$r \leftarrow r + (k - 1)\, j \qquad j \leftarrow j \, s$$

# %%
layers = ["conv"] * 3 + ["pool"] + ["conv"] * 5
size, field, jump = 28, 1, 1
for layer in layers:
    kernel, stride = (2, 2) if layer == "pool" else (3, 1)
    size = (size - kernel) // stride + 1
    field, jump = field + (kernel - 1) * jump, jump * stride
    print(f"{layer}  map {size:2}  jump {jump}  field {field:2}")

# %% [markdown]
# ### Planned backwards
#
# Without padding, each convolution makes the map smaller by two. When one unit is left,
# and has seen every pixel, the network may decide. So begin with this unit and walk
# back. A convolution needs a map larger by two, a pooling one twice as large:

# %%
sizes = [1]
for layer in reversed(layers):
    sizes.append(2 * sizes[-1] if layer == "pool" else sizes[-1] + 2)
print(*sizes, sep=" → ")

# %% [markdown]
# With $a$ convolutions before the pooling and $b$ behind, the plan fits when
#
# $$2 \, (1 + 2b) + 2a = 28 \qquad \text{or} \qquad a + 2b = 13$$
#
# Behind the pooling, a convolution counts twice, and its maps have a quarter of the
# units: pooling early makes a network short and quick. Pooling late lets more layers
# see sharp strokes.
#
# ### Squeeze, then expand
#
# A layer's parameters grow with what comes in *times* what goes out, so a wide layer
# behind a wide one is dear. **Squeeze** before you expand, and no layer joins two of
# the widest. And expand you must: the larger the shapes that a layer sees, the more of
# them there are.

# %% tags=["hide-input"]
figures.channel_profile(stage)

# %% tags=["fold"]
from itertools import pairwise


def weights(*channels):
    return sum(3 * 3 * c_in * c_out for c_in, c_out in pairwise(channels))


print(f"ever wider   {weights(1, 32, 64, 128, 256, 512, 1024, 10):9,}")
print(f"at most 128  {weights(1, 32, 64, 128, 128, 128, 128, 128, 10):9,}")
print(f"with squeeze {weights(1, 32, 64, 128, 32, 64, 128, 32, 10):9,}")

# %% [markdown]
# ## The change

# %% tags=["hide-input"]
figures.folded("Both networks, drawn", figures.network_change(before, stage))

# %% tags=["hide-input"]
pages.model_difference(before, stage)

# %% tags=["hide-input"]
pages.recipe_change(before, stage)

# %% [markdown]
# One convolution more; padding, biases and one of two poolings gone. What does no
# padding cost? A rim of one pixel a convolution, which the plan counts. And a pixel in
# the corner is used at one place, one in the middle at nine. But a digit's border is
# paper; [below](#why) measures its worth.
#
# ## Predict

# %% tags=["hide-input"]
made, earlier = Store().outcomes(stage), Store().outcomes(before)
wrong, wrong_before = (  # of ten thousand
    fmean(100 * (100 - one.figures.final) for one in each) for each in (made, earlier)
)
few, many = 5, 50
pages.predict(
    f"Of {before.parameters:,} parameters {stage.parameters:,} are left. Of ten "
    "thousand test digits, how many more does the network get wrong, on average over "
    "the seeds?",
    (f"At most {few} more", f"Between {few} and {many}", f"More than {many}"),
    answer=bisect.bisect((few, many), wrong - wrong_before),
    explanation=f"Stage 1 gets {wrong_before:.1f} wrong, stage 2 {wrong:.1f}, over "
    f"{len(earlier)} and {len(made)} seeds.",
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
shared = sorted({one.seed for one in made} & {one.seed for one in earlier})
chances = []
for seed in shared:
    old, new = (
        next(one for one in each if one.seed == seed) for each in (earlier, made)
    )
    chances.append(evidence.mcnemar(old.wrong, new.wrong).p_value)
pages.hold_to(
    "which pair we train decides what we say", min(chances) < 0.05 < max(chances)
)
often = [f"{one:.1%}" if one >= 0.001 else "under 0.1%" for one in chances]
settled = (
    f"So few seeds, {len(earlier)} and {len(made)}, do not settle it: this site asks "
    f"for {evidence.FEWEST_RUNS} of each."
    if change.interval is None
    else f"95 % interval {change.interval:+.2f}: "
    + ("more than chance explains." if change.ranked else "chance may explain it.")
)
Text(
    f"The mean changes by {change.difference:+.2f} points. {settled} Is one training "
    "of each enough? Chance alone sets two equally good networks as far apart as our "
    f"pairs, seed by seed, in {', '.join(often)} of "
    "cases: which pair we train decides what we say."
)

# %% tags=["hide-input"]
pages.newly(before, stage)

# %% [markdown]
# ## Why
#
# Must a unit see *everything*? Show the trained network only a window in the middle of
# each digit, and paper around it.

# %% tags=["hide-input"]
run = runs.load_or_train(2)
some = data.mnist().test[:300]
model, sides = run.build(), (8, 12, 16, 20, 24, 28)
right = {}
for side in sides:
    edge = (28 - side) // 2
    seen = torch.zeros_like(some.images)
    window = (..., slice(edge, 28 - edge), slice(edge, 28 - edge))
    seen[window] = some.images[window]
    split = data.Split(seen, some.labels)
    right[side] = evaluation.evaluate(model, split, stage.recipe).accuracy
enough = next(side for side in sides if right[side] > right[28] - 1)
pages.hold_to("but not with 12 pixels", right[12] < 90 and enough < 28)
pages.table(
    ["window, pixels", *(f"{side}" for side in sides)],
    [["right, in percent", *(f"{value:.1f}" for value in right.values())]],
    f"The recorded network on {len(some)} test digits of which only a window is left.",
)

# %% tags=["hide-input"]
last_two = sum(
    row.params for row in summary.summarize(before.build(), (1, 28, 28)).rows[-3:-1]
)
then = summary.summarize(before.build(), (1, 28, 28)).total_multiplications
Text(
    f"With {enough} of 28 pixels it reads nearly as well as with all, for digits fill "
    f"the middle. With {sides[1]} it reads {right[sides[1]]:.0f} %. So it can do "
    "without the border, but not with 12 pixels.\n\nAnd the parameters? "
    f"{last_two:,} sat in two layers of stage 1, on small maps. So they fell by a "
    f"factor of {before.parameters / stage.parameters:.0f}, and multiplications by "
    f"{then / table.total_multiplications:.1f} only."
)

# %% [markdown]
# **What this stage confounds:** padding, biases, width, depth and poolings changed at
# once. Which cost what, no figure here can say.
#
# ## Check yourself

# %% tags=["hide-input"]
pages.check(
    "A unit sees 7 pixels, its neighbour lies 1 pixel away. Behind it come a pooling "
    "of 2×2 with stride 2 and a convolution of 3×3. How wide is the field now?",
    [
        ("10", "That forgets the jump: behind the pooling, a step is two pixels."),
        ("12", "The pooling adds 1 · 1, the convolution 2 · 2."),
        ("16", "Pooling doubles the jump, and not the field."),
    ],
    answer=1,
)

# %% tags=["hide-input"]
pages.check(
    "You want 64 maps of 128, by kernels of 3×3 and without biases. What does it cost "
    "to squeeze to 32 maps first, by one more layer of 3×3?",
    [
        (
            f"Less: {weights(128, 32, 64):,} weights, not {weights(128, 64):,}",
            "And there is one more layer to see further, and one more ReLU.",
        ),
        (
            "More: it is a layer more",
            "Count: each layer has a product of channels.",
        ),
        ("The same", "Count: the products are 128·64 and 128·32 + 32·64."),
    ],
    answer=0,
)

# %% tags=["hide-input"]
pages.check(
    "In a convolution of 3×3 without padding, how many units does the pixel in the "
    "image's corner reach, and one in the middle?",
    [
        (
            "9 and 9",
            "The kernel would have to reach over the border, as padding lets it.",
        ),
        ("3 and 9", "That is a pixel at an edge, away from the corners."),
        ("1 and 9", "In the corner only one place of the kernel lies on it."),
    ],
    answer=2,
)

# %% [markdown]
# ## Exercises
#
# **1.** List all networks with one pooling that fit an image of 28 pixels.

# %% [markdown] tags=["hint"]
# Try every $a$, and ask whether $b$ is whole.

# %% tags=["solution"]
for a in range(14):
    if (13 - a) % 2 == 0:
        print(f"{a:2} before the pooling, {(13 - a) // 2} behind it")

# %% [markdown]
# **2.** Put the pooling behind conv2, with five convolutions after it as before. How
# large is the last map? Which last layer would leave one unit?

# %% [markdown] tags=["hint"]
# Does $a = 2$ solve the equation? Use the loop above.

# %% tags=["solution"]
size, field, jump = 28, 1, 1
for layer in ["conv"] * 2 + ["pool"] + ["conv"] * 5:
    kernel, stride = (2, 2) if layer == "pool" else (3, 1)
    size = (size - kernel) // stride + 1
    field, jump = field + (kernel - 1) * jump, jump * stride
print(f"{size}×{size} units, each of which sees {field}×{field} pixels")

# %% [markdown] tags=["solution"]
# Four units are left, and none has seen all. A kernel of 2×2 joins them: it adds one
# jump to the field, and that makes it 28. Stage 3 ends like this.

# %% [markdown]
# **3.** *A training broken on purpose.* In one of two networks a layer stands where
# none belongs. Its loss falls, then stays above the other's. Which layer, and where?

# %% tags=["hide-input"]
from torch import nn
from torch.nn import functional as F


def losses_of(*last):
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 5, stride=3), nn.ReLU(), nn.Conv2d(8, 10, 8), *last,
        nn.Flatten(), nn.LogSoftmax(dim=1),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    part, losses = data.mnist().full_train[:9600], []
    for images, labels in zip(
        part.images.split(64), part.labels.split(64), strict=True
    ):
        optimizer.zero_grad()
        scores = model((images.float() / 255 - 0.1307) / 0.3081)
        loss = F.nll_loss(scores, labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


figures.loss_by_step({"sound": losses_of(), "broken": losses_of(nn.ReLU())}, steps=150)

# %% [markdown] tags=["hint"]
# Before the log-softmax, a digit that is out of the question should have a score far
# below the others. What if none can go below zero?

# %% [markdown] tags=["solution"]
# There is a ReLU behind the last convolution, on the scores. No score can be below
# zero, so only raising the right one rules others out. Worse: where a digit's score is
# zero for every image, its gradient is zero too, and it never comes back. The last
# layer of a network has no ReLU.

# %% [markdown] tags=["audit"]
# ## The audit
#
# ### Every layer

# %% tags=["audit"]
summary.summarize(stage.build(), (1, 28, 28))

# %% [markdown] tags=["audit"]
# The original's receptive fields are right here, all of them. The recipe is that of
# stage 1.

# %% tags=["audit"]
pages.recipe(stage)

# %% [markdown] tags=["audit"]
# ### The result, and what the original claimed

# %% tags=["audit"]
pages.results(run)

# %% tags=["audit"]
figures.mistakes(run)

# %% tags=["audit"]
figures.confusion(run)

# %% tags=["audit"]
pages.provenance(run, steps=1, images=300)

# %% [markdown]
# ## Next
#
# [Stage 3](03_lighter.py) takes most of the channels away, and something stops.
