# %% [markdown]
# # Other roads: can a network that you have be made small?
#
# Eight stages made a network small by drawing it anew. Whoever has a trained network
# asks something else: can *this* one be made smaller? There are tools for it, and each
# is praised. Here they stand on equal terms, beside redesign.

# %% tags=["hide-input"]
import gzip
import statistics

from mnist_steps import data, evaluation, figures, pages, runs
from mnist_steps.experiments import evidence
from mnist_steps.experiments.roads import arms, chain, found, timing
from mnist_steps.markup import Text
from mnist_steps.pages import export
from mnist_steps.recipes import EPOCHS
from mnist_steps.stages import TARGET

rows = {row.key: row for row in found.rows()}
times = timing.load()
figures.roads_compared(
    [
        figures.Place(
            row.road, row.label, row.size.least, row.microseconds, row.point.mean,
            row.point.interval,
        )
        for row in rows.values()
        if row.trained_on or row.road == "quantization"
    ],
    TARGET,
)  # fmt: skip


# %% tags=["hide-input"]
def said(row, sizes=True):
    """Accuracy, its interval or how many runs, and bytes, in words."""
    point = row.point
    around = f"{point.runs} {'run' if point.runs == 1 else 'runs'}"
    if point.interval:
        around = f"{point.interval.low:.2f} to {point.interval.high:.2f}"
    size = f", {row.size.least:,} bytes" if sizes else ""
    return f"{point.mean:.2f} % ({around}){size}"


def told(gain):
    """A difference, and whether chance explains as much."""
    if gain.interval is None:
        sure = "too few runs to tell it from chance"
    else:
        sure = "more than chance" if gain.ranked else "within chance"
    return f"{gain.difference:+.2f} points, {sure}"


def table_of(chosen, caption):
    return pages.table(
        ["", "parameters", "bytes", "µs", "accuracy", "interval", "runs"],
        [
            [
                row.title,
                f"{row.parameters:,}",
                f"{row.size.least:,}",
                f"{row.microseconds:,.0f}",
                f"{row.point.mean:.2f}",
                f"{row.point.interval.low:.2f} to {row.point.interval.high:.2f}"
                if row.point.interval
                else "–",
                f"{row.point.runs}",
            ]
            for row in chosen
        ],
        caption,
        wide=(3, 6),
    )


def of_road(*roads):
    return [row for row in rows.values() if row.road in roads]


redesign = {
    int(name.removeprefix("stage-")): row
    for (road, name), row in rows.items()
    if road == "redesign"
}
Text(
    f"Each mark is a network, its line the 95 % interval of its mean where there are "
    f"{arms.SEEDS} runs or more. Numbers name the stage that it comes from, ‘8k’ how "
    "many thousand parameters were left. What lies below the axis stands at its foot. "
    "To the left and up is better."
)

# %% [markdown]
# **You will be able to**
#
# - prune, factorize, round and teach a network, in a few lines each,
# - say what a zero is worth on disk, in memory and in time,
# - choose a road for a network of yours, and say what it costs.
#
# Know first [stage 2](../stages/02_skeleton.py) and [stage
# 8](../stages/08_lr_scheduler.py); the [guide to honest
# evaluation](../guides/evaluation.py) helps.
#
# ## The terms

# %% tags=["hide-input"]
begun = {number: arms.get("begin", f"stage-{number}").outcomes() for number in (1, 2)}
Text(f"""
- **Fifteen epochs at most in all**, those before the change included.
- **Judged once**: one view of each of the 10,000 test images, after the last epoch.
- **Nothing was tuned**: learning rates, epochs and lessons were fixed beforehand, so
  nothing had to be chosen. Redesign had its choices, made
  [on validation images](09_reliable.py#choose-without-looking) or by the original.
- **Bytes** are the smallest of three files: all numbers, only those that are not zero
  with their positions, or the former compressed by zlib.
- **Time** is PyTorch's for one image of a batch of {timing.BATCH}, on one thread of
  {times.processor}, all networks measured in turns.
- **Stages 1 and 2 are trained once**, by a short schedule with convolutions in sixteen
  bits (bfloat16), as large networks train here: {arms.BEGUN[1]} epochs give stage 1
  {begun[1][0].accuracy:.2f} %, {arms.BEGUN[2]} give stage 2
  {begun[2][0].accuracy:.2f} %. What begins with them is {arms.SEEDS} ways, or fewer, of
  training on *one* network: their intervals know nothing of other first trainings.
""")

