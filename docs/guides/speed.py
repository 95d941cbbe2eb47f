# %% [markdown]
# # Speed
#
# A faster training is more seeds for the same patience, and seeds separate a finding
# from luck. The networks here are tiny, so a good part of what the usual pipeline does
# all day is not learning at all.
#
# **You will learn** to find out where a training step's time goes before changing
# anything, why augmenting image by image is slow, and how to compare two programs on a
# machine that is never twice the same.
#
# **Know first** the training loop of
# [stage 1](../stages/01_setup.py#learning-walks-downhill).

# %% tags=["hide-input"]
import functools
import json
import statistics
import time

import torch
import torchvision

from mnist_steps import (
    augment,
    data,
    engine,
    figures,
    pages,
    runs,
    stages,
)
from mnist_steps.experiments import bench, pipelines
from mnist_steps.markup import Text

stage = stages.get(8)
recipe = stage.recipe

# %% [markdown]
# ## Image by image
#
# The usual pipeline makes a picture object of one image, sends it through one Python
# function after the other, each of which draws its own random numbers and returns a new
# picture, and makes a tensor of the last. Then comes the next image. Here are some,
# prepared that way and ours, for stage 8.

# %%
data.unpack()
usual = torchvision.datasets.MNIST(
    data.root(),
    transform=pipelines.per_image(recipe.augmentation, recipe.normalize_train),
)
count = 512

start = time.perf_counter()
images = torch.stack([usual[position][0] for position in range(count)])
usual_seconds = time.perf_counter() - start

split = data.mnist().full_train
generator = torch.Generator().manual_seed(0)
start = time.perf_counter()
for chosen in torch.arange(count).split(recipe.batch_size):
    images = split.images[chosen].float() / 255
    images = augment.augment(images, recipe.augmentation, generator)
    images = recipe.normalize_train(images)
our_seconds = time.perf_counter() - start

# %% tags=["hide-input"]
Text(
    f"Measured in this build, {count} images: one by one "
    f"**{1e6 * usual_seconds / count:.0f} µs** each, in batches "
    f"**{1e6 * our_seconds / count:.0f} µs** each, {usual_seconds / our_seconds:.0f} "
    "times less."
)

# %% [markdown]
# Both do the same to the pixels. What the first pays for is the way to them: a few
# dozen calls from Python into a library for every image, each of which takes longer to
# begin than to move a few hundred pixels. A batch makes the same calls once. Two ideas
# make that possible.
#
# **Every transform here is an affine map.** So the maps of a whole batch are one tensor
# of matrices, multiplied with each other and applied in a single resampling:

# %% tags=["hide-input"]
pages.source(augment.augment)

# %% [markdown]
# **The data set fits into memory,** so nothing is loaded while training. A batch is cut
# from it by an index.

# %%
print(f"{split.images.nbytes / 1e6:.0f} MB for {len(split):,} images, kept as bytes")
batch = split.images[torch.randperm(len(split))[: recipe.batch_size]]
print(tuple(batch.shape))

# %% [markdown]
# A loader's worker processes are the usual cure: they prepare batches while the network
# computes. That is no less work, but done by cores that would be idle. Where the
# network keeps all cores busy, workers take from it what they give; the table below has
# a row for them.
#
# ## A step, part by part
#
# Which part is worth an effort? Here the training loop runs some steps of stage 8, with
# a look at the clock between its parts, in this build.

# %% tags=["hide-input"]
here = bench.breakdown(stage, steps=20)
figures.step_parts({"stage 8": here.seconds})

# %% tags=["hide-input"]
network = here.seconds["forward"] + here.seconds["backward"]
preparing = here.seconds["batch"] + here.seconds["augmentation"]
Text(
    f"Cutting and augmenting a batch takes {preparing / here.step:.0%} of a step, the "
    f"network itself {network / here.step:.0%}, of which the backward pass is "
    f"{here.seconds['backward'] / network:.0%}. So look at the "
    f"{'network' if network > preparing else 'preparation'} first: were all but the "
    f"network free, a step would be {here.step / network:.2f} times as fast, no more."
)

