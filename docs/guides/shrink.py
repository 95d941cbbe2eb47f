# %% [markdown]
# # Shrink your own network
#
# You have a network that works, and it is too large. Here is this tutorial as a
# checklist, with the lines that do each step, tried on a network that is not ours:
# torchvision's ResNet-18, on colour images of 32×32 pixels, such as those of CIFAR-10.
# Only shapes are looked at, nothing is trained.
#
# ## 0. Before you cut
#
# - **A number to reach**, and one that you may spend: else you never know when to stop.
# - **Images held back** to choose on. The test set answers once, at the end.
# - **A loop that you trust.** Let it learn one batch by heart, as in [stage
#   1](../stages/01_setup.py).
#
# ## 1. Count
#
# Where are the parameters, and where is the work? Seldom in the same place. Your own
# network is `file.py:Name`:
#
# ```
# mnist-steps summary torchvision.models:resnet18 --input 3,32,32
# mnist-steps rf torchvision.models:resnet18 --input 3,32,32
# ```
#
# Here, by the blocks that ResNet calls layers:

# %%
from collections import Counter

from torch import nn
from torchvision.models import resnet18

from mnist_steps import summary

network = resnet18(num_classes=10)
table = summary.summarize(network, (3, 32, 32))
parameters, work = Counter(), Counter()
for row in table.rows:
    block = row.name.split(".")[0]
    parameters[block] += row.params
    work[block] += row.multiplications
for block, count in parameters.items():
    share, of_work = count / table.total_params, work[block] / work.total()
    print(f"{block:9} {count:10,} parameters {share:4.0%}   {of_work:4.0%} of the work")

# %% tags=["hide-input"]
from mnist_steps import figures, pages, receptive_field
from mnist_steps.markup import Text

heaviest, count = parameters.most_common(1)[0]
pages.hold_to("Cut there first", count > 0.6 * table.total_params)
Text(
    f"`{heaviest}` alone holds {count / table.total_params:.0%} of the parameters, and "
    f"does {work[heaviest] / work.total():.0%} of the work. Cut there first."
)

# %% [markdown]
# ## 2. Look at the fields
#
# What sees far beyond the image's border was made for larger images. [Stage
# 2](../stages/02_skeleton.py) has the rule.

# %%
analysis = receptive_field.analyze(network, (3, 32, 32))
ends = {layer.name.split(".")[0]: layer for layer in analysis if layer.has_map}
for block, layer in ends.items():
    maps = "×".join(map(str, layer.output_shape[-2:]))
    print(f"{block:9} maps of {maps:6} field {layer.size[0]}")

# %% tags=["hide-input"]
early = next(block for block, layer in ends.items() if layer.size[0] >= 32)
pages.hold_to("a map of a single unit", ends["layer4"].output_shape[-2:] == (1, 1))
Text(
    f"At the end of `{early}` a unit sees all 32 pixels. `layer4` works on "
    "a map of a single unit: there, eight of nine weights lie on padding. For this "
    "image, the network may end sooner."
)

# %% [markdown]
# So plan backwards from the image: fewer strides at the beginning, an end where the
# field has reached the border:

# %%
from torchvision.models.resnet import BasicBlock


def smaller(width):
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width), nn.ReLU(),
        BasicBlock(width, width), nn.MaxPool2d(2),
        BasicBlock(width, width), nn.MaxPool2d(2),
        BasicBlock(width, width),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10),
    )  # fmt: skip


for width in (64, 32, 16):
    small = summary.summarize(smaller(width), (3, 32, 32))
    field = max(row.size[0] for row in small.rows if row.kind == "Conv2d")
    print(f"{width} channels: {small.total_params:8,} parameters, field {field}")

# %% [markdown]
# ## 3. Cut channels, and watch the signal
#
# A layer's parameters grow with the square of the width: half the channels are a
# quarter of the parameters. Before you train, send a batch through. The signal has to
# arrive, in both directions; else see [stage 3](../stages/03_lighter.py).

# %%
import torch

torch.manual_seed(0)
images, labels = torch.randn(32, 3, 32, 32), torch.randint(10, (32,))
models = {
    "ResNet-18": nn.Sequential(network, nn.LogSoftmax(dim=1)),
    "smaller": nn.Sequential(smaller(16), nn.LogSoftmax(dim=1)),
}
signals = {
    name: figures.signal_of(model, images, labels) for name, model in models.items()
}

# %% tags=["hide-input"]
figures.signal(signals)

# %% [markdown]
# ## 4. Normalize
#
# With a normalization behind each convolution but the last, drop the biases before
# them: [stage 4](../stages/04_batch_norm.py) says why.

# %%
for name, layer in smaller(16).named_modules():
    if isinstance(layer, nn.Conv2d) and layer.bias is not None:
        print(name, "has a bias that it may not need")

# %% [markdown]
# ## 5. End in an average
#
# A flattened map before a linear layer is often the heaviest part of a network. An
# [average](../stages/05_global_average_pooling.py) has no weights:

# %%
maps = (64, 8, 8)
print(f"flattened: {nn.Linear(64 * 8 * 8, 10).weight.numel():6,} weights")
print(f"averaged:  {nn.Linear(64, 10).weight.numel():6,} weights")

# %% [markdown]
# ## 6. Mix channels where it is cheap
#
# Where a layer only has to mix channels, a [kernel of one
# pixel](../stages/06_pointwise.py) does it with a ninth of the weights. With only
# normalization between it and another, it adds nothing: look for such pairs.
#
# ## 7. Spend what is left
#
# [Spend the rest of your budget](../stages/07_capacity.py) one place at a time, and
# judge each by several seeds, on the images held back.
#
# ## 8. Then the schedule
#
# A [schedule](../stages/08_lr_scheduler.py) costs no parameter. Try it last: it helps
# worse networks, too.
#
# ## Judge each step over seeds
#
# Train both with five seeds or more, and ask whether they differ by more than chance:

# %%
from mnist_steps.experiments import evidence

before = [91.8, 92.1, 91.9, 92.4, 91.7]  # made up: your accuracies, one a seed
after = [91.6, 92.0, 91.5, 92.2, 91.9]
print(evidence.compare(before, after).verdict("before", "after"))

# %% [markdown]
# A step that the seeds cannot tell from nothing cost nothing that you could measure:
# keep it, and say so. [Studies](study.md) of MNIST's networks are one command.
#
# ## Or keep the network, and change its weights
#
# Pruning, low rank, quantization and distillation begin with what you have. [Other
# roads](../beyond/12_other_roads.py#which-road-when) measures all of them beside
# redesign, and says which pays when.
