"""How long training takes here, beside the pipelines that others use.

A machine is never twice as fast as it was a minute ago, so the pipelines take turns: in each
round every one trains a few steps and evaluates a few images, and each round gives one sample of
each. What is compared are medians over rounds. A turn starts its pipeline anew and ends it, so that
nothing of it runs on into another's turn: a loader's worker processes would. Starting (processes,
the first steps) is not counted.
"""

import functools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from mnist_steps import data, engine, graph, runs, training
from mnist_steps.errors import MnistStepsError
from mnist_steps.experiments import evidence
from mnist_steps.experiments.pipelines import (
    CPU,
    ORIGINAL,
    ORIGINAL_WITH_WORKERS,
    OURS,
    OURS_BY_TORCH,
    Kind,
    kinds,
)
from mnist_steps.stages import SEED, Stage
from mnist_steps.training import Training

ROUNDS = 5
IMAGES_A_TURN = 2048  # trained on in one turn, unless a number of steps is given
EVALUATED = 1000  # images a turn, for 10,000 after each epoch


# --- Measuring ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One pipeline on one stage.

    seconds_per_epoch: median over rounds, for 60,000 training images and 10,000 test images
    seconds_per_epoch_least, _most: the spread over rounds
    ratio_to_original: how many times as fast as the original without workers; None when that was
        not measured
    ratio_to_better_original: likewise, as the better of the original's rows
    seconds_to_target: seconds per epoch times the epochs after which the stage's record first
        reached 99.4 %; None where it never did, or where the recipe is another one
    breakdown: of a step of ours; None for others
    steps: trained in each round
    way: what computed ours and why, in words; None for others
    """

    stage: int
    pipeline: str
    seconds_per_epoch: float
    ratio_to_original: float | None
    ratio_to_better_original: float | None
    seconds_per_epoch_least: float
    seconds_per_epoch_most: float
    seconds_to_target: float | None
    breakdown: "Breakdown | None"
    rounds: int
    steps: int
    date: str
    processor: str
    threads: int
    torch: str
    way: str | None = None

    def as_data(self) -> dict[str, Any]:
        """Plain data for JSON, with five digits of each number."""
        return _five_digits(asdict(self))


def _five_digits(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _five_digits(part) for name, part in value.items()}
    return float(f"{value:.5g}") if isinstance(value, float) else value


def run(
    stages: Sequence[Stage],
    names: Sequence[str] | None = None,
    rounds: int = ROUNDS,
    steps: int | None = None,
    threads: int | None = None,
    on_turn: Callable[[Stage, str], None] = lambda stage, name: None,
    on_missing: Callable[[str], None] = lambda problem: None,
) -> list[Row]:
    """Measure pipelines on stages.

    names: of pipelines; all that can run here when None
    steps: of training in a turn; as many as make 2,048 images when None
    threads: of the processor; as torch is set when None
    on_turn: called before each turn, with its stage and pipeline
    on_missing: called with one line for each pipeline that cannot run here
    Raises MnistStepsError for an unknown name, and when a named pipeline cannot run here.
    """
    check_names(names)
    told: set[str] = set()
    rows: list[Row] = []
    with training.cpu_threads(threads or torch.get_num_threads()):
        for stage in stages:
            chosen, problems = _available(stage, names)
            for problem in problems - told:
                on_missing(problem)
            told |= problems
            rows += _rows(stage, chosen, rounds, steps, on_turn)
    return rows


def check_names(names: Sequence[str] | None) -> None:
    """Raises MnistStepsError when there is no pipeline of such a name."""
    for name in names or ():
        if name not in kinds():
            raise MnistStepsError(
                f"there is no pipeline {name!r}: the pipelines are {', '.join(kinds())}."
            )


def _available(stage: Stage, names: Sequence[str] | None) -> tuple[dict[str, Kind], set[str]]:
    """The pipelines to measure, and why others that might be here are not.

    A pipeline that was asked for by name has to be here: raises MnistStepsError otherwise.
    """
    chosen, problems = {}, set()
    for name, kind in kinds().items():
        if names is not None and name not in names:
            continue
        if kind.optional:
            try:
                kind.make(stage)
            except MnistStepsError as error:
                if names is not None:
                    raise
                problems.add(f"{name} is left out: {error}")
                continue
        chosen[name] = kind
    return chosen, problems


def _rows(
    stage: Stage,
    chosen: Mapping[str, Kind],
    rounds: int,
    steps: int | None,
    on_turn: Callable[[Stage, str], None],
) -> list[Row]:
    usual = max(2, IMAGES_A_TURN // stage.recipe.batch_size)
    steps = min(steps or usual, stage.recipe.steps_per_epoch(data.TRAIN_SIZE))
    turns = {
        name: functools.partial(seconds_per_epoch, kind, stage, steps)
        for name, kind in chosen.items()
    }
    samples = interleave(turns, rounds, lambda name: on_turn(stage, name))
    medians = {name: statistics.median(values) for name, values in samples.items()}
    original = medians.get(ORIGINAL)
    better = min(
        (medians[name] for name in (ORIGINAL, ORIGINAL_WITH_WORKERS) if name in medians),
        default=None,
    )
    epochs = epochs_to_target(stage)
    machine = training.describe_environment(CPU, ())
    return [
        Row(
            stage=stage.number,
            pipeline=name,
            seconds_per_epoch=seconds,
            ratio_to_original=original and original / seconds,
            ratio_to_better_original=better and better / seconds,
            seconds_per_epoch_least=min(samples[name]),
            seconds_per_epoch_most=max(samples[name]),
            seconds_to_target=seconds * epochs if epochs and chosen[name].same_recipe else None,
            breakdown=(
                breakdown(stage, steps, "auto" if name == OURS else "torch")
                if name in (OURS, OURS_BY_TORCH)
                else None
            ),
            rounds=rounds,
            steps=steps,
            date=machine.date,
            processor=machine.processor,
            threads=machine.threads,
            torch=machine.torch,
            way=engine.choose(stage.build(), stage.recipe).line if name == OURS else None,
        )
        for name, seconds in medians.items()
    ]


def interleave(
    turns: Mapping[str, Callable[[], float]],
    rounds: int,
    on_turn: Callable[[str], None] = lambda name: None,
) -> dict[str, list[float]]:
    """Let each take its turn, in each round again, and note what it returns."""
    samples: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(rounds):
        for name, turn in turns.items():
            on_turn(name)
            samples[name].append(turn())
    return samples


def seconds_per_epoch(kind: Kind, stage: Stage, steps: int) -> float:
    """One turn: start a pipeline, train `steps` batches, evaluate some images, end it.

    Returns what 60,000 images of training and 10,000 of evaluation take at that speed.
    """
    pipeline = kind.make(stage)
    pipeline.train(kind.lead)
    train = _seconds_an_image(pipeline.train, steps)
    for _ in range(kind.lead):
        pipeline.evaluate(1)
    evaluate = _seconds_an_image(pipeline.evaluate, EVALUATED)
    mnist = data.mnist()
    return train * len(mnist.full_train) + evaluate * len(mnist.test)


def _seconds_an_image(work: Callable[[int], int], amount: int) -> float:
    start = time.perf_counter()
    images = work(amount)
    return (time.perf_counter() - start) / images


def epochs_to_target(stage: Stage) -> int | None:
    """After how many epochs the stage's record first reached 99.4 %; None without such."""
    if not runs.has_record(stage):
        return None
    recorded = runs.load(stage.number)
    for number, epoch in enumerate(recorded.epochs, start=1):
        if epoch.test_accuracy >= evidence.TARGET:
            return number
    return None


