# %% [markdown]
# # The files
#
# What this project writes, key by key. The tables below are made from real files when
# this site is built: a key that they do not explain, or explain and is not there, fails
# the build. All text is UTF-8, all JSON plain: no comments, no NaN.
#
# **You will learn** what stands in a record, in a study's outcome, in a grade and in an
# exported network, so that a program of yours can read them.
#
# **Know first** [the stages](../index.md); what each file is for is said where it is
# used, in [studies](../guides/study.md) and
# [for instructors](../assignment/instructors.md).

# %% tags=["hide-input"]
import json
import tempfile
from pathlib import Path

import safetensors.torch

from mnist_steps import runs, stages
from mnist_steps.assignment import example
from mnist_steps.assignment.rules import Assignment
from mnist_steps.experiments import study
from mnist_steps.experiments.roads import arms, chain
from mnist_steps.pages import export, formats

stage = stages.get(8)
record = runs.folder_of(stage, 8)


def read(name):
    return json.loads((record / name).read_text(encoding="utf-8"))


# %% [markdown]
# ## A record
#
# A folder for each run, such as `records/08_lr_scheduler/seed-8`, with three files.
# `mnist-steps record` writes it, [`runs.load`](package.md#mnist_steps.runs.load) reads
# it and refuses what does not belong to today's code.
#
# `run.json` says what the run is, and its figures. Repeated on the same kind of
# machine, it comes out the same, byte for byte.

# %% tags=["hide-input"]
formats.describe(
    read("run.json"),
    {
        "format": "the version of this format; a newer one is refused",
        "stage": "its number",
        "seed": "of weights, order and augmentation",
        "identity": "all that decides the run",
        "identity.recipe": "the recipe; what is at its default is left out",
        "identity.graph": "the traced network, operation by operation",
        "identity.data": "the SHA-256 of each file of MNIST, unpacked",
        "epochs": "one entry for each epoch, in order",
        "epochs[].train_loss": "the mean over the epoch's images, as it was trained",
        "epochs[].train_accuracy": "in percent, likewise",
        "epochs[].test_loss": "the mean over the test images after the epoch",
        "epochs[].test_accuracy": "in percent",
        "tensors_sha256": "of the file tensors.safetensors",
        "digest": "SHA-256 of all above, as JSON with sorted keys and no spaces",
    },
    "run.json. Where a recipe judges several views of each image, the last epochs also "
    "have one_view_loss and one_view_accuracy.",
)

# %% [markdown]
# `tensors.safetensors` holds numbers in the format of
# [safetensors](https://huggingface.co/docs/safetensors), which cannot run code. Weights
# have their names in the network, and are left out where they are too large.

# %% tags=["hide-input"]
tensors = safetensors.torch.load((record / "tensors.safetensors").read_bytes())
first = next(name for name in tensors if name.startswith("weights."))
formats.describe(
    {
        name: tensor
        for name, tensor in tensors.items()
        if not name.startswith("weights.")
    }
    | {first: tensors[first]},
    {
        "loss": "of each training step",
        "learning_rate": "of each training step",
        "predictions": "the digit read in each test image at the end",
        "confidences": "the probability given to that digit",
        first: "and so on: each tensor of the network's state",
    },
    "tensors.safetensors",
)

# %% [markdown]
# `environment.json` says when and where. Nothing is compared with it.

# %% tags=["hide-input"]
environment = {
    "date": "the day, in UTC",
    "commit": "of the project; nothing where it was no git checkout",
    "python": "its version",
    "torch": "its version",
    "device": "cpu, or the name of the GPU",
    "processor": "its name",
    "threads": "of the CPU; part of how numbers were rounded",
}
formats.describe(
    read("environment.json"),
    environment | {"seconds": "of each epoch, its evaluation included"},
    "environment.json. Newer files also have engine, which says what computed the run.",
)

# %% [markdown]
# ## An outcome of a study
#
# One file for each run, `<folder>/<stage>/seed-N.json`, or one folder deeper for the
# arm of an experiment. [`Store`](package.md#mnist_steps.experiments.study.Store) reads
# and writes them; a copy of the folder is a copy of the study.

# %% tags=["hide-input"]
store = study.Store()
task = study.tasks_for(stage, store.seeds(stage)[:1], engine="torch")[0]
outcome = json.loads(store.path(task).read_text(encoding="utf-8"))
formats.describe(
    outcome,
    {
        "format": "the version of this format; a newer one is refused",
        "number": "of the stage",
        "arm": "the name of a variation; nothing for the stage itself",
        "seed": "of weights, order and augmentation",
        "digest": "of recipe, network and data: another digest makes the run stale",
        "model": "what built the network, a note of its time",
        "arguments": "what it was called with",
        "recipe": "as in a record",
        "train_images": "how many were trained on; nothing for all",
        "judged_on": "test, or validation",
        "epochs": "for each figure a value an epoch; nothing if not finite",
        "epochs.train_loss": "as in a record",
        "epochs.train_accuracy": "in percent",
        "epochs.test_loss": "on the images that judged",
        "epochs.test_accuracy": "in percent",
        "images": "how many images judged",
        "wrong": "by position, the digit read in each image that was read wrongly",
        "seconds": "from reading the data to the trained network",
        "environment": "as in a record, without seconds",
        **{f"environment.{name}": meaning for name, meaning in environment.items()},
        **(
            {"environment.engine": "what computed the run"}
            if "engine" in outcome["environment"]
            else {}
        ),
    },
    "seed-N.json",
)