# %% [markdown]
# ## How much of the machine is that?
#
# A processor's best case is the product of two large matrices, where every number that
# was fetched from memory is used many times. How fast does it multiply there, and how
# fast in a training step? The step's arithmetic is known from [the layer
# table](../stages/08_lr_scheduler.py#the-audit): the forward pass once, the backward
# pass twice that, for it asks how the loss depends on each weight, and on each layer's
# input.

# %% tags=["hide-input"]
Text(f"For stage 8 in this build: {here}")

# %% [markdown]
# A clever loop could not save the rest. A kernel of 3×3 over ten channels gives the
# processor little to do with each number that it fetches, and normalizations and pools
# fetch everything and multiply next to nothing.
#
# ## Beside other pipelines
#
# A comparison has to be fair in three ways. *Same work:* network and number of images.
# *Same machine, same threads.* And *same time*: a processor slows down when it gets
# warm or has other things to do, so the pipelines take turns, a few steps each, and the
# median counts. Starting a pipeline does not.

# %% tags=["hide-input"]
kinds = pipelines.kinds()
Text("\n".join(f"- **{name}:** {kind.about}." for name, kind in kinds.items()))

# %% [markdown]
# These are the figures of one machine, saved by `tests/benchmarks/bench_speed.py`.

# %% tags=["fold"]
rows = json.loads(
    (runs.RECORDS / "benchmarks" / "speed.json").read_text(encoding="utf-8")
)
machine = rows[0]

found = {(row["stage"], row["pipeline"]): row for row in rows}
names = list(dict.fromkeys(row["pipeline"] for row in rows))
numbers = list(dict.fromkeys(row["stage"] for row in rows))


def of_all(cell):
    """For each pipeline a row: what `cell` says of the file's row for each stage."""
    table = []
    for name in names:
        measured = [found.get((number, name)) for number in numbers]
        table.append([name, *(cell(row) if row else "–" for row in measured)])
    return table


headings = ["", *(f"stage {number}" for number in numbers)]
pages.table(
    headings,
    of_all(lambda row: f"{row['seconds_per_epoch']:.0f}"),
    f"Seconds per epoch on {machine['processor']}, {machine['threads']} "
    f"{'thread' if machine['threads'] == 1 else 'threads'}, torch {machine['torch']}, "
    f"{machine['date']}: median of {machine['rounds']} rounds. An epoch trains on all "
    "training images and evaluates all test images.",
)

# %% tags=["hide-input"]
spans = of_all(
    lambda row: (
        f"{row['seconds_per_epoch_least']:.0f}–{row['seconds_per_epoch_most']:.0f}"
    )
)
figures.folded(
    "The least and the most",
    pages.table(headings, spans, "Seconds per epoch over the rounds."),
)

# %% tags=["hide-input"]


def ratios_of(pipeline):
    return {
        number: row["ratio_to_original"]
        for (number, name), row in found.items()
        if name == pipeline and row["ratio_to_original"] is not None
    }


ways = {
    "PyTorch, batches from memory": ratios_of(pipelines.IN_MEMORY),
    "ours, by PyTorch": ratios_of(pipelines.OURS_BY_TORCH),
    "ours": ratios_of(pipelines.OURS),
}
ours = ways["ours"]
pages.table(
    ["stage", *ways],
    [
        [
            str(number),
            *(
                f"{ratios[number]:.1f}" if number in ratios else "–"
                for ratios in ways.values()
            ),
        ]
        for number in sorted(set().union(*ways.values()))
    ],
    "Times as fast as the original without workers.",
)

