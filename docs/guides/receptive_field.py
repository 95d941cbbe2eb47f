# %% [markdown]
# # Receptive fields
#
# A unit of a convolutional network sees a patch of the image, and no training can teach
# it what lies outside. Whoever shrinks a network has to know that patch, for each layer
# that goes takes some of it away.
#
# **You will learn** to compute size, jump and start of any layer by hand, where the
# usual shortcuts go wrong, and what a network makes of the pixels that it could see.
#
# **Know first** what kernel, stride, padding and dilation are.

# %% tags=["hide-input"]
import json

import torch
from torch import nn

from mnist_steps import data, figures, pages, receptive_field, runs, stages
from mnist_steps.markup import Text

# %% [markdown]
# ## One axis, by hand
#
# Fields of ordinary convolutions are rectangles, so one axis is enough. Take two
# convolutions of three with a pooling of two between them, and follow one unit back to
# the input.

# %% tags=["fold"]
small = [
    ("conv", 3, 1, 1),
    ("pool", 2, 2, 1),
    ("conv", 3, 1, 1),
]  # name, kernel, stride, dilation
figures.one_axis(small, input_size=14, unit=1)

# %% [markdown]
# Three numbers describe a layer, all in input pixels:
#
# - its **size**, how many pixels one unit's field spans,
# - its **jump**, how far the fields of two neighbours lie apart,
# - its **start**, where the first unit's field begins.
#
# A kernel adds `kernel - 1` neighbours, and each adds one jump. A stride leaves units
# out, so it multiplies the jump for all layers that follow. Padding moves the start to
# the left. That is the whole theory:

# %%


def field_along_one_axis(layers):
    size, jump, start = 1, 1, 0
    for name, kernel, stride, dilation, padding in layers:
        size = size + (kernel - 1) * dilation * jump
        start = start - padding * jump
        jump = jump * stride
        print(f"{name:6} size {size:2}   jump {jump}   start {start}")
    return size, jump, start


by_hand = field_along_one_axis([(*layer, 0) for layer in small])

# %% [markdown]
# Look at the pooling: the field becomes one larger, the jump twice as large. The
# original of this tutorial doubled the *field*.
#
# ## Let the computer do it
#
# [`analyze`](../reference/package.md#mnist_steps.receptive_field.analyze) does the same
# for each layer of any PyTorch network.

# %%
network = nn.Sequential(nn.Conv2d(1, 1, 3), nn.MaxPool2d(2), nn.Conv2d(1, 1, 3))
last = receptive_field.analyze(network, (1, 14, 14))[-1]
print("size", last.size, " jump", last.jump, " start", last.start)
assert (last.size[0], last.jump[0], last.start[0]) == by_hand

# %% [markdown]
# How do we know that it is right? By poisoning pixels. `NaN`, not a number, is
# contagious: whatever it is added to or multiplied with becomes NaN too, even by a
# weight of zero. Set one pixel to NaN and run the real network: the units that turn NaN
# see the pixel.

# %%
image = torch.rand(1, 1, 14, 14)
image[0, 0, 5, 5] = float("nan")
network(image)[0, 0].isnan().int()

# %% [markdown]
# [`verify`](../reference/package.md#mnist_steps.receptive_field.verify) does that pixel
# after pixel, for every unit of every layer, and raises an error at the first
# difference.

# %%
for stage in stages.STAGES[:8]:
    # The two giants are probed at a sample of the pixels here, the others at all.
    some = 24 if stage.number <= 2 else 28 * 28
    proof = receptive_field.verify(stage.build(), (1, 28, 28), pixels=some)
    print(
        f"stage {stage.number}: {proof.units:,} units of {proof.layers} layers, "
        f"{proof.comparisons:,} comparisons"
    )

# %% [markdown]
# ## Try it
#
# Change a layer and watch all that follow; then pick a unit and see its pixels on a
# digit. What to try: a stride in an early layer, and in a late one; a dilation of two,
# which leaves holes; a padding, and a unit in the corner.
#
# <link rel="stylesheet" href="../stylesheets/explorer.css">
# <div id="rf-explorer" class="explorer"><p>Here the site has an explorer that runs in
# your browser; it needs JavaScript. In Python, any network can be put together as above
# and given to <code>analyze</code>.</p></div>
# <script src="../javascripts/playground/start.js"
# data-start="../explorer/explorer.js"></script>

# %% [markdown]
# ## The eight stages

# %% tags=["hide-input"]
growing = {}
for number in (1, 2, 3, 8):
    growing[f"stage {number}"] = receptive_field.analyze(
        stages.get(number).build(), (1, 28, 28)
    )
figures.growth(growing, image_size=28)

# %% [markdown]
# Stage 1 grows far past the image: its last units look mostly at padding. The others
# end where the image ends, as planned.
#
# ## Where the original's figures are wrong
#
# The original wrote a field beside each layer. Here are all that differ from the
# computed ones, with a third opinion: the poison test, on an image so large that no
# border cuts a field off.

