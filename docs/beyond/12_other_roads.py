# %% [markdown]
# # Other roads: can a network that you have be made small?
#
# Eight stages made a network small by drawing it anew. Whoever has a trained network
# asks something else: can *this* one be made smaller? There are tools for it, and each
# is praised. Here they stand on equal terms, beside redesign.

# %% tags=["hide-input"]
import ast
import gzip
import inspect
import statistics

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune

from mnist_steps import data, engine, evaluation, figures, pages, runs, stages
from mnist_steps.experiments import evidence
from mnist_steps.experiments.roads import (
    arms,
    chain,
    distillation,
    found,
    low_rank,
    pruning,
    quantization,
    steps,
    timing,
)
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
def around(row):
    """The interval of a mean, or how many runs there are."""
    if row.point.interval:
        return f"{row.point.interval:.2f}"
    return f"{row.point.runs} {'run' if row.point.runs == 1 else 'runs'}"


def said(row):
    return f"{row.point.mean:.2f} % ({around(row)})"


def told(before, after):
    """A difference of means, and whether chance explains as much."""
    gain = evidence.compare(before, after)
    sure = "more than chance" if gain.ranked else "within chance"
    if gain.interval is None:
        sure = "too few runs to tell it from chance"
    return f"{gain.difference:+.2f} points, {sure}".replace("-", "−")


redesign = {
    int(name.removeprefix("stage-")): row
    for (road, name), row in rows.items()
    if road == "redesign"
}
every = arms.tasks()
left = chain.Store().left(every)
unfinished = (
    f" **This comparison is unfinished:** {len(left)} of {len(every)} runs are still "
    "to be made. Take the rest for what few runs can say."
    if left
    else ""
)
Text(
    "Each mark is a network, the line through it the 95 % interval of its mean. "
    "Numbers name the stage that it comes from, '8k' how many thousand parameters were "
    "left; of the rounded ones only stage 8 *after* training is named. What lies below "
    f"the axis stands at its foot. To the left and up is better.{unfinished}"
)

# %% [markdown]
# **You will be able to**
#
# - prune, factorize, round and teach a network, in a few lines each,
# - say what a zero is worth on disk, in memory and in time,
# - choose a road for a network of yours, and say what it costs.
#
# ## Which road when

# %% tags=["hide-input"]
after8, during8, after4, during4 = (
    rows["quantization", f"stage-8-{bits}-bits-{when}"]
    for bits in (8, 4)
    for when in ("after", "during")
)
half, bare = (
    rows["pruning", f"stage-2-weights-{kept}-untuned"] for kept in (130608, 28000)
)
sparse, tuned = (rows["pruning", f"stage-2-weights-{kept}"] for kept in (7999, 28000))
fifth, channels = (
    rows["pruning", f"stage-2-channels-{kept}"] for kept in (52243, 7999)
)
thin = rows["low-rank", "stage-2-low-rank-7999"]
alone = {
    "tiny-taught": rows["distillation", "tiny-alone"],
    "stage-7-taught": redesign[7],
}
lessons = [(rows[road, name], alone[name]) for road, name in rows if name in alone]
taught, untaught = lessons[0]
eight = redesign[8]
NOTHING, MUCH = 0.05, 1  # points


def worth(row, before):
    lost = statistics.fmean(before) - row.point.mean
    return "yes" if lost <= NOTHING else "at a price" if lost <= MUCH else "no"


def pays(row, before):
    gain = evidence.compare(before, row.finals)
    return "yes" if gain.ranked and gain.difference > 0 else "not here"