# %% tags=["hide-input"]
lines = []
for number in ours:
    accuracies = stages.get(number).claim.test_accuracies
    reached = [epoch for epoch, value in enumerate(accuracies, 1) if value >= 99.4]
    if reached:
        both = [
            found[number, name]["seconds_per_epoch"] * reached[0] / 60
            for name in (pipelines.ORIGINAL, pipelines.OURS)
        ]
        lines.append(
            f"The original reported the target in stage {number} after epoch "
            f"{reached[0]}: with its pipeline that is {both[0]:.1f} minutes on that "
            f"machine, with ours {both[1]:.1f}."
        )
times_to_target = [
    f"{row['pipeline']} in stage {row['stage']} after "
    f"{row['seconds_to_target'] / 60:.1f} minutes"
    for row in rows
    if row["seconds_to_target"] is not None
]
lines.append(
    f"Our own records reach 99.4 % with {', '.join(times_to_target)}."
    if times_to_target
    else "None of our own records reaches the target, so no time to it can be stated "
    "for them."
)
Text(" ".join(lines))

# %% [markdown]
# And this is where a step's time went there. The wider a network, the less does
# anything else matter.

# %% tags=["hide-input"]
measured = {
    row["stage"]: bench.Breakdown(**row["breakdown"])
    for row in rows
    if row["pipeline"] == pipelines.OURS_BY_TORCH
}
figures.step_parts(
    {f"stage {number}": parts.seconds for number, parts in measured.items()}
)


# %% tags=["hide-input"]
def rates(number, parts):
    """Multiply-accumulates a second: PyTorch's and the engine's."""
    an_image = parts.multiplications / parts.batch_size
    engine_seconds = found[number, pipelines.OURS]["seconds_per_epoch"]
    return (
        parts.multiplications / parts.step,
        an_image * len(split) / engine_seconds,
    )


# One machine, so one best case: other work may disturb a single measurement.
at_best = statistics.median(parts.matrix_rate for parts in measured.values())
pages.table(
    ["stage", "millions a step", "PyTorch", "ours", "of a matrix product"],
    [
        [
            f"{number}",
            f"{parts.multiplications / 1e6:,.0f}",
            *(f"{rate / 1e9:.0f}" for rate in (by_torch, by_us)),
            f"{by_torch / at_best:.0%}, {by_us / at_best:.0%}",
        ]
        for number, parts in measured.items()
        for by_torch, by_us in [rates(number, parts)]
    ],
    "The arithmetic of a step, and billions of multiply-accumulates a second: in a "
    "step by PyTorch, in an epoch of ours as it is chosen without asking (evaluation "
    "takes time there and is not counted as work), and the shares of both in the "
    f"{at_best / 1e9:.0f} of a product of large matrices on the same machine, which no "
    "program for it exceeds by much. Convolutions count as computed the ordinary way, "
    "even where stage 1 takes a shorter one.",
)

# %% [markdown]
# ## In a web page
#
# The engine's C code is compiled for the processor at hand, and for web pages, as
# WebAssembly. A page has vectors of four numbers and one thread.
# `tests/benchmarks/bench_engine.py` lets both take turns.

# %% tags=["hide-input"]
browser = json.loads(
    (runs.RECORDS / "benchmarks" / "engine.json").read_text(encoding="utf-8")
)
compared = browser["rows"]
pages.table(
    ["", *(f"stage {row['stage']}" for row in compared)],
    [
        [name, *(f"{row['seconds_per_epoch'][name]:.1f}" for row in compared)]
        for name in compared[0]["seconds_per_epoch"]
    ]
    + [["memory in the page", *(f"{row['megabytes_in_page']} MB" for row in compared)]],
    f"Seconds an epoch without evaluation, on {browser['processor']}, Chromium "
    f"{browser['chromium']}, torch {browser['torch']}, {browser['date']}.",
)

# %% [markdown]
# ## What each idea gave
#
# The original's pipeline becomes ours in two moves: prepare batches instead of images,
# then compute small networks by code that suits them. A processor does one operation to
# a vector of eight or sixteen numbers at once, and PyTorch fills it with channels.
# Hundreds of channels fill it well. Ours are ten, so every other vector is mostly
# filler. But a batch has plenty of images: with sixteen of them side by side, every
# vector is full. The engine does that, in C (`mnist_steps/engine/`); results differ by
# rounding. It is taken where it fits the network and where there is a C compiler;
# `--engine torch` insists on PyTorch.
#
# In between there is a choice of how numbers lie in memory: channel after channel,
# PyTorch's default, or a pixel's channels side by side (`channels_last`).

