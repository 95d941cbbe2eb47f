# %% [markdown]
# # 6. What can a kernel of one pixel do?
#
# It cannot see a shape, not even an edge, for an edge needs a neighbour. But at each
# place of a map lie as many numbers as there are channels. Those it can **mix**.

# %% tags=["hide-input"]
import statistics

from mnist_steps import data, evaluation, figures, pages, runs, stages, summary
from mnist_steps.experiments import ablation, evidence, study
from mnist_steps.markup import Text

stage, before = stages.get(6), stages.get(5)
run, old = runs.load_or_train(6), runs.load_or_train(5)
now, earlier = (study.Store().outcomes(each) for each in (stage, before))
figures.mixing(run)

# %% [markdown]
# **You will be able to**
#
# - say what a 1×1 convolution computes, and what it costs;
# - see when such a layer adds nothing, and prove it.
#
# ## The idea
#
# The numbers of ten channels at one place $(i, j)$ are a vector $x(i, j)$. A **1×1
# convolution** multiplies it by a matrix $W$, the same at every place:
#
# $$y(i, j) = W \, x(i, j)$$

# %%
import torch
from torch import nn

layer = nn.Conv2d(10, 4, 1, bias=False)  # ten channels in, four out
maps = torch.randn(1, 10, 20, 20)
W = layer.weight[:, :, 0, 0]  # (4, 10)

with torch.no_grad():
    one_place = W @ maps[0, :, 5, 7]  # row 5, column 7
    assert torch.allclose(layer(maps)[0, :, 5, 7], one_place, atol=1e-6)

# %% [markdown]
# Each new channel is a blend of all old ones: 'a lot of the third, minus half of the
# eighth'. A 3×3 kernel blends, too, and pays for nine places: from $C$ channels to $C$
# others, $9\,C^2$ weights against $C^2$.

# %% tags=["hide-input"]
plain, narrow = 9 * 64 * 64, 64 * 16 + 9 * 16 * 16 + 16 * 64
Text(
    "So a wide network can become narrow by a 1×1 layer, do its 3×3 work there, and "
    "become wide again: a **bottleneck**. From 64 channels to 64, by 16 between, that "
    f"is {narrow:,} weights instead of {plain:,}."
)

# %% [markdown]
# ### When it adds nothing
#
# Mixing a mixture is mixing. With no ReLU between them, two matrices are one: $W_2 (W_1
# x) = (W_2 W_1)\, x$. So are two kernels. Now look at this network: behind `conv4`
# stand `batch_norm4`, `point1` and `batch_normp1`, and **no ReLU**. In evaluation,
# batch normalization is one multiplication and one addition a channel. So all of this
# is linear, up to a shift, and one 3×3 kernel can do it:

# %%
trained = run.build()  # in evaluation mode


def folded(convolution, normalization):
    """Kernel and bias of the convolution that does what both do in evaluation."""
    spread = (normalization.running_var + normalization.eps).sqrt()
    scale = normalization.weight / spread
    kernel = convolution.weight * scale[:, None, None, None]
    return kernel, normalization.bias - normalization.running_mean * scale


with torch.no_grad():
    kernel4, bias4 = folded(trained.conv4, trained.batch_norm4)
    mix, bias_mix = folded(trained.point1, trained.batch_normp1)
    mix = mix[:, :, 0, 0]  # (10, 10), the matrix
    kernel = torch.einsum("om,mihw->oihw", mix, kernel4)  # (10, 10, 3, 3)
    bias = mix @ bias4 + bias_mix

# %% [markdown]
# Put this one layer in the place of the four, and show both networks digits:

# %% tags=["fold"]
one = nn.Conv2d(10, 10, 3)
one.load_state_dict({"weight": kernel, "bias": bias})
layers = dict(trained.named_children())
four = ("conv4", "batch_norm4", "point1", "batch_normp1")
shorter = nn.Sequential(
    *(one if name == "conv4" else part for name, part in layers.items()
      if name == "conv4" or name not in four)
)  # fmt: skip

test, constants = data.mnist().test[:2000], stage.recipe.normalize_test
long, short = (
    evaluation.log_probabilities(network, test.images, constants)
    for network in (trained, shorter)
)
before_folding = sum(
    part.numel() for name in four for part in layers[name].parameters()
)
print(f"parameters: {before_folding:,} → {kernel.numel() + bias.numel():,}")
print(f"largest difference of a log-probability: {(long - short).abs().max():.0e}")
same = (long.argmax(dim=1) == short.argmax(dim=1)).float().mean()
print(f"same digit: {same:.0%} of {len(test):,}")

# %% [markdown]
# The same outputs, up to rounding. So `point1` represents *nothing* that `conv4` with a
# bias could not. Whether it helped on the way, only other trainings could say.
#
# ## The change

# %% tags=["hide-input"]
figures.folded("Both networks, drawn", figures.network_change(before, stage))