# %% tags=["hide-input"]
store = chain.Store()
tasks = arms.tasks()
left = sum(store.get(task) is None for task in tasks)
Text(
    f"**This comparison is unfinished.** Of {len(tasks)} runs {left} are still to be "
    f"made: networks without any are not shown, and those with fewer than {arms.SEEDS} "
    "have no interval. Take their order for what one or two runs can say."
    if left
    else f"All {len(tasks)} runs of the plan are there."
)

# %% [markdown]
# ## Pruning: leave out what is small
#
# A weight near zero adds little, so set it to zero. Over all layers, keep the $n$
# weights that are largest:
#
# $$w_i \leftarrow w_i \, m_i, \qquad m_i = 1 \text{ if } |w_i| \text{ is among the } n
# \text{ largest, else } 0$$

# %%
import torch
from torch import nn
from torch.nn.utils import prune

layer = nn.Conv2d(32, 64, 3, bias=False)
prune.l1_unstructured(layer, "weight", amount=0.9)  # torch's own tool
share = (layer.weight == 0).float().mean()
print(f"{share:.0%} zeros, in {layer.weight.numel() * 4:,} bytes as before")

# %% tags=["hide-input"]
table_of(
    of_road("single weights"),
    "Single weights pruned: parameters that are left, bytes of the smallest file, "
    "microseconds for an image, test accuracy in percent.",
)

# %% tags=["hide-input"]
repaired = rows.get(("pruning", "stage-2-weights-7999"))
bare = rows["pruning", "stage-2-weights-7999-untuned"]
dense, with_zeros, by_sparse = (
    times.networks[name]
    for name in ("stage-2", "stage-2-with-zeros", "stage-2-with-zeros-sparse")
)
pages.hold_to("the two overlap", dense.least < with_zeros.most)
after_repair = (
    "What it reads when it is trained on, zeros held at zero, is not measured yet."
    if repaired is None
    else f"After {arms.SHORT_REPAIR} epochs of training on, zeros held at zero: "
    f"{said(repaired, sizes=False)}."
)
pruned = repaired or bare
pages.hold_to(
    "take more than stage 8's file", pruned.size.least > redesign[8].size.least
)
Text(f"""
With {bare.parameters:,} weights left, stage 2 reads {bare.point.mean:.2f} % at once.
{after_repair}

**What is a zero worth?**

- *In memory*: nothing. The layer is as large as before.
- *On disk*: {pruned.size.dense:,} bytes as they are, {pruned.size.sparse:,} with
  positions, {pruned.size.compressed:,} compressed. A position takes two to four bytes,
  so {pruned.parameters:,} weights take more than stage 8's file.
- *In time*: {dense.least:,.0f} to {dense.most:,.0f} µs without zeros,
  {with_zeros.least:,.0f} to {with_zeros.most:,.0f} µs with them: the two overlap. A
  convolution multiplies by zero as by anything else. PyTorch has a product with sparse
  matrices, to which the image's patches have to be laid out first:
  {by_sparse.in_a_batch:,.0f} µs.
""")

# %% [markdown]
# Whole **channels** are another matter. Without a channel, its layer is smaller, and so
# is the next. Keep those whose kernels are largest, by the sum of absolute values:

# %%
weight = torch.randn(64, 32, 3, 3)
size = weight.abs().sum(dim=(1, 2, 3))  # of each output channel's kernel
stay = size.topk(16).indices.sort().values
print("this layer:", tuple(weight[stay].shape), "the next reads 16 channels, too")