# %% tags=["hide-input"]
times_as_long = {  # stage 1 differs in more than its memory
    number: found[number, pipelines.OURS_BY_TORCH]["seconds_per_epoch"]
    / found[number, pipelines.IN_MEMORY]["seconds_per_epoch"]
    for number in sorted({row["stage"] for row in rows} - {1})
}
slower = [f"{number}" for number, times in times_as_long.items() if times > 1]
faster = [f"{number}" for number, times in times_as_long.items() if times < 1]
Text(
    "On the machine of the tables above, `channels_last` is the slower for stages "
    f"{', '.join(slower) or '–'} (an epoch takes up to "
    f"{max(times_as_long.values()):.1f} times as long) and the faster for stages "
    f"{', '.join(faster) or '–'}; on another it may be otherwise. Records are made "
    "with it, and a replay repeats that, for the two round differently."
)

# %% [markdown]
# Measured in this build, in turns:

# %% tags=["fold"]
moves = {
    "image by image": pipelines.Original,
    "batches from memory": pipelines.InMemory,
    "and channels last": functools.partial(pipelines.Ours, engine="torch"),
}
choice = engine.choose(stage.build(), recipe)
if choice.engine == "engine":
    moves["sixteen images side by side"] = pipelines.Ours
print(f"Without asking, stage 8 is {choice.line}.")


def milliseconds_a_step(make, steps=6):
    pipeline = make(stage)
    pipeline.train(1)  # the first step starts things, and is not counted
    start = time.perf_counter()
    pipeline.train(steps)
    return 1000 * (time.perf_counter() - start) / steps


samples = bench.interleave(
    {
        name: functools.partial(milliseconds_a_step, make)
        for name, make in moves.items()
    },
    rounds=3,
)
medians = {name: statistics.median(values) for name, values in samples.items()}
first = medians["image by image"]
pages.table(
    ["", "ms per step", "least–most", "times as fast"],
    [
        [
            name,
            f"{median:.1f}",
            f"{min(samples[name]):.1f}–{max(samples[name]):.1f}",
            f"{first / median:.2f}",
        ]
        for name, median in medians.items()
    ],
    f"Stage 8, a training step of {recipe.batch_size} images with "
    f"{torch.get_num_threads()} of this machine's threads: median of "
    f"{len(samples['image by image'])} short rounds.",
)

# %% [markdown]
# Other ideas were tried too, on two cores with 256-bit vectors:
#
# - **`channels_last`:** for networks as small as stage 8 a gain on one processor and a
#   loss on another; kept because records were made with it.
# - **Winograd's algorithm, which trades multiplications for additions:** pays only
#   where many channels share its cost: the two widest layers of stage 1; kept there.
# - **Convolution by Fourier transform:** slower everywhere: kernels and maps are small.
# - **`torch.compile`:** a little faster per step, but compiling takes about as long as
#   two epochs of stage 8, and needs a C++ compiler; left to whoever wants it.
# - **Sixteen images side by side, and a whole step in five calls:** several times the
#   speed for ten to eighteen channels, and still a gain for a hundred; kept, as the
#   engine.
# - **All of a network's memory laid out once:** between steps nothing is asked of the
#   system, which clears every page that it hands out; kept.
# - **One process a core, for several seeds:** better than one process on all cores;
#   `mnist-steps study` does so.
#
# ## Many runs
#
# The runs of a study know nothing of each other, so they share a machine well: a
# process for each core, one thread each. What does it cost to hand them out? The
# processes have to start, import torch and read the data, and at the end one may wait
# for the other. Here each worker makes one full training of stage 8, so that the start
# counts as much as it can; `tests/benchmarks/bench_study.py` measured it.