cases = [
    ("no training, less to send", "round to eight bits", after8, after8.before),
    ("a little training, less still", "train on, four bits", during4, during4.before),
    ("no training, but four bits", "round to four bits", after4, after4.before),
    ("no training, compressed file", "half the weights zero", half, half.before),
    ("a little training, a tenth of it", "prune, train on", tuned, tuned.before),
    ("training, less time", "cut channels, train on", fifth, fifth.before),
    ("training, the least time", "cut most channels", channels, channels.before),
    ("training, wide layers", "low rank, train on", thin, thin.before),
    ("training, a better teacher", "distil", taught, untaught.finals),
    ("training from the start", "redesign, then round", eight, redesign[1].finals),
]
pages.table(
    ["you can have", "road", "worth it?", "before", "after", "bytes", "µs"],
    [
        [
            case,
            road,
            (pays if row is taught else worth)(row, before),
            f"{statistics.fmean(before):.2f}",
            f"{row.point.mean:.2f}",
            f"{row.size.least:,}",
            f"{row.microseconds:,.0f}",
        ]
        for case, road, row, before in cases
    ],
    "Mean accuracy in percent: before is the same training without the change, for a "
    "teacher the student alone, for redesign stage 1. Worth it: at most "
    f"{NOTHING} points lost; at a price: at most {MUCH}; a teacher has to gain.",
    words=(1, 2),
    wide=(3, 6),
)

# %% tags=["hide-input"]
cut = [
    row
    for row in rows.values()
    if row.road in ("single weights", "channels", "low rank")
    and row.trained_on
    and row.parameters <= arms.WITHIN
]
best = max(cut, key=lambda row: row.point.mean)
Text(
    f"With fewer than 8,000 parameters, the best that was cut is *{best.title}*: "
    f"{said(best)}. Stage 8, drawn anew, reads {said(eight)}: "
    f"{told(best.finals, eight.finals)}."
)

# %% [markdown]
# ## The idea
#
# ### Pruning: leave out what is small
#
# A weight near zero adds little, so set it to zero, and keep those of all layers that
# are largest. Or leave out whole **channels**, those whose kernels are smallest: then
# the layer gets smaller, and so does the next.

# %%
layer = nn.Conv2d(32, 64, 3, bias=False)
prune.l1_unstructured(layer, "weight", amount=0.9)  # torch's own tool
share = (layer.weight == 0).float().mean()
print(f"{share:.0%} zeros, in {layer.weight.numel() * 4:,} bytes as before")

size = layer.weight.abs().sum(dim=(1, 2, 3))  # of each output channel's kernel
stay = size.topk(16).indices.sort().values
print("fewer channels:", tuple(layer.weight[stay].shape), "and the next reads 16, too")

# %% [markdown]
# ### Low rank: two thin layers for one
#
# A 3×3 kernel looks down and across at once. Write a layer's weights as a matrix $M$
# whose rows look down and whose columns look across. Its singular values say how many
# channels $r$ between a 3×1 and a 1×3 convolution it takes:
#
# $$M \approx \sum_{k=1}^{r} u_k \, \sigma_k \, v_k^\top$$
#
# That is $3 r \, (C_\text{in} + C_\text{out})$ weights in place of
# $9 \, C_\text{in} C_\text{out}$.

# %%
weight = runs.load(2).weights["conv3.weight"]  # (128, 64, 3, 3), trained
matrix = weight.permute(1, 2, 0, 3).reshape(64 * 3, 128 * 3)
energy = torch.linalg.svdvals(matrix).square()
for rank in (4, 64):
    kept, count = energy[:rank].sum() / energy.sum(), 3 * rank * (64 + 128)
    print(f"rank {rank:2}: {kept:3.0%} of the energy, {count:6,} of {weight.numel():,}")

# %% [markdown]
# ### Quantization: fewer bits for each weight
#
# Four bytes say a weight to seven digits. One byte says it to two, with a scale $s$
# that a channel shares; what goes into a convolution is rounded to a byte as well:
#
# $$w \approx s \cdot q, \quad s = \max |w| / 127$$
#
# $$q = \operatorname{round}(w / s) \in \{-127, \dots, 127\}$$

# %%
weight = torch.randn(8, 4, 3, 3)  # eight channels
scale = weight.abs().amax(dim=(1, 2, 3), keepdim=True) / 127  # 7 for four bits
codes = (weight / scale).round().to(torch.int8)
error = (codes * scale - weight).abs().max()
print(f"{codes.numel()} bytes for {weight.numel() * 4}, wrong by {error:.4f} at most")