# --- Where a step's time goes ---------------------------------------------------------------

PARTS = ("batch", "augmentation", "forward", "backward", "optimizer", "accuracy")


@dataclass(frozen=True)
class Breakdown:
    """A training step of ours, part by part, and how much of the machine it uses.

    seconds: median over steps for each of PARTS
    multiplications: of a step, in convolutions and linear layers. The backward pass counts twice
        the forward one, for gradients by weights and by inputs (the first layer needs none by its
        input, which is neglected). A convolution counts as if computed the ordinary way.
    matrix_rate: multiply-accumulates a second in a product of large matrices, on this machine
    """

    seconds: dict[str, float]
    batch_size: int
    multiplications: int
    matrix_rate: float

    @property
    def step(self) -> float:
        """In seconds."""
        return sum(self.seconds.values())

    @property
    def share_of_matrix_rate(self) -> float:
        """The rate of the whole step's arithmetic, as a share of `matrix_rate`."""
        return self.multiplications / self.step / self.matrix_rate

    def __str__(self) -> str:
        parts = ", ".join(f"{part} {1000 * took:.1f}" for part, took in self.seconds.items())
        return (
            f"a step of {self.batch_size} images: {1000 * self.step:.1f} ms ({parts}). "
            f"{self.multiplications / 1e6:,.0f} million multiply-accumulates at "
            f"{self.multiplications / self.step / 1e9:.1f} billion a second; a product of large "
            f"matrices reaches {self.matrix_rate / 1e9:.1f} billion: a share of "
            f"{self.share_of_matrix_rate:.0%}."
        )


def breakdown(stage: Stage, steps: int, engine: str = "torch") -> Breakdown:
    """Train that many steps (and one before) with a look at the clock between a step's parts.

    engine: as for `training.Training`
    """
    trained = Training(stage, SEED, CPU, engine=engine)
    timed_steps(trained, 1)
    _, seconds = timed_steps(trained, steps)
    batch_size = stage.recipe.batch_size
    forward = graph.count_multiplications(graph.trace(stage.build(), data.INPUT_SHAPE))
    return Breakdown(
        seconds={part: statistics.median(values) for part, values in seconds.items()},
        batch_size=batch_size,
        multiplications=3 * sum(forward.values()) * batch_size,  # backward counts twice
        matrix_rate=matrix_rate(),
    )


def timed_steps(trained: Training, steps: int) -> tuple[Tensor, dict[str, list[float]]]:
    """The first steps of an epoch with a look at the clock between their parts.

    Returns the losses, float tensor (steps,), and the seconds of each of PARTS in each step.
    """
    recipe = trained.stage.recipe
    trainer = engine.Trainer(
        trained.model, trained.optimizer, trained.train_split, recipe.normalize_train,
        native=trained.choice.engine == "engine",
    )  # fmt: skip
    seconds: dict[str, list[float]] = {part: [] for part in PARTS}
    took = dict.fromkeys(PARTS, 0.0)
    last = time.perf_counter()

    def mark(part: str) -> None:
        nonlocal last
        now = time.perf_counter()
        took[part] += now - last
        last = now

    def end_step(_: Tensor) -> None:
        for part in PARTS:
            seconds[part].append(took[part])
            took[part] = 0

    trained_epoch = training.train_epoch_in_steps(
        trainer, recipe, trained.batch_schedule, trained.generator, steps, end_step, mark
    )
    return trained_epoch.losses, seconds


def matrix_rate(size: int = 1024, repeats: int = 5) -> float:
    """Multiply-accumulates a second in the best of several products of size × size float32."""
    first, second = torch.rand(size, size), torch.rand(size, size)
    torch.mm(first, second)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        torch.mm(first, second)
        seconds.append(time.perf_counter() - start)
    return size**3 / min(seconds)