# %% tags=["hide-input"]
studied = json.loads(
    (runs.RECORDS / "benchmarks" / "study.json").read_text(encoding="utf-8")
)
pages.table(
    ["workers", "runs", "seconds", "runs per hour", "overhead"],
    [
        [
            f"{row['workers']} {'process' if row['workers'] == 1 else 'processes'}"
            + ("" if row["executor"] == "processes" else f", {row['executor']}"),
            f"{row['runs']}",
            f"{row['seconds']:.0f}",
            f"{row['runs_per_hour']:.1f}",
            f"{row['overhead']:.1%}",
        ]
        for row in studied["rows"]
    ],
    f"Stage 8 in full by the engine, one thread a worker, on {studied['processor']}, "
    f"torch {studied['torch']}. Overhead: what the workers took beyond their "
    "trainings, in parts of these.",
)

# %% tags=["hide-input"]
one, two, *_ = studied["rows"]
worst = max(row["overhead"] for row in studied["rows"])
pages.hold_to("a small price", worst < 0.05)
Text(
    f"Two workers make {two['runs_per_hour'] / one['runs_per_hour']:.2f} times as many "
    f"runs per hour as one. The overhead is {worst:.1%} at most, a small price, and "
    "smaller in a long study, which starts its workers once."
)

# %% [markdown]
# ## On your machine
#
# ```
# mnist-steps bench                        # all stages, a quarter of an hour
# mnist-steps bench --stages 8 --rounds 3  # one stage, a minute
# mnist-steps bench --stages 8 --pipelines original,mnist_steps --json
# ```
#
# Kornia's row needs the library: `pip install 'mnist-steps[bench]'`.
#
# ## Exercises
#
# **1.** If augmentation cost nothing, how much faster would a step of each stage be?
# Guess from the chart, then compute it.

# %% tags=["solution"]
for number, parts in measured.items():
    without = parts.step - parts.seconds["augmentation"]
    print(f"stage {number}: {parts.step / without:.2f} times as fast")

# %% [markdown] tags=["solution"]
# This is Amdahl's law: what takes a small share of the time cannot give more than that
# share back, however well it is done.

# %% [markdown]
# **2.** Does the time per image depend on the batch size? Measure stage 8's forward
# pass for batches from 16 to 1024 images.

# %% tags=["solution"]
network = stage.build().eval().to(memory_format=torch.channels_last)
with torch.inference_mode():
    for size in (16, 64, 256, 1024):
        images = torch.rand(size, 1, 28, 28)
        network(images)
        samples = []
        for _ in range(3):
            start = time.perf_counter()
            network(images)
            samples.append(time.perf_counter() - start)
        print(f"{size:5} images: {1e6 * statistics.median(samples) / size:.0f} µs each")

# %% [markdown] tags=["solution"]
# Small batches pay for starting each layer. In large ones a layer's output may no
# longer fit into the processor's cache; the evaluation here takes a hundred images at a
# time for that reason.

# %% [markdown]
# **3.** With as many workers as it could use, on cores of their own, what is the most
# that a loader could gain over the original? Use the saved figures: the network still
# has to compute.

# %% tags=["solution"]
for number, parts in measured.items():
    steps = -(-len(split) // parts.batch_size)
    at_least = steps * sum(
        parts.seconds[part] for part in ("forward", "backward", "optimizer")
    )
    original = found.get((number, pipelines.ORIGINAL))
    if original:
        print(
            f"stage {number}: at most {original['seconds_per_epoch'] / at_least:.1f} "
            "times"
        )

# %% [markdown] tags=["solution"]
# That is the bound for everybody who computes the network as we do, and it even gives
# the evaluation for free. Below one, our layout of memory costs more on that processor
# than a loader could gain. To go beyond the bound, the network itself has to compute
# faster, as in the engine.

# %% [markdown]
# ## Next
#
# What to do with the time that was saved: [train many seeds](study.md), and know how
# sure a result is.