# %% [markdown]
# *After* training, the trained weights are rounded. *During* training, the last epochs
# compute with rounded weights and move the exact ones, as if rounding were not there.
#
# ### Distillation: learn from a larger network
#
# A label says "a 4". A teacher says "a 4, and a little like a 9". The student hears
# both; a temperature $T$ above 1 makes the teacher's lesser answers louder:
#
# $$\begin{aligned} L &= (1 - \lambda) \, (-\log p_y) \\
# &+ \lambda \, T^2 \, \operatorname{KL}(p^\text{teacher}_T \,\|\, p_T) \end{aligned}$$
#
# $$p_T = \operatorname{softmax}(z / T)$$

# %% tags=["fold"]
teacher, student = torch.randn(16, 10) * 5, torch.randn(16, 10)  # scores
labels, share, hot = torch.randint(10, (16,)), 0.5, 4.0
answers = [(scores / hot).log_softmax(1) for scores in (student, teacher)]
apart = F.kl_div(*answers, log_target=True, reduction="batchmean")
loss = (1 - share) * F.cross_entropy(student, labels) + share * hot**2 * apart

# %% [markdown]
# ## Equal terms

# %% tags=["hide-input"]
begun = {number: arms.get("begin", f"stage-{number}").outcomes() for number in (1, 2)}
Text(f"""
- **Fifteen epochs in all**, at most. Large networks begin briefly, once each: stage 1
  for {arms.BEGUN[1]} epochs ({begun[1][0].accuracy:.2f} %), stage 2 for
  {arms.BEGUN[2]} ({begun[2][0].accuracy:.2f} %). What is cut trains on for
  {arms.REPAIR} more. Single weights have {arms.SHORT_REPAIR}, for an epoch with zeros
  costs what the large network's does; so has stage 1 cut to a half or a fifth, with
  convolutions still in sixteen bits.
- **Each test image is judged once**, after the last epoch. Nothing was tuned. Redesign
  had its choices, made [on validation
  images](09_reliable.py#choose-without-looking) or by the original.
- **Bytes** are the smallest of three files: all numbers, those that are not zero with
  their positions, or all compressed.
- **Time** is PyTorch's for an image, in batches of {timing.BATCH} on one thread.
""")

# %% [markdown]
# ## Predict

# %% tags=["hide-input"]
FEW, MANY = 10, 100
pages.predict(
    "Stage 8's weights are rounded to one byte each, after training. How many of its "
    "answers to 10,000 test images change?",
    (f"Fewer than {FEW}", f"From {FEW} to {MANY}", f"More than {MANY}"),
    answer=0 if after8.changed < FEW else 1 if after8.changed <= MANY else 2,
    explanation=f"{after8.changed:.0f}, on average over {after8.point.runs} trainings. "
    f"The accuracy hears little of it, {told(after8.before, after8.finals)}: answers "
    "change for the better and for the worse.",
)

# %% [markdown]
# ## What happened


# %% tags=["hide-input"]
def pruned(number):
    """The figure of a stage with ever less of it."""
    kept = []
    for (road, name), row in rows.items():
        trained_on = rows.get((road, name.removesuffix("-untuned")))
        if trained_on is row or row.road == "low rank":
            continue
        if name.startswith(f"stage-{number}-"):
            reads = trained_on and trained_on.point.mean
            kept.append(figures.Kept(row.road, row.parameters, row.point.mean, reads))
    whole, reads = stages.get(number).parameters, begun[number][0].accuracy
    return figures.what_is_left(f"Stage {number}", whole, reads, kept, TARGET)


figures.beside(pruned(2), pruned(1))

