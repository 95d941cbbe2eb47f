"""What the Lab begins with: networks and recipes of stages as designs, and digits to move about.

Designs come from the stages themselves and from the assignment's starter, so that a preset is
what trained for the record. They have the form that docs/javascripts/lab/design.js describes.
"""

import base64
import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from site_tools import made, playground_assets

PAGE = "lab.md"
SCRIPTS = "javascripts/lab"
DATA = "assets/lab"
NAME = "presets.json"

# Stage 1 has more channels than the engine takes; an epoch of stage 2 would take many minutes.
FIRST_STAGE = 3
DIGITS = 8  # of the training images, to show what augmentation does
CENTER = 22  # pixels that a central crop keeps: the only size that a design has a word for
PIXELS = 28


# --- What MkDocs calls ----------------------------------------------------------------------------


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the presets to the site, and folder.js, the Lab for pages opened from a folder."""
    data = made.kept(made.cache_of(config, "lab"), "site_tools.lab_presets", "the Lab's presets")
    files.append(File.generated(config, f"{DATA}/{NAME}", abs_src_path=str(data / NAME)))
    packed = playground_assets.pack(Path(config.docs_dir, SCRIPTS, "start.js"), data)
    files.append(File.generated(config, f"{SCRIPTS}/folder.js", content=packed))
    return files


# --- The presets ----------------------------------------------------------------------------------


def write_data(folder: Path) -> None:
    """Write presets.json. Raises MnistStepsError for what a design has no words for."""
    from mnist_steps import data

    train = data.mnist().full_train
    digits = [
        {
            "label": int(train.labels[index]),
            "pixels": base64.b64encode(train.images[index].numpy().tobytes()).decode(),
        }
        for index in range(DIGITS)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    content = {"presets": presets(), "digits": digits}
    (folder / NAME).write_text(json.dumps(content, indent=1), encoding="utf-8")


def presets() -> list[dict[str, Any]]:
    """The stages that the Lab can train, and what the assignment begins with."""
    from mnist_steps import stages
    from mnist_steps.assignment import recipe_toml, starter
    from mnist_steps.assignment.rules import Assignment

    found = [
        {
            "id": str(stage.number),
            "title": f"Stage {stage.number}: {stage.title}",
            "design": {"layers": layers_of(stage.build()), "recipe": recipe_of(stage.recipe)},
        }
        for stage in stages.STAGES
        if stage.number >= FIRST_STAGE
    ]
    toml = (starter.STARTER / "recipe.toml").read_text(encoding="utf-8")
    network = runpy.run_path(str(starter.STARTER / "model.py"))["build_model"]()
    recipe = recipe_of(recipe_toml.parse(toml, Assignment()))
    design = {"layers": layers_of(network), "recipe": recipe}
    return [*found, {"id": "starter", "title": "The assignment's starter", "design": design}]


def layers_of(network: Any) -> list[dict[str, Any]]:
    """The network's layers as rows of a design, up to its end, which all designs share."""
    from mnist_steps import data, graph
    from mnist_steps.errors import MnistStepsError

    rows = []
    for node in graph.trace(network, data.INPUT_SHAPE).nodes:
        if node.op.lower() in ("flatten", "logsoftmax"):
            continue
        row = _row(node.op, node.attributes)
        if row is None:
            raise MnistStepsError(f"{node.name}: a design of the Lab has no such {node.op}.")
        rows.append(row)
    return rows


def _row(kind: str, settings: dict[str, Any]) -> dict[str, Any] | None:
    if kind in ("BatchNorm2d", "ReLU", "AdaptiveAvgPool2d"):
        return {"kind": kind}
    settings = {"dilation": (1, 1)} | settings  # an average pool has none
    windows = ("kernel_size", "stride", "padding", "dilation")
    if kind not in ("Conv2d", "MaxPool2d", "AvgPool2d") or any(
        len(set(settings[name])) > 1 for name in windows
    ):
        return None
    kernel, stride, padding, dilation = (settings[name][0] for name in windows)
    if kind != "Conv2d":
        usual = (padding, dilation) == (0, 1)
        return {"kind": kind, "kernel": kernel, "stride": stride} if usual else None
    return {
        "kind": kind,
        "channels": settings["out_channels"],
        "kernel": kernel,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "bias": bool(settings["bias"]),
    }


def recipe_of(recipe: Any) -> dict[str, Any]:
    """A recipe in a design's words; what is not said is as in RECIPE of design.js."""
    from mnist_steps.errors import MnistStepsError

    optimizer, schedule = recipe.optimizer, recipe.schedule
    known = optimizer.name == "SGD" and (schedule is None or schedule.name == "OneCycle")
    left = {"lr", "momentum", "weight_decay"}
    known &= set(dict(optimizer.arguments)) <= left
    known &= schedule is None or set(dict(schedule.arguments)) <= {"max_lr"}
    known &= recipe.initialization is None and not recipe.l1 and not recipe.label_smoothing
    if not known:
        raise MnistStepsError(f"a design of the Lab has no words for {optimizer}, {schedule}.")
    said: dict[str, Any] = {
        "epochs": recipe.epochs,
        "batchSize": recipe.batch_size,
        "learningRate": optimizer.lr,
        "momentum": optimizer.momentum,
        "weightDecay": optimizer.weight_decay,
        "schedule": "constant" if schedule is None else "one-cycle",
        "testShifts": recipe.test_shifts,
        "shiftedEpochs": recipe.shifted_epochs,
    }
    if schedule is not None:
        said["peak"] = schedule.max_lr
    order = [type(one).__name__ for one in recipe.augmentation]
    if order != [name for name in MOVES if name in order]:
        raise MnistStepsError(f"a design of the Lab moves images in this order: {list(MOVES)}.")
    for move in recipe.augmentation:
        said |= MOVES[type(move).__name__](move)
    return said


# Each at most once, in this order. A shift is a share here, and pixels in a design.
MOVES: dict[str, Callable[[Any], dict[str, float]]] = {
    "RandomCenterCrop": lambda one: {"centerCrop": _equal(one.probability, one.size, CENTER)},
    "RandomResizedCrop": lambda one: {"crop": _equal(one.smallest, one.largest, 1.0)},
    "RandomRotation": lambda one: {"rotation": _equal(one.degrees, one.fill, 0)},
    "RandomTranslation": lambda one: {"shift": round(one.share * PIXELS, 6)},
}


def _equal(value: float, found: float, expected: float) -> float:
    """The value, if the setting that a design does not have is what it takes for granted."""
    from mnist_steps.errors import MnistStepsError

    if found != expected:
        raise MnistStepsError(f"a design of the Lab takes {expected} for granted, found {found}.")
    return value


if __name__ == "__main__":
    made.write(write_data)
