# %% [markdown]
# # 2. How much of the image must a unit see before it may decide?

# %% tags=["hide-input"]
from mnist_steps import figures, pages, stages, summary
from mnist_steps.markup import Text

stage, before = stages.get(2), stages.get(1)
table = summary.summarize(stage.build(), (1, 28, 28))
figures.one_axis(
    [
        (row.name, 2 if row.kind == "MaxPool2d" else 3, 2 if row.kind == "MaxPool2d" else 1, 1)
        for row in table.rows
    ],
    28,
    0,
)

# %% [markdown]
# One side of the image lies at the bottom, 28 pixels; each row above is a layer. Follow
# the blue units down from the single one at the top: it sees all 28, and no layer is
# left over. Nobody tried until it fitted. The network was planned from the top.
#
# **You will be able to**
#
# - compute how much any unit sees, and what a pooling does to that;
# - plan a network backwards from what its last unit has to see;
# - say why channels are squeezed before they are expanded.
#
# You need the parameters of a convolution and the loop, both from [stage
# 1](01_setup.py).
#
# ## The idea
#
# ### What a unit sees
#
# A **unit** is one number of a map. The pixels that can change it are its **receptive
# field**. A unit behind one 3×3 convolution sees three pixels in a row; behind two, it
# sees five. **Pooling** keeps the largest of 2×2 units, and with a **stride** $s$ of
# two it moves on by two. It sees hardly more itself. But from now on, neighbours lie
# two pixels apart, and this distance, the **jump** $j$, is what every later kernel
# multiplies its reach by:
#
# $$r \leftarrow r + (k - 1)\,j, \qquad j \leftarrow j\,s$$

# %%
layers = ["conv"] * 3 + ["pool"] + ["conv"] * 5
size, field, jump = 28, 1, 1
for layer in layers:
    kernel, stride = (2, 2) if layer == "pool" else (3, 1)
    size = (size - kernel) // stride + 1
    field, jump = field + (kernel - 1) * jump, jump * stride
    print(f"{layer}  size {size:2}  jump {jump}  field {field:2}")

# %% [markdown]
# ### Planned backwards
#
# Without **padding**, no zeros are laid around a map, and each convolution makes it
# smaller by two. So the network is done when one unit is left, and that one has seen
# everything. Start there and walk back: a convolution needs a map larger by two, a
# pooling one twice as large. With $a$ convolutions before the pooling and $b$ behind:
#
# $$2\,(1 + 2b) + 2a = 28 \quad\text{or}\quad a + 2b = 13$$

# %%
size = 1
for layer in reversed(layers):
    size = 2 * size if layer == "pool" else size + 2
    print(f"{layer} needs {size}×{size}")

# %% [markdown]
# Every $a$ and $b$ that solve this make a network that fits. A convolution behind the
# pooling counts twice, and works on maps with a quarter of the units: pool early, and
# few quick layers do. Pool late, and more layers see the strokes while they are sharp.
#
# ### Squeeze, then expand
#
# Width, too, is planned. A layer's parameters grow with the *product* of what goes in
# and what comes out. So let a wide layer be followed by a narrow one.

# %% tags=["hide-input"]
figures.channels([before, stage])

# %%
from itertools import pairwise


def weights(*channels):
    return sum(3 * 3 * c_in * c_out for c_in, c_out in pairwise(channels))


print("stage 1, ever wider:   ", f"{weights(1, 32, 64, 128, 256, 512, 1024, 10):9,}")
print("stage 2, with a squeeze:", f"{weights(1, 32, 64, 128, 32, 64, 128, 32, 10):9,}")

# %% [markdown]
# ## The change

# %% tags=["hide-input"]
figures.network_change(before, stage)

# %% tags=["hide-input"]
pages.recipe_change(before, stage)

# %% [markdown]
# One layer more, and padding, biases and one of two poolings are gone. What padding
# did: it let a kernel reach over the border, so that pixels at the edge were used as
# often as those in the middle. A digit's edge is paper, so little is lost.
#
# ## Predict

# %% tags=["hide-input"]
import bisect
from statistics import fmean

from mnist_steps.experiments import evidence
from mnist_steps.experiments.study import Store

made, earlier = (Store().outcomes(each) for each in (stage, before))
wrong, wrong_before = (fmean(len(one.wrong) for one in each) for each in (made, earlier))
few, many = 5, 50
pages.predict(
    f"Of {before.parameters:,} parameters {stage.parameters:,} are left. Of the ten "
    "thousand test digits, how many more does the network get wrong, on average over "
    "the seeds?",
    (
        f"Fewer than {few} more, or even fewer than before",
        f"Between {few} and {many} more",
        f"More than {many} more",
    ),
    answer=bisect.bisect((few, many), wrong - wrong_before),
    explanation=f"{wrong_before:.1f} before and {wrong:.1f} now, over {len(earlier)} "
    f"and {len(made)} seeds.",
)

# %% [markdown]
# ## What happened

# %% tags=["hide-input"]
figures.seeds({"stage 1": earlier, "stage 2": made})

# %% tags=["hide-input"]
finals, finals_before = ([one.figures.final for one in each] for each in (made, earlier))
compared = evidence.compare(finals_before, finals)
...