# %% tags=["hide-input"]
point1, point2 = (stage.build().get_submodule(name) for name in ("point1", "point2"))
Text(
    f"Two 1×1 layers, of {point1.weight.numel()} and {point2.weight.numel()} weights, "
    "are what the original announces. Much else changes: one more 3×3 layer, fewer "
    "channels, normalization *before* each ReLU and behind the last layer. "
    f"{stage.parameters:,} parameters, {before.parameters - stage.parameters:,} fewer."
)

# %% tags=["hide-input"]
pages.model_difference(before, stage)

# %% tags=["hide-input"]
turned, turned_before = (each.recipe.augmentation for each in (stage, before))
rare = turned_before[0].probability == 0.1
pages.hold_to("where one in ten was cropped a lot", rare)
Text(f"""
Unannounced, the augmentation changes, too: digits are turned by {turned[1].degrees}
degrees at most instead of {turned_before[1].degrees}, and all are cropped a little,
where one in ten was cropped a lot.
""")

# %% [markdown]
# ## Predict

# %% tags=["hide-input"]
learnt, learnt_before = (
    [one.epochs["train_accuracy"][-1] for one in study.Store().outcomes(each)]
    for each in (stage, before)
)
change = evidence.compare(learnt_before, learnt)
pages.predict(
    "Training digits are turned less, and the network has one more layer. What happens "
    f"to the share of training digits that it reads, over {len(learnt)} seeds?",
    ("It falls", "It stays, as far as the seeds can tell", "It rises"),
    answer=1 if not change.ranked else 2 * (change.difference > 0),
    explanation=f"Its mean went from {statistics.fmean(learnt_before):.2f} to "
    f"{statistics.fmean(learnt):.2f} % (95 % interval of the difference "
    f"{change.interval:+.2f}). Why, is open: read "
    "on.",
)

# %% [markdown]
# ## What happened

# %% tags=["hide-input"]
figures.beside(figures.seeds([before, stage]), figures.all_curves([before, stage]))

# %% tags=["hide-input"]
finals, finals_before = ([one.figures.final for one in made] for made in (now, earlier))
tested = evidence.compare(finals_before, finals)
pages.hold_to("the seeds cannot tell", not tested.ranked)
fell = change.ranked and change.difference < 0
pages.hold_to("Fewer *training* digits are read", fell)
Text(f"""
Whether stage 6 reads more test digits than stage 5, the seeds cannot tell:
{tested.difference:+.2f} points (95 % interval {tested.interval.low:+.2f} to
{tested.interval.high:+.2f}). Fewer *training* digits are read, by
{-change.difference:.2f} points. So test accuracy lies further above training accuracy:
{statistics.fmean(finals) - statistics.fmean(learnt):.2f} points, where it was
{statistics.fmean(finals_before) - statistics.fmean(learnt_before):.2f}.
""")

# %% tags=["hide-input"]
figures.folded("Digits that are newly right or wrong", pages.newly(before, stage))

# %% [markdown]
# ## Why

# %% tags=["hide-input"]
arms = {one.arm.name.removeprefix("ablation-"): one for one in ablation.effects()}
store = study.Store()


def read_in_training(name):
    """An arm's training accuracy against the baseline's, over seeds."""
    made = [
        [
            one.epochs["train_accuracy"][-1]
            for one in store.outcomes(arm.stage, arm.name)
        ]
        for arm in (ablation.BASELINE, arms[name].arm)
    ]
    return evidence.compare(*made)


names = {
    "no-pointwise": "without the 1×1 layers",
    "fewer-layers": "without the third layer behind the pooling",
    "old-augmentation": "augmentation of stage 5",
}
rows = []
for name, title in names.items():
    trains = read_in_training(name)
    rows.append(
        [
            title,
            arms[name].size,
            f"{trains.difference:+.2f} [{trains.interval.low:+.2f}, "
            f"{trains.interval.high:+.2f}]",
        ]
    )
undecided = not any(
    arms[name].comparison.ranked for name in names if name != "fewer-layers"
)
pages.hold_to(
    "only the added layer shows", arms["fewer-layers"].comparison.ranked and undecided
)
pages.table(
    ["one thing changed back", "test accuracy", "training accuracy"],
    rows,
    "The last network of this tutorial with one thing changed back: differences from "
    "an unchanged training in percentage points, 95 % intervals in brackets, over "
    f"{arms['no-pointwise'].runs} seeds, {ablation.EPOCHS} epochs each.",
)

# %% tags=["hide-input"]
without = read_in_training("no-pointwise")
pages.hold_to(
    "more training digits are read without the 1×1 layers",
    without.ranked and without.difference > 0,
)
alike = not read_in_training("old-augmentation").ranked
pages.hold_to("The augmentation is not it", alike)

# %% [markdown]
# On test digits only the added layer shows. The augmentation is not it: with the old
# one, training goes alike. But more training digits are read without the 1×1 layers: a
# trace, no proof.
#
# Why training digits became harder is **open**, and so is whether the 1×1 layers pay.
# To tell, train stage 6's own network as it is, with `point1` folded away, and with a
# ReLU behind it, at equal parameters, over ten seeds.
#
# ## Check yourself