# %% tags=["fold"]


def poisoned_size(network, channels=1, edge=72):
    """Side of the middle unit's field, found by poisoning columns of pixels in turn."""
    images = torch.rand(edge, channels, edge, edge)
    for column in range(edge):
        images[column, :, :, column] = float("nan")
    with torch.no_grad():
        outputs = torch.cat([network(part) for part in images.split(8)])
    middle = outputs[:, 0, outputs.shape[2] // 2, outputs.shape[3] // 2]
    return int(middle.isnan().sum())


def up_to(model, name):
    """A sequential network's layers from the first to `name`, one channel in each."""
    layers = []
    for child, layer in model.named_children():
        if isinstance(layer, nn.Conv2d):
            layers.append(
                nn.Conv2d(1, 1, layer.kernel_size, layer.stride, layer.padding)
            )
        elif isinstance(layer, (nn.MaxPool2d, nn.AvgPool2d)):
            layers.append(layer)
        if child == name:
            return nn.Sequential(*layers)


rows = []
for stage in stages.STAGES[:8]:
    model = stage.build().eval()
    analysis = receptive_field.analyze(model, (1, 28, 28))
    for name, claimed in stage.claim.receptive_fields.items():
        computed = analysis[name].size[0]
        if computed != claimed:
            probed = poisoned_size(up_to(model, name))
            assert probed == computed
            rows.append(
                [
                    f"stage {stage.number}, {name}",
                    str(claimed),
                    str(computed),
                    str(probed),
                ]
            )
pages.table(
    ["layer", "the original", "computed", "poisoned"],
    rows,
    "Every receptive field of the original that differs from the computed one, side in "
    "pixels.",
)

# %% tags=["hide-input"]
stated = sum(len(stage.claim.receptive_fields) for stage in stages.STAGES[:8])
Text(
    f"Of the {stated} fields that the original states, **{len(rows)} are wrong**, all "
    "but one in stage 1, where two mistakes meet: the field is doubled at each "
    "pooling, and the kernels behind it count as if the jump were still one. In conv4 "
    "and conv6 the two happen to cancel."
)

# %% [markdown]
# ## Holes
#
# A kernel with dilation skips pixels. Its field *spans* a box, but not every pixel in
# it reaches the unit. `pixels` counts those that do.

# %%
dilated = nn.Sequential(
    nn.Conv2d(1, 4, 3, dilation=2),
    nn.ReLU(),
    nn.Conv2d(4, 4, 3, dilation=4),
    nn.ReLU(),
)
layer = receptive_field.analyze(dilated, (1, 28, 28))[-1]
top, left, bottom, right = layer.box(8, 8)
print(
    f"box of {bottom - top}x{right - left} pixels, {layer.pixels(8, 8)} of "
    f"{(bottom - top) * (right - left)} reach the unit"
)

# %% tags=["hide-input"]
digit = data.mnist().test.images[0]
figures.field(layer, digit, 8, 8)

# %% [markdown]
# Where branches merge, fields unite: a tall branch and a wide one make a cross.

# %%


class TallAndWide(nn.Module):
    def __init__(self):
        super().__init__()
        self.tall = nn.Conv2d(1, 4, (9, 3), padding=(4, 1))
        self.wide = nn.Conv2d(1, 4, (3, 9), padding=(1, 4))

    def forward(self, x):
        return self.tall(x) + self.wide(x)


cross = receptive_field.analyze(TallAndWide(), (1, 28, 28))[-1]
figures.field(cross, digit, 14, 14)

# %% [markdown]
# ## At the border
#
# In a padded network, fields of border units hang over the edge. What lies there is
# padding, always zero, and carries no information. This is what a corner unit of stage
# 1's last padded layer sees:

# %%
conv4 = receptive_field.analyze(stages.get(1).build(), (1, 28, 28))["conv4"]
print(
    "box without borders:",
    conv4.box(0, 0, clip=False),
    " inside the image:",
    conv4.box(0, 0),
)
print(
    f"real pixels: {conv4.pixels(0, 0)} in the corner, {conv4.pixels(7, 7)} in the "
    "middle"
)

# %% tags=["hide-input"]
figures.field(conv4, digit, 0, 0)

# %% [markdown]
# ## Could see, does see
#
# The field says which pixels *can* reach a unit. How much each *does* is another
# question: few paths lead there from the rim, many from the middle. The gradient of the
# unit by each pixel, averaged over real digits, shows it; Luo and others named this the
# [effective receptive field](https://arxiv.org/abs/1701.04128) in 2016.

# %% tags=["fold"]
digits = (data.mnist().test.images[:200].float() / 255 - 0.1307) / 0.3081
trained = runs.load(8).build()
conv7 = receptive_field.analyze(trained, (1, 28, 28))["conv7"]
effective = receptive_field.effective(trained, digits, "conv7")
figures.field_and_effective(conv7, effective, digit, 2, 2)

# %% tags=["fold"]
rows = []
for stage in stages.STAGES[:8]:
    name = [name for name in stage.claim.receptive_fields if name.startswith("conv")][
        -1
    ]
    torch.manual_seed(8)
    new = stage.build()
    theory = receptive_field.analyze(new, (1, 28, 28))[name]
    top, left, bottom, right = theory.box(theory.units[0] // 2, theory.units[1] // 2)
    before = receptive_field.effective(new, digits[:50], name)
    recorded = runs.load(stage.number)
    after = "–"
    if recorded.weights is not None:
        after = str(receptive_field.effective(recorded.build(), digits, name).size)
    rows.append(
        [
            f"stage {stage.number}, {name}",
            str(theory.size[0]),
            str(bottom - top),
            str(before.size),
            after,
        ]
    )
pages.table(
    [
        "last 3×3 or larger layer",
        "field",
        "within the image",
        "effective, new",
        "effective, trained",
    ],
    rows,
    "Field of the middle unit, side in pixels. Effective: the square that holds "
    f"{effective.share:.0%} of the gradient. Stage 1's trained weights are too large "
    "to ship.",
)

# %% [markdown]
# ## Your own network
#
# All of this works for any network that `torch.fx` can trace, in a notebook or from the
# command line:
#
# ```
# mnist-steps rf torchvision.models:resnet18 --input 3,224,224
# mnist-steps rf yourpackage.yourmodule:YourNet --input 1,28,28 --plot growth.svg
# ```
#
# A layer that looks at everything, such as a squeeze-and-excitation gate, says so:

# %%


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.squeeze = nn.AdaptiveAvgPool2d(1)
        self.excite = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Sigmoid())

    def forward(self, x):
        x = self.conv(x)
        return x * self.excite(self.squeeze(x))


for layer in receptive_field.analyze(Gated(), (1, 28, 28)):
    print(f"{layer.name:12} size {layer.size}  {layer.note}")

# %% [markdown]
# An operation that the calculator does not know stops it. Nothing is guessed.
#
# How long does it take, beside other tools that print a table of layers? Of these, only
# torchscan computes receptive fields too. One machine's figures, saved by
# `tests/benchmarks/bench_receptive_field.py`:

# %% tags=["fold"]
benchmark = json.loads(
    (runs.RECORDS / "benchmarks" / "receptive_field.json").read_text(encoding="utf-8")
)
tools = list(benchmark["seconds"]["resnet50"])
pages.table(
    ["", *tools],
    [[name, *seconds.values()] for name, seconds in benchmark["seconds"].items()],
    f"Seconds of processor time on {benchmark['processor']}, one thread, best of "
    f"three, torch {benchmark['torch']}, {benchmark['date']}. A name in place of a "
    "number is the error that the tool ended with.",
)

# %% [markdown]
# ## Exercises
#
# **1.** Show that three convolutions of size 3 have the field of one of size 7, and
# count the weights for ten channels.

# %% tags=["solution"]
three = nn.Sequential(*(nn.Conv2d(10, 10, 3, bias=False) for _ in range(3)))
one = nn.Sequential(nn.Conv2d(10, 10, 7, bias=False))
for network in (three, one):
    last = receptive_field.analyze(network, (10, 28, 28))[-1]
    print(
        last.size,
        sum(weights.numel() for weights in network.parameters()),
        "weights",
    )

# %% [markdown]
# **2.** Where must a single pooling of two stand among eight 3×3 convolutions without
# padding so that the field is at least the image? Try all places.

# %% tags=["solution"]
for place in range(9):
    layers = [("conv", 3, 1, 1, 0)] * 8
    layers.insert(place, ("pool", 2, 2, 1, 0))
    size, jump = 1, 1
    for _, kernel, stride, dilation, _ in layers:
        size, jump = size + (kernel - 1) * dilation * jump, jump * stride
    print(
        f"pooling after {place} convolutions: field "
        f"{size}{'  enough' if size >= 28 else ''}"
    )

# %% [markdown] tags=["solution"]
# The sooner the pooling, the larger the field, for each layer behind it counts double.
# But early pooling throws away detail unused.

# %% [markdown]
# **3.** Build a network of three convolutions of size 3 whose last field spans 15
# pixels, without a pooling. How many of the pixels in the box reach the unit?

# %% tags=["solution"]
dilations = (1, 2, 4)
network = nn.Sequential(
    *(nn.Conv2d(1, 1, 3, dilation=dilation) for dilation in dilations)
)
last = receptive_field.analyze(network, (1, 28, 28))[-1]
assert last.size == (15, 15)
print(f"dilations {dilations}: {last.pixels(5, 5)} of {15 * 15} pixels reach a unit")

# %% [markdown]
# ## Next
#
# Back to [the ladder](../index.md), or on to the networks themselves, from
# [the first stage](../stages/01_setup.py).