# %% tags=["hide-input"]
table_of(
    of_road("channels"),
    "Channels pruned, the same share in each layer; columns as above.",
)

# %% tags=["hide-input"]
channels = rows["pruning", "stage-2-channels-7999"]
bare_channels = rows["pruning", "stage-2-channels-7999-untuned"]
narrow = rows["pruning", "stage-1-channels-7999"]
dead = sum(final < 20 for final in narrow.finals)
first = arms.get("pruning", "stage-1-channels-7999").outcomes()[0].shapes["conv1"][0]
pages.hold_to("runs {dead} never learn", dead > 0 and max(narrow.finals) < 99)
pages.hold_to("has a single channel in its first layer", first == 1)
Text(f"""
At once after the cut it reads {bare_channels.point.mean:.2f} %. After
{arms.REPAIR} epochs it reads {said(channels)}, in
{channels.microseconds / redesign[2].microseconds:.0%} of stage 2's time. That is a
narrow stage 2, and what is left of the trained weights is a way to begin.

**A dead end:** stage 1, cut to as many parameters, has a single channel in its first
layer. Of {narrow.point.runs} runs {dead} never learn, and read
{min(narrow.finals):.2f} %; the best reads {max(narrow.finals):.2f} %. The same share
for every layer is too simple a rule where a layer is thin already.
""")

# %% [markdown]
# ## Low rank: two thin layers for one
#
# A 3×3 kernel looks down and across at once. Write a layer's weights as a matrix $M$
# whose rows look down and whose columns look across. Its singular values say how many
# channels $r$ between a 3×1 and a 1×3 convolution it takes:
#
# $$M \approx \sum_{k=1}^{r} u_k \, \sigma_k \, v_k^\top, \qquad 3 r \, (C_\text{in} +
# C_\text{out}) \text{ weights for } 9 \, C_\text{in} C_\text{out}$$

# %%
weight = runs.load(2).weights["conv3.weight"]  # (128, 64, 3, 3), trained
matrix = weight.permute(1, 2, 0, 3).reshape(64 * 3, 128 * 3)
values = torch.linalg.svdvals(matrix).square()
for rank in (4, 16, 64, 192):
    kept, count = values[:rank].sum() / values.sum(), 3 * rank * (64 + 128)
    print(f"rank {rank:3}: {kept:4.0%} of the energy, {count:7,} weights")
print(f"the layer itself: {weight.numel():,} weights")

# %% tags=["hide-input"]
table_of(
    of_road("low rank"),
    "Stage 2 with two thin convolutions for each one, the same share of the energy in "
    "each layer; columns as above.",
)

# %% tags=["hide-input"]
thin = rows["low-rank", "stage-2-low-rank-7999"]
bare_thin = rows["low-rank", "stage-2-low-rank-7999-untuned"]
Text(f"""
With {thin.parameters:,} parameters {bare_thin.point.mean:.2f} % are left before
training on, and {said(thin)} after it. The maps stay as wide as stage 2's, so time
does not shrink as parameters do: {thin.microseconds:,.0f} µs, against
{channels.microseconds:,.0f} of the network with fewer channels.
""")

# %% [markdown]
# ## Quantization: fewer bits for each weight
#
# Four bytes say a weight to seven digits. One byte says it to two, with a scale $s$
# that a channel shares:
#
# $$w \approx s \cdot q, \qquad q = \operatorname{round}(w / s) \in \{-127, \dots,
# 127\}, \qquad s = \max |w| / 127$$

# %%
weight = torch.randn(8, 4, 3, 3)  # eight channels
scale = weight.abs().amax(dim=(1, 2, 3), keepdim=True) / 127  # 7 for four bits
codes = (weight / scale).round().to(torch.int8)
error = (codes * scale - weight).abs().max()
print(f"{codes.numel()} bytes for {weight.numel() * 4}, wrong by {error:.4f} at most")