# %% tags=["hide-input"]
pages.check(
    "A 1×1 convolution without bias turns ten maps of 20 × 20 into four. How many "
    "weights does it have?",
    [
        ("40", "A matrix of 4 × 10, the same one at each place."),
        ("400", "The number of places costs time, but no weights."),
        ("360", "So many has a 3×3 kernel: nine matrices, one for each place it sees."),
    ],
    answer=0,
)

# %% tags=["hide-input"]
pages.check(
    "You put a ReLU between `batch_norm4` and `point1`. Can the four layers still be "
    "folded into one kernel?",
    [
        (
            "Yes, ReLU has no weights",
            "Weights do not matter here. Being straight does.",
        ),
        ("Yes, in evaluation", "ReLU bends in evaluation, too."),
        ("No", "ReLU cuts off what is negative. No kernel does that."),
    ],
    answer=2,
)

# %% tags=["hide-input"]
pages.check(
    "Four layers of the trained network fold into one with the same outputs. What does "
    "that show?",
    [
        (
            "It would have trained as well without `point1`",
            "It could have ended there. Whether it would have takes more trainings.",
        ),
        (
            "One kernel can represent as much",
            "Exactly that, and no more.",
        ),
        (
            "1×1 layers are useless",
            "With something bent in between, or as a bottleneck, they are not.",
        ),
    ],
    answer=1,
)

# %% [markdown]
# ## Exercises
#
# **1.** `point2` stands behind the average. Does their order matter for the scores, and
# for the work?

# %% [markdown] tags=["hint"]
# An average is a sum with equal weights, and the matrix is the same at every place.
# Feed both orders with `torch.randn(4, 12, 4, 4)`, and count how often the matrix is
# used.

# %% tags=["solution"]
blurred = torch.randn(4, 12, 4, 4)
with torch.no_grad():
    average_first = trained.point2(trained.gap(blurred))
    mix_first = trained.gap(trained.point2(blurred))
assert torch.allclose(average_first, mix_first, atol=1e-5)
print("the same scores; mixing first multiplies at each of", 4 * 4, "places")

# %% [markdown]
# **2.** Then `point2` and `batch_normp2` fold, too, into `conv7` with its
# normalization. Build the one layer that is left in front of the average.

# %% [markdown] tags=["hint"]
# Exercise 1 lets you move `point2` in front of the average. From there on it is what
# the page did with `conv4` and `point1`, and `folded` is still there.

# %% tags=["solution"]
with torch.no_grad():
    kernel7, bias7 = folded(trained.conv7, trained.batch_norm7)
    matrix, bias_scores = folded(trained.point2, trained.batch_normp2)
    matrix = matrix[:, :, 0, 0]  # (10, 12)
    last = torch.einsum("om,mihw->oihw", matrix, kernel7)
    last_bias = matrix @ bias7 + bias_scores
    inputs = torch.randn(4, 12, 6, 6)
    many = inputs
    for name in ("conv7", "batch_norm7", "gap", "point2", "batch_normp2"):
        many = layers[name](many)
    single = nn.functional.conv2d(inputs, last, last_bias).mean(dim=(2, 3))
assert torch.allclose(many[..., 0, 0], single, atol=1e-4)
print(
    f"one 3×3 layer of {last.numel() + last_bias.numel():,} parameters, and an average"
)

# %% [markdown]
# **3.** *A training broken on purpose.* This student builds the last layer where it is
# used. The loss does not fall, whatever the learning rate. Why?


# %% tags=["fold"]
class Careless(nn.Module):
    """Stage 6, written by somebody in a hurry."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            *list(stage.build().children())[:-4]
        )  # to the average

    def forward(self, images):
        features = self.body(images)  # (N, 12, 1, 1)
        scores = nn.Conv2d(12, 10, 1, bias=False)(features)
        return scores.flatten(1).log_softmax(dim=1)


torch.manual_seed(8)
network = Careless()
optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
train = data.mnist().full_train[:3200]
digits = stage.recipe.normalize_train(train.images.float() / 255)

losses = []
for images, labels in zip(digits.split(64), train.labels.split(64), strict=True):
    optimizer.zero_grad()
    loss = nn.functional.nll_loss(network(images), labels)
    loss.backward()
    optimizer.step()
    losses.append(loss.item())

figures.loss_by_step({"this training": losses}, steps=50)

# %% [markdown] tags=["hint"]
# Count the parameters that the optimizer moves. How many should there be?

# %% tags=["solution"]
moved = sum(part.numel() for part in network.parameters())
behind = sum(part.numel() for part in trained.batch_normp2.parameters())
print(f"{moved:,} moved, {stage.parameters - behind:,} without the last normalization")
print("missing:", stage.parameters - behind - moved)

# %% [markdown] tags=["solution"]
# The missing ones are those of `point2`. It is made *inside* `forward`, so each batch
# gets a new one with new random weights, and no optimizer knows of it. The body learns
# to please one mixture, and the next batch has another. Layers belong into `__init__`.

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
# [Train this network in your browser](../lab.md#preset=6). There is room in the budget:
# [stage 7](07_capacity.py) spends it.
