"""One run of a road: begin with a trained network, change it, train on, judge, weigh.

A task is plain data; its outcome is one small file, marked with the digest of all that decided it,
so that a study of roads can stop at any moment and goes on with what is missing, as other studies
do. Trained networks to begin with are kept in the cache folder; whoever has them not, trains them.
"""

import copy
import functools
import json
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from msgspec import Meta
from torch import Tensor, nn

from mnist_steps import data, engine, evaluation, graph, runs, stages, training
from mnist_steps.data import Split
from mnist_steps.evaluation import Evaluation
from mnist_steps.experiments import stored
from mnist_steps.experiments.arms import network
from mnist_steps.experiments.roads import distillation, low_rank, pruning, quantization, storage
from mnist_steps.experiments.roads.steps import Guest, Schooling
from mnist_steps.experiments.roads.storage import Bytes
from mnist_steps.experiments.study import Digit, Position
from mnist_steps.recipes import Recipe
from mnist_steps.stages import Stage
from mnist_steps.training import Environment, Percent, Seconds

OUTCOMES = runs.RECORDS / "roads"
CALIBRATED_ON = 1000  # training images that say how large activations get


@dataclass(frozen=True)
class Begin:
    """A stage's network, trained up to some epoch of a recipe.

    recipe: as `Recipe.as_data` gives it; None is the stage's own
    bfloat16: trained with convolutions in 16 bits, as large networks are here
    """

    stage: int
    epochs: int
    seed: int
    recipe: dict[str, Any] | None = None
    bfloat16: bool = False

    def as_stage(self) -> Stage:
        """The stage, with this recipe."""
        stage = stages.get(self.stage)
        return replace(stage, recipe=Recipe.from_data(self.recipe)) if self.recipe else stage


@dataclass(frozen=True)
class Task:
    """One run to make; every field is plain data.

    road: 'begin' for a network to begin with, else the road
    arm: its name among the road's
    begin: what it begins with; None for a network that is trained from the start
    change: what is done to the network: 'none', 'weights', 'channels', 'low-rank'
    budget: how many parameters the change may leave
    layers: of a network from the start, as `arms.network` takes them; '' is the network of
        `recipe_of`
    recipe: of the epochs after the change, as `Recipe.as_data` gives it; None when there are none
    recipe_of: the stage whose network and normalization count
    bits: of weights in the end, None for float32; rounded_while_training: or at the end only
    teacher, share, temperature: who teaches, and how, as `distillation.Teaching` says
    judged_on: 'test', or 'validation' to train on 55,000 images and judge on the other 5,000
    engine: what computes the epochs after the change: 'auto', 'torch' or 'engine'
    """

    road: str
    arm: str
    seed: int
    recipe_of: int
    begin: Begin | None = None
    change: str = "none"
    budget: int | None = None
    layers: str = ""
    recipe: dict[str, Any] | None = None
    bits: int | None = None
    rounded_while_training: bool = False
    teacher: Begin | None = None
    share: float = 0.0
    temperature: float = 1.0
    judged_on: str = "test"
    engine: str = field(default="auto", compare=False)
    threads: int = field(default=1, compare=False)

    @property
    def name(self) -> str:
        return f"{self.road}, {self.arm}, seed {self.seed}"

    @functools.cached_property
    def digest(self) -> str:
        """Of all that decides the run, data and the networks' layers included."""
        content = asdict(self)
        for how in ("engine", "threads"):  # it decides no more than rounding
            del content[how]
        content["data"] = data.CHECKSUMS
        numbers = {self.recipe_of, *(one.stage for one in (self.begin, self.teacher) if one)}
        content["stages"] = {str(number): _deciding(number) for number in sorted(numbers)}
        return runs.digest(json.loads(json.dumps(content)))


_tracing = threading.Lock()  # tracing changes how all modules of a process are called


def _deciding(number: int) -> dict[str, Any]:
    """What a stage is, as far as it decides a run."""
    with _tracing:
        return _traced(number)


@functools.cache
def _traced(number: int) -> dict[str, Any]:
    stage = stages.get(number)
    traced = graph.trace(stage.build(), data.INPUT_SHAPE).as_data()
    return {"graph": traced, "recipe": stage.recipe.as_data()}