# %% tags=["hide-input"]
narrow = rows["pruning", "stage-1-channels-7999"]
bare_fifth = rows["pruning", "stage-2-channels-52243-untuned"]
bare_thin = rows["low-rank", "stage-2-low-rank-7999-untuned"]
roomier = rows["low-rank", "stage-2-low-rank-28000"]
hopeless, empty = (rows["pruning", f"stage-1-weights-{kept}"] for kept in (28000, 7999))
dead = sum(final < 20 for final in narrow.finals)
first = arms.get("pruning", "stage-1-channels-7999").outcomes()[0].shapes["conv1"][0]
pages.hold_to("never learn", dead > 0)
guessing = max(*hopeless.finals, *empty.finals) < 20
pages.hold_to("it guesses, trained on", guessing)
pages.hold_to("has a single channel in its first layer", first == 1)
better = begun[1][0].accuracy > redesign[7].point.mean
rounds = EPOCHS - chain.BEFORE_ROUNDING
nine_after, nine_during = (
    rows["quantization", f"stage-9-4-bits-{when}"] for when in ("after", "during")
)
pupils = "; ".join(
    f"{row.parameters:,} parameters: {row.point.mean:.2f} % with a teacher, "
    f"{other.point.mean:.2f} % without: {told(other.finals, row.finals)}"
    for row, other in lessons
)
Text(f"""
- **Single weights.** With {bare.parameters:,} of stage 2's weights left it reads
  {bare.point.mean:.2f} % at once and, after {arms.SHORT_REPAIR} epochs, {said(tuned)}.
  *A dead end:* of stage 1's the weakest of *all* layers go. With
  {hopeless.parameters:,} left it guesses, trained on (in {around(hopeless)}) or not;
  with {empty.parameters:,}, of `conv6` none is: it reads the most channels, so its
  weights are the smallest.
- **Channels.** With {fifth.parameters:,} of stage 2's parameters left it reads
  {bare_fifth.point.mean:.2f} % at once and, after {arms.REPAIR} epochs, {said(fifth)}:
  the whole had {begun[2][0].accuracy:.2f}, without those epochs. It takes
  {100 * fifth.microseconds / redesign[2].microseconds:.0f} % of stage 2's time. With
  {channels.parameters:,}: {said(channels)}, in
  {100 * channels.microseconds / redesign[2].microseconds:.0f} %. *A dead end:*
  stage 1, cut to {narrow.parameters:,}, has a single channel in its first layer. Of
  {narrow.point.runs} runs {dead} never learn, the best reads
  {max(narrow.finals):.2f} %. One share for every layer is too simple a rule.
- **Low rank.** {bare_thin.point.mean:.2f} % at once, {said(thin)} after {arms.REPAIR}
  epochs. With {roomier.parameters:,} parameters: {said(roomier)}.
- **Eight bits.** {after8.point.mean:.2f} % after training:
  {told(after8.before, after8.finals)}, in
  {100 * after8.size.least / eight.size.least:.0f} % of the bytes. Rounding during
  training: {told(during8.before, during8.finals)}.
- **Four bits.** After training {told(after4.before, after4.finals)}; with {rounds}
  epochs of rounding {told(during4.before, during4.finals)}. Stage 9
  goes from {statistics.fmean(nine_after.before):.2f} to {nine_after.point.mean:.2f} and
  {nine_during.point.mean:.2f} %.
- **Distillation.** {pupils}. The teacher has {begun[1][0].accuracy:.2f} %,
  {"more" if better else "no more"} than stage 7's network by itself.
""")

# %% [markdown]
# Rounding is simulated: the accuracy is exact, and nothing gets faster. Kernels for
# whole numbers are in torchao, torch's place for quantization; they are not measured.
#
# ### In your browser

# %% tags=["hide-input"]
record = runs.load(8)
recipe = record.stage.recipe
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

test = data.mnist().test
by_engine = engine.choose(network, recipe).engine == "engine"
compute = engine.evaluate if by_engine else evaluation.log_probabilities
judged = evaluation.evaluate(network, test, recipe, compute=compute)
turned = int((judged.predictions != record.predictions).sum())
transferred = [len(gzip.compress(bytes(one), 9)) for one in (packed, small)]
Text(
    "The [playground](../playground.md) fetches stage 8's weights. With a byte for "
    f"each weight of a convolution, **{transferred[1]:,} bytes travel in place of "
    f"{transferred[0]:,}**, both as gzip, and {turned} of the {len(test):,} "
    f"predictions change: {judged.accuracy:.2f} % are right, "
    f"{record.final_test_accuracy:.2f} % were."
)

# %% [markdown]
# ## Why
#
# What is a zero worth?