# %% [markdown]
# What goes into a convolution is rounded to eight bits as well, as whole-number
# hardware wants it. *After* training, a trained network is rounded. *During* training,
# the last epochs compute with rounded weights and move the exact ones, as if rounding
# were not there: the gradient goes straight through.

# %% tags=["hide-input"]
rounded = of_road("quantization")
pages.table(
    ["", "bytes", "accuracy", "interval", "changed", "runs"],
    [
        [
            row.title,
            f"{row.size.least:,}",
            f"{row.point.mean:.2f}",
            f"{row.point.interval.low:.2f} to {row.point.interval.high:.2f}"
            if row.point.interval
            else "–",
            f"{row.changed:.0f}",
            f"{row.point.runs}",
        ]
        for row in rounded
    ],
    "Rounded networks: bytes, test accuracy in percent, and how many of the 10,000 "
    "predictions are not those of the same training in 32 bits, on average.",
)

# %% tags=["hide-input"]
whole = statistics.fmean(
    one.accuracy for one in arms.get("begin", "stage-8").outcomes()
)  # of the same seeds
after8, during8, after4, during4 = (
    rows["quantization", f"stage-8-{bits}-bits-{when}"]
    for bits in (8, 4)
    for when in ("after", "during")
)
pages.hold_to(
    "Eight bits cost nothing that could be seen", whole - after8.point.mean < 0.02
)
Text(f"""
**Eight bits cost nothing that could be seen**: {after8.point.mean:.2f} % after training
for {whole:.2f} % of the same {after8.point.runs} trainings in 32 bits, in
{after8.size.least / redesign[8].size.least:.0%} of the bytes and without a single
epoch. Training with rounding changes that little: {during8.point.mean:.2f} %.

Four bits cost {whole - after4.point.mean:.2f} points after training. Three epochs with
rounding bring it to {during4.point.mean:.2f} %, in {during4.size.least:,} bytes.

Nothing of this is faster here: PyTorch computes with the rounded numbers in 32 bits.
Rounding is simulated, which tells the accuracy exactly. Kernels for whole numbers are
in torchao, torch's own place for quantization now; we have not measured them.
""")

# %% [markdown]
# ### In the browser
#
# The [playground](../playground.md) fetches stage 8's weights. With eight bits for each
# weight of a convolution:

# %%
record = runs.load(8)
_, packed = export.describe(record)  # what the playground fetches
small, network = bytearray(), record.build()
for tensor in network.state_dict().values():
    if tensor.dim() == 4:  # a convolution's
        scale = tensor.abs().amax(dim=(1, 2, 3), keepdim=True) / 127
        codes = (tensor / scale).round().to(torch.int8)
        small += codes.numpy().tobytes() + scale.numpy().tobytes()
        tensor.copy_(codes * scale)
    elif tensor.is_floating_point():
        small += tensor.numpy().tobytes()

# %% tags=["hide-input"]
test = data.mnist().test
judged = evaluation.evaluate(network, test, record.stage.recipe)
turned = int((judged.predictions != record.predictions).sum())
transferred = [len(gzip.compress(bytes(one), 9)) for one in (packed, small)]
Text(
    f"{transferred[1]:,} bytes travel in place of {transferred[0]:,}, both as gzip, "
    f"and {turned} of the {len(test):,} predictions change: {judged.accuracy:.2f} % "
    f"are right, {record.final_test_accuracy:.2f} % were."
)

# %% [markdown]
# ## Distillation: learn from a larger network
#
# A label says "a 4". A teacher says "a 4, and a little like a 9". The student hears
# both; a temperature $T$ above 1 makes the teacher's lesser answers louder:
#
# $$L = (1 - \lambda) \, (-\log p_y) + \lambda \, T^2 \, \operatorname{KL}(
# p^\text{teacher}_T \,\|\, p_T), \qquad p_T = \operatorname{softmax}(z / T)$$

# %%
import torch.nn.functional as F