# %% [markdown]
# ## An outcome of a road
#
# What `mnist-steps study --of roads` makes, for the page on [other
# roads](../beyond/12_other_roads.py): `<folder>/<road>/<arm>/seed-N.json`.

# %% tags=["hide-input"]
rounded = arms.get("quantization", "stage-8-4-bits-during").tasks()[0]
outcome = json.loads(chain.Store().path(rounded).read_text(encoding="utf-8"))
formats.describe(
    outcome,
    {
        "format": "the version of this format; a newer one is refused",
        "road": "which way a network got small; begin, for one to begin with",
        "arm": "the network's name on it",
        "seed": "of order and augmentation, and of weights that are drawn",
        "digest": "of all that decides the run, networks, recipes and data included",
        "task": "what was to be done, as `roads.chain.Task` says it",
        "shapes": "of the weights of each convolution in the end",
        "parameters": "how many are not zero",
        "bytes": "of a file of the network",
        "bytes.dense": "with every number",
        "bytes.sparse": "with those that are not zero, and their positions",
        "bytes.compressed": "as dense, through zlib",
        "losses": "mean training loss of each epoch, those before it went on included",
        "accuracy": "in percent, each image judged once",
        "images": "how many images judged",
        "wrong": "by position, the digit read in each image that was read wrongly",
        "trained_seconds": "of the training after the change",
        "seconds": "of everything",
        "environment": "as in a record, without seconds",
        **{f"environment.{name}": meaning for name, meaning in environment.items()},
        "environment.engine": "what computed the training",
    },
    "seed-N.json",
)

# %% [markdown]
# ## A grade
#
# `students/NAME/grade.json` has all that a grading found out about one submission, and
# what is needed to repeat it: the seeds too, so it is not for the student. What
# students read is made from it. Here stage 8 is graded as if it had been handed in.

# %% tags=["hide-input"]
graded = example.grade([stage], Assignment(seeds=1))
formats.describe(
    json.loads(json.dumps(graded.as_data(graded.grades[0]))),
    {
        "format": "the version of this format",
        "name": "of what was handed in, as it was called",
        "folder": "where its results lie, below students",
        "status": "passed, failed, or why there is no mark",
        "points": "so far",
        "possible": "how many of all points are decided",
        "waiting": "points that a person has still to give",
        "total": "of all parts",
        "reaches_target": "whether every run holds the target",
        "accuracy": "in percent, after the last epoch of the worst run",
        "parts": "of the rubric, one entry for each",
        "parts[].key": "as in assignment.toml",
        "parts[].title": "in words",
        "parts[].points": "nothing while they are open",
        "parts[].most": "how many there could be",
        "parts[].why": "the reason, for the student",
        "findings": "what was to be put right, each with where, what, why and hint",
        "notes": "what costs no points, likewise",
        "problem": "what went wrong on the grader's side; nothing if all went well",
        "digest": "of the files that were handed in",
        "parameters": "of the network; nothing where there is none",
        "macs": "multiply-adds for one image",
        "recipe": "as in a record",
        "runs": "one entry for each training, with its seed and its figures",
        "same_files": "who else handed in the same files",
        "same_network": "who else handed in the same network",
        "handed_in": "when, as far as that is known",
        "late": "by how much; nothing when in time",
        "assignment": "the numbers that it was graded by",
        "seeds": "of the trainings",
        "sandbox": "which jail was used, and what it was good for",
        "versions": "of what graded",
    },
    "grade.json",
)

# %% [markdown]
# ## An exported network
#
# `mnist-steps export 8 --out network` writes two files. `weights.bin` has all weights
# one after another, floats of 32 bits, the lowest byte first; `model.json` says which
# layers there are, in order, and where in `weights.bin` the weights of each begin. The
# [playground](../playground.md) reads them.

# %% tags=["hide-input"]
with tempfile.TemporaryDirectory() as folder:
    network = export.export(8, Path(folder))
formats.describe(
    network,
    {
        "format": "the version of this format",
        "stage": "its number",
        "title": "its title",
        "seed": "of the record",
        "record": "the digest in the record's run.json",
        "normalize": "a pixel, from 0 (paper) to 1 (ink), becomes (pixel - mean) / sd",
        "input_shape": "channels, height, width",
        "weights": "the other file",
        "weights.file": "its name",
        "weights.type": "of its numbers",
        "weights.bytes": "its length",
        "weights.sha256": "of its bytes",
        "layers": "in order: each takes what the one before gives",
        "layers[].name": "in the network",
        "layers[].kind": "as in torch.nn",
        "layers[].attributes": "as torch.nn's class takes them",
        "layers[].output_shape": "without the batch",
        "layers[].params": "how many numbers it learns",
        "layers[].weights": "by name: where each tensor begins, in bytes, its shape",
    },
    "model.json. Running means and variances of batch normalization are weights here.",
)