@dataclass(frozen=True)
class Outcome:
    """What is kept of one run; every field is plain data.

    digest: the task's
    shapes: of the weights of each convolution in the end, by name
    parameters: how many are not zero; of a network whose batch normalization counts as two a
        channel, as everywhere
    bytes: of the network's file
    losses: mean training loss of each epoch after the change
    wrong: position of each image not recognised, and the digit predicted
    trained_seconds: of the epochs after the change; seconds: of everything, wall time
    """

    road: str
    arm: str
    seed: int
    digest: str
    task: dict[str, Any]
    shapes: dict[str, list[int]]
    parameters: Annotated[int, Meta(gt=0)]
    bytes: Bytes
    losses: list[float | None]
    accuracy: Percent
    images: int
    wrong: dict[Position, Digit]
    trained_seconds: float
    seconds: Seconds
    environment: dict[str, Any]

    @property
    def headline(self) -> str:
        return f"{self.accuracy:.2f} %, {self.parameters:,} parameters, {self.seconds:.0f} s"

    def predictions(self, labels: Tensor) -> Tensor:
        """The digit predicted for each image, given the right ones, (N,)."""
        return stored.predictions(labels, self.wrong)


def perform(task: Task) -> Outcome:
    """Make a task's run, here and now, on the CPU with the task's threads."""
    start = time.perf_counter()
    with training.one_at_a_time(task.threads):
        split, judge = data.mnist().halves(task.judged_on)
        recipe = Recipe.from_data(task.recipe) if task.recipe else None
        if task.begin is None:
            model = _from_the_start(task)
        else:
            model, state = begun(task.begin, task.judged_on, task.engine)
        model, guest = _changed(model, task)
        if task.teacher is not None:
            guest = replace(guest, teaching=_teaching(task))
        trained_seconds, losses = 0.0, []
        by = "torch"
        if recipe is not None:
            trained = time.perf_counter()
            by = _by(model, recipe, guest, task.engine)
            schooling = Schooling(model, recipe, task.seed, split, by, guest)
            if task.rounded_while_training and task.begin is not None:
                schooling.restore(state)  # it goes on where the network before was stopped
            while len(schooling.losses) < recipe.epochs:
                schooling.run_epoch()
            losses = schooling.losses
            trained_seconds = time.perf_counter() - trained
        size = storage.of(model, task.bits)
        if task.bits is not None:
            quantization.round_weights(model, task.bits)
        wrong = _judged(model, task, judge, split).wrong
        environment = training.describe_environment(torch.device("cpu"), (), by).as_data()
    return Outcome(
        road=task.road,
        arm=task.arm,
        seed=task.seed,
        digest=task.digest,
        task={key: value for key, value in asdict(task).items() if key not in HOW},
        shapes={
            name: list(layer.weight.shape)
            for name, layer in model.named_children()
            if isinstance(layer, nn.Conv2d)
        },
        parameters=sum(int((one != 0).sum()) for one in model.parameters()),
        bytes=size,
        losses=[loss if math.isfinite(loss) else None for loss in losses],
        accuracy=round(100 - 100 * len(wrong) / len(judge), 6),
        images=len(judge),
        wrong=wrong,
        trained_seconds=round(trained_seconds, 2),
        seconds=round(time.perf_counter() - start, 2),
        environment=environment,
    )


HOW = ("engine", "threads")  # fields of a task that decide no more than rounding


def _from_the_start(task: Task) -> nn.Sequential:
    stage = stages.get(task.recipe_of)
    if task.layers:
        stage = replace(stage, model=functools.partial(network, layers=task.layers))
    model = training.untrained(stage, task.seed)
    assert isinstance(model, nn.Sequential)
    return model


def _changed(model: nn.Sequential, task: Task) -> tuple[nn.Sequential, Guest]:
    """The network after the change, and what its training has to keep up."""
    large = task.begin is not None and task.begin.bfloat16
    if task.change == "weights":
        assert task.budget is not None
        masks = pruning.weakest_weights(model, task.budget)
        return model, Guest(masks=masks, bfloat16=large)
    if task.change == "channels":
        assert task.budget is not None
        smaller = pruning.fewer_channels(model, task.budget)
        widest = max(layer.out_channels for layer in quantization.convolutions(smaller))
        return smaller, Guest(bfloat16=large and widest > engine.MOST_CHANNELS)
    if task.change == "low-rank":
        assert task.budget is not None
        return low_rank.factorized(model, low_rank.ranks_within(model, task.budget)), Guest()
    return model, Guest(bits=task.bits if task.rounded_while_training else None)


def _by(model: nn.Module, recipe: Recipe, guest: Guest, wanted: str) -> str:
    if guest.bfloat16:
        return "torch"
    return engine.choose(model, recipe, wanted).engine