teacher, student = torch.randn(16, 10) * 5, torch.randn(16, 10)  # scores
labels, share, hot = torch.randint(10, (16,)), 0.5, 4.0
soft = F.kl_div(
    (student / hot).log_softmax(1),
    (teacher / hot).log_softmax(1),
    log_target=True,
    reduction="batchmean",
)
loss = (1 - share) * F.cross_entropy(student, labels) + share * hot**2 * soft
print(f"loss {loss:.2f}")

# %% tags=["hide-input"]
alone = {
    "tiny-taught": rows["distillation", "tiny-alone"],
    "stage-7-taught": redesign[7],
}
lessons = [(rows[road, name], alone[name]) for road, name in rows if name in alone]
table_of(
    [*of_road("distillation"), *alone.values()],
    "Students of stage 1, and the same networks without a teacher; columns as above.",
)

# %% tags=["hide-input"]
pages.hold_to(
    "no better than its students", begun[1][0].accuracy < redesign[7].point.mean
)
Text(
    "\n".join(
        f"- **{taught.parameters:,} parameters**: {said(taught, sizes=False)} with a "
        f"teacher, {said(other, sizes=False)} without. "
        f"{told(evidence.compare(other.finals, taught.finals))}."
        for taught, other in lessons
    )
    + f"""

The teacher has {begun[1][0].accuracy:.2f} %, no better than its students of
{redesign[7].parameters:,} parameters by themselves. What it says is asked once, of each
image as it lies, while the student sees it moved: cheap, and a weaker lesson.
"""
)

# %% [markdown]
# ## Redesign: draw it anew
#
# The stages as they are, in the order of their bytes.

# %% tags=["hide-input"]
table_of(
    sorted(redesign.values(), key=lambda row: -row.size.least),
    "Redesign: columns as above, each test image judged once.",
)

# %% [markdown]
# ## What each road took

# %% tags=["fold"]
import ast
import inspect

from mnist_steps.experiments.roads import (
    distillation,
    low_rank,
    pruning,
    quantization,
    steps,
)


def lines_of(*parts):
    """Lines of code, without comments and docstrings."""
    count = 0
    for part in parts:
        tree = ast.parse(inspect.getsource(part))
        for node in ast.walk(tree):
            documented = ast.Module, ast.FunctionDef, ast.ClassDef
            if isinstance(node, documented) and ast.get_docstring(node):
                node.body = node.body[1:] or [ast.Pass()]
        count += len(ast.unparse(tree).splitlines())
    return count


def spent(road, name):
    """Epochs after the change, and what they took on average."""
    arm = arms.get(road, name)
    begun_with = arm.task.begin.epochs if arm.task.rounded_while_training else 0
    epochs = arm.task.recipe["epochs"] - begun_with
    seconds = statistics.fmean(one.trained_seconds for one in arm.outcomes())
    return f"{epochs} epochs, {seconds / 60:.1f} min"


# %% tags=["hide-input"]
pages.table(
    ["road", "lines", "training after the change", "what one has to know"],
    [
        [
            "single weights",
            f"{lines_of(pruning.weakest_weights)}",
            spent("pruning", "stage-2-weights-7999") if repaired else "none yet",
            "nothing of the network; to hold zeros at zero while training on",
        ],
        [
            "channels",
            f"{lines_of(pruning.fewer_channels, pruning._with_channels)}",
            spent("pruning", "stage-2-channels-7999"),
            "which layer reads which: branches and skips make it hard",
        ],
        [
            "low rank",
            f"{lines_of(low_rank)}",
            spent("low-rank", "stage-2-low-rank-7999"),
            "singular values; which rank each layer deserves",
        ],
        [
            "quantization, after",
            f"{lines_of(quantization)}",
            "none",
            "a few images to see how large activations get",
        ],
        [
            "quantization, during",
            f"{lines_of(quantization, steps.Trainer)}",
            spent("quantization", "stage-8-4-bits-during"),
            "how gradients pass by what is rounded",
        ],
        [
            "distillation",
            f"{lines_of(distillation)}",
            spent("distillation", "tiny-taught"),
            "a teacher that is better than the student gets by itself",
        ],
        [
            "redesign",
            "–",
            f"{EPOCHS} epochs an attempt",
            "all that eight stages teach",
        ],
    ],
    "Lines of our code for each road, its training on one thread of a machine with "
    "other work to do, and the knowledge that it asks for.",
    words=(2, 3),
    wide=(3,),
)