# %% tags=["hide-input"]
dense, with_zeros, by_sparse = (
    times.networks[name]
    for name in ("stage-2", "stage-2-with-zeros", "stage-2-with-zeros-sparse")
)
overlap = dense.least < with_zeros.most and with_zeros.least < dense.most
apart = with_zeros.in_a_batch / dense.in_a_batch
more = "more" if sparse.size.least > eight.size.least else "no more"
Text(f"""
- *In memory* nothing: the layer is as large as before.
- *On disk* {sparse.size.dense:,} bytes become {sparse.size.sparse:,} with positions or
  {sparse.size.compressed:,} compressed: {sparse.parameters:,} weights take {more} than
  stage 8's {eight.size.least:,}.
- *In time* {dense.least:,.0f} to {dense.most:,.0f} µs without zeros,
  {with_zeros.least:,.0f} to {with_zeros.most:,.0f} with them:
  {"no difference that shows" if overlap else f"{apart:.2f} times as long"}. A
  convolution multiplies by zero as by anything else. A product with sparse matrices
  wants the image's patches laid out first, and takes {by_sparse.in_a_batch:,.0f} µs.

A **channel** that goes takes its multiplications along: {channels.microseconds:,.0f}
µs. **Two thin layers** leave the maps as wide as they were: {thin.microseconds:,.0f} µs
with as few parameters.
""")


# %% tags=["hide-input"]
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
    seconds = [one.trained_seconds for one in arm.outcomes()]
    return f"{epochs} epochs, {statistics.fmean(seconds) / 60:.1f} min"


costs = pages.table(
    ["road", "lines", "training after the change", "what one has to know"],
    [
        [
            "single weights",
            f"{lines_of(pruning.weakest_weights)}",
            spent("pruning", "stage-2-weights-7999"),
            "to hold zeros at zero while training on",
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
            "a teacher that is better than the student by itself",
        ],
        ["redesign", "–", f"{EPOCHS} epochs an attempt", "all that eight stages teach"],
    ],
    "Lines of our code for each road, training on one thread of a machine with other "
    "work to do, and knowledge.",
    words=(2, 3),
    wide=(3,),
)
figures.folded("What each road took: lines, training, knowledge", costs)

# %% [markdown]
# ## Check yourself

# %% tags=["hide-input"]
pages.check(
    "Nine tenths of a layer's weights are set to zero, one by one. What gets smaller "
    "by that alone?",
    [
        ("Memory", "A zero is a number, and has its four bytes."),
        ("Time", "A convolution multiplies by zero as by all else."),
        (
            "The compressed file",
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
            "Whole numbers need it",
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
            "Accuracy, for sure",
            "It may also lose: half of its loss now asks for another's mistakes.",
        ),
        (
            "Little",
            "They say what the labels and the images say. What pays is a teacher who "
            "knows better.",
        ),
        ("Speed", "Speed is the student's own: no layer of it changes."),
    ],
    answer=1,
)

# %% [markdown]
# ## Exercises
#
# **1.** Stage 2 has weights to spare. Has stage 8? Set a tenth of its weights to zero,
# then half of them. And at how many bits does it break, rounded after training?

# %% [markdown] tags=["hint"]
# `prune.global_unstructured` takes pairs such as `(layer, "weight")`, and
# `prune.L1Unstructured`; `quantization.round_weights` takes a network and bits.
# `runs.load(8).build()` is the trained network.

# %% tags=["solution"]
some = test[:1000]


def right():
    return f"{evaluation.evaluate(network, some, recipe).accuracy:.1f} %"


for share in (0.1, 0.5):
    network = record.build()
    chosen = [(one, "weight") for one in network if isinstance(one, nn.Conv2d)]
    prune.global_unstructured(chosen, prune.L1Unstructured, amount=share)
    print(f"{share:.0%} of the weights gone: {right()}")
for bits in (6, 3, 2):
    network = record.build()
    quantization.round_weights(network, bits)
    print(f"{bits} bits: {right()}")

# %% [markdown]
# **2.** *A training broken on purpose.* Half of stage 8's weights are pruned, and the
# network is trained on, to repair it. Count the zeros after each step. What is wrong?

# %% tags=["fold"]
network = record.build().train()
chosen = [(one, "weight") for one in network if isinstance(one, nn.Conv2d)]
prune.global_unstructured(chosen, prune.L1Unstructured, amount=0.5)
for one, name in chosen:
    prune.remove(one, name)  # the zeros are to stay, so make them permanent
optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
train = data.mnist().full_train[:64]
digits = recipe.normalize_train(train.images.float() / 255)
for step in range(3):
    zeros = sum(int((one.weight == 0).sum()) for one, _ in chosen)
    print(f"step {step}: {zeros:,} zeros")
    optimizer.zero_grad()
    F.nll_loss(network(digits), train.labels).backward()
    optimizer.step()

# %% [markdown] tags=["hint"]
# What does `prune.remove` remove?

# %% tags=["solution", "hide-input"]
pages.hold_to("pruned weights come back", zeros < 100)
Text(
    "It removes the mask. A pruned weight is a parameter times a mask, so it stays "
    "zero however the parameter moves. After `prune.remove` only the zeros are left. "
    "Zeros have gradients: pruned weights come back with the first step. Call it when "
    "the training is over."
)

# %% [markdown] tags=["audit"]
# ## The audit

# %% tags=["audit", "hide-input"]
pages.table(
    ["", "parameters", "bytes", "µs", "accuracy", "interval", "changed", "runs"],
    [
        [
            row.title,
            f"{row.parameters:,}",
            f"{row.size.least:,}",
            f"{row.microseconds:,.0f}",
            f"{row.point.mean:.2f}",
            around(row) if row.point.interval else "–",
            "–" if row.changed is None else f"{row.changed:.0f}",
            f"{row.point.runs}",
        ]
        for row in sorted(rows.values(), key=lambda row: (row.road, -row.size.least))
    ],
    "Every network: bytes of the smallest file, microseconds for an image, test "
    "accuracy in percent with the 95 % interval of its mean, and how many of 10,000 "
    "answers are not those of the same training without the change, on average.",
    wide=(3, 6, 7),
)

# %% tags=["audit", "hide-input"]
widest = max(
    row.point.interval.high - row.point.interval.low
    for row in (best, eight)
    if row.point.interval
)
gap = eight.point.mean - best.point.mean
fed = all(begun[one][0].accuracy >= redesign[one].point.mean for one in begun)
starved = "not that it showed" if fed else "so they were"
pages.hold_to("if positions cost nothing", sparse.parameters * 4 > eight.size.dense)
Text(f"""
**Three objections of a sceptic.**

1. *"You starved the large networks."* They were trained for {arms.BEGUN[1]} and
   {arms.BEGUN[2]} epochs, by a short schedule with convolutions in sixteen bits, for
   {EPOCHS} epochs were to be enough for all. {starved.capitalize()}: they begin with
   {begun[1][0].accuracy:.2f} and {begun[2][0].accuracy:.2f} %, and with all {EPOCHS}
   epochs, by their own recipes, stages 1 and 2 read {redesign[1].point.mean:.2f} and
   {redesign[2].point.mean:.2f}. From the best that was cut to stage 8 it is {gap:.2f}
   points. Whether a longer repair closes that is not measured.
2. *"All seeds of a cut network share one beginning."* So they do, and their intervals
   are too narrow for it: they speak of training on from *one* network (on another
   machine it is trained again, and rounds differently). Rounded networks and students
   have a beginning for each seed. The gap of {gap:.2f} points is
   {gap / widest:.1f} times as wide as the wider of the intervals at its two ends.
3. *"A better file format would help pruning."* Not enough: {sparse.parameters:,}
   numbers of four bytes are {sparse.parameters * 4:,} bytes even if positions cost
   nothing, and stage 8's are {eight.size.dense:,}, neither compressed. Pruning *and*
   rounding might; the two together are not measured.

Times are from {times.processor}, {times.date}, torch {times.torch}, all networks in
turns. Make the runs yourself; each is saved when it ends, and the same command goes on:
""")

# %% [markdown] tags=["audit"]
# ```
# mnist-steps study --of roads --workers 2 --folder my-roads
# mnist-steps study --of roads --dry-run --folder my-roads    # what is missing
# ```

# %% [markdown]
# ## Next
#
# The guide [Shrink your own network](../guides/shrink.py) goes the way of redesign,
# step by step, with a network that is not ours.