def _judged(model: nn.Sequential, task: Task, judge: Split, split: Split) -> Evaluation:
    """On the images of `judge`; with bits, activations are rounded, too."""
    recipe = stages.get(task.recipe_of).recipe
    if task.bits is None:
        wanted = "torch" if task.engine == "torch" else "auto"  # large ones do not fit
        by = engine.choose(model, recipe, wanted).engine
        compute = engine.evaluate if by == "engine" else evaluation.log_probabilities
        return evaluation.evaluate(model, judge, recipe, compute=compute)
    seen = recipe.normalize_train(split.images[:CALIBRATED_ON].float() / 255)
    with quantization.rounded_activations(model, seen):
        return evaluation.evaluate(model, judge, recipe)


def _teaching(task: Task) -> distillation.Teaching:
    assert task.teacher is not None
    # Whatever its students are judged on, the teacher is one: it has seen all training images.
    images = data.mnist().full_train.images
    path = _kept(task.teacher, "test").with_suffix(".answers.pt")
    if not path.is_file():
        teacher, _ = begun(task.teacher, "test", task.engine)
        normalization = stages.get(task.teacher.stage).recipe.normalize_train
        training.save_state(path, {"answers": distillation.answers(teacher, images, normalization)})
    answers = training.load_state(path, dict[str, Tensor])["answers"]
    return distillation.Teaching(answers, task.share, task.temperature)


# --- Networks to begin with -----------------------------------------------------------------


def begun(begin: Begin, judged_on: str, wanted: str) -> tuple[nn.Sequential, dict[str, Any]]:
    """A trained network and the state of its training: from the cache, or trained now.

    Every epoch is kept until the next one is done, so that a training that was stopped goes on.
    judged_on: 'validation' for one that has not seen the validation images
    wanted: as for `engine.choose`
    """
    stage = begin.as_stage()
    model = training.untrained(stage, begin.seed)
    assert isinstance(model, nn.Sequential)
    guest = Guest(bfloat16=begin.bfloat16)
    by = _by(model, stage.recipe, guest, wanted)
    split, _ = data.mnist().halves(judged_on)
    schooling = Schooling(model, stage.recipe, begin.seed, split, by, guest)
    for epochs in range(begin.epochs, 0, -1):
        path = _kept(replace(begin, epochs=epochs), judged_on)
        if path.is_file():
            schooling.restore(training.load_state(path, dict[str, Any]))
            break
    while (done := len(schooling.losses)) < begin.epochs:
        schooling.run_epoch()
        path = _kept(replace(begin, epochs=done + 1), judged_on)
        training.save_state(path, schooling.state())
        if done and not _wanted(stage.recipe.epochs, done):
            _kept(replace(begin, epochs=done), judged_on).unlink(missing_ok=True)
    return model, copy.deepcopy(schooling.state())


BEFORE_ROUNDING = 12  # of fifteen epochs


def _wanted(all_epochs: int, epochs: int) -> bool:
    """Whether some road begins there."""
    return epochs in (BEFORE_ROUNDING, all_epochs)


def _kept(begin: Begin, judged_on: str) -> Path:
    """Its name carries a digest: a changed recipe or network never meets an old file."""
    stage = begin.as_stage()
    content = {"identity": runs.identity(stage, begin.seed), "bfloat16": begin.bfloat16}
    short = runs.digest(content | {"judged_on": judged_on})[:12]
    name = f"{stage.slug}-seed-{begin.seed}-epoch-{begin.epochs}-{short}.pt"
    return data.root() / "roads" / name


# --- The store ------------------------------------------------------------------------------


class Store(stored.Store[Task, Outcome]):
    """Outcomes as files: <folder>/<road>/<arm>/seed-N.json."""

    def __init__(self, folder: Path = OUTCOMES) -> None:
        super().__init__(folder, Outcome)

    def path(self, of: Task | Outcome) -> Path:
        return self.folder / of.road / of.arm / f"seed-{of.seed}.json"

    def problems(self, outcome: Outcome, task: Task) -> Iterator[str]:
        wanted = {key: value for key, value in asdict(task).items() if key not in HOW}
        yield from runs.differences(json.loads(json.dumps(wanted)), outcome.task)
        yield from stored.misjudged(outcome.images, outcome.wrong, outcome.accuracy, task.judged_on)
        epochs = task.recipe["epochs"] if task.recipe else 0
        if len(outcome.losses) != epochs:
            yield f"it has {len(outcome.losses)} epochs, its recipe {epochs}"
        if task.budget is not None and outcome.parameters > task.budget:
            yield f"it has {outcome.parameters:,} parameters, more than {task.budget:,}"
        Environment.from_data(outcome.environment)