# %% [markdown]
# ## Which road when

# %% tags=["hide-input"]
half, tenth = (
    rows["pruning", f"stage-2-weights-{left}-untuned"] for left in (130608, 28000)
)
eight = redesign[8]
pages.hold_to("half of all weights", half.point.mean > begun[2][0].accuracy - 0.05)
pages.hold_to("it does not come back", thin.point.mean < channels.point.mean - 1)
Text(f"""
1. **You may train nothing, and the network is too large to send**: round it to eight
   bits ({after8.title}: {said(after8)}, from {eight.size.least:,}).
2. **Eight bits are too many, and you may train a little**: four, rounded during the
   last epochs ({during4.title}: {said(during4)}).
3. **You may train nothing, and want four bits**: look first ({after4.title}:
   {said(after4)}).
4. **You may train nothing, and the file is compressed anyway**: half of all weights
   can go, one by one ({half.title}: {said(half)}).
5. **More than that, and still no training**: do not ({tenth.title}:
   {said(tenth)}).
6. **Sparse files are welcome, and you may train on**: single weights, perhaps
   ({pruned.title}: {said(pruned)}, in stage 2's time).
7. **It is time that you want**: channels, never single weights ({channels.title}:
   {said(channels)}, {channels.microseconds:,.0f} µs).
8. **Your layers are wide, and you keep many ranks**: low rank, perhaps. With few
   it does not come back ({thin.title}: {said(thin)}, {thin.microseconds:,.0f} µs).
9. **You have a teacher that is much better than your student**: distil, perhaps. Ours
   is hardly ({said(lessons[0][0])} with it, {said(lessons[0][1])} without).
10. **You may draw anew and train**: do that, then round ({eight.title}: {said(eight)};
    rounded to eight bits, see the first line).
""")

# %% [markdown]
# ## Check yourself

# %% tags=["hide-input"]
pages.check(
    "Nine tenths of a layer's weights are set to zero, one by one. What gets smaller "
    "by that alone?",
    [
        ("The memory that it takes", "A zero is a number, and has its four bytes."),
        ("The time for an image", "A convolution multiplies by zero as by all else."),
        (
            "The file, once it is compressed",
            "Long rows of zero bytes are what compression is good at. It helps on disk "
            "and on the way, nowhere else.",
        ),
    ],
    answer=2,
)

# %% tags=["hide-input"]
pages.check(
    "Why has each channel a scale of its own, and not the layer one for all?",
    [
        (
            "Channels differ in size",
            "With one scale for all, a channel of small weights would be left with a "
            "few codes around zero.",
        ),
        ("A scale saves bytes", "It costs four, for each channel."),
        (
            "Whole numbers need one scale a channel",
            "They can do with one for a layer; it is only less exact.",
        ),
    ],
    answer=0,
)

# %% tags=["hide-input"]
pages.check(
    "A student reads as well as its teacher already. What can the teacher's answers "
    "still give it?",
    [
        (
            "The same accuracy, for sure",
            "It may also lose: half of its loss now asks for another's mistakes.",
        ),
        (
            "Little: they say what the labels and the images say",
            "Softer targets may help a little or hurt a little. What pays is a teacher "
            "who knows better.",
        ),
        (
            "The teacher's speed",
            "Speed is the student's own: no layer of it changes.",
        ),
    ],
    answer=1,
)

# %% [markdown]
# ## Make these runs yourself
#
# ```
# mnist-steps study --of roads --workers 2 --folder my-roads
# mnist-steps study --of roads --dry-run --folder my-roads    # what is missing
# ```
#
# Each run is saved when it ends, and the same command goes on after a stop.
