"""A study: many runs over stages and seeds, on any `concurrent.futures.Executor`.

A task is plain data, so it can travel to another process or another machine; what comes back is
plain data too, a few kilobytes without weights. Each outcome is one small file in a store,
written when its run ends and marked with the digest of all that decided the run: recipe,
network and data. So a study can stop at any moment, a second start makes only the runs that are
missing, and a changed recipe makes exactly its own runs stale.
"""

import functools
import importlib
import json
import math
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, cast

import msgspec
from msgspec import Meta
from torch import Tensor, nn

from mnist_steps import data, runs, stages, training
from mnist_steps.engine import Choice, choose
from mnist_steps.errors import MnistStepsError, RecordMismatch
from mnist_steps.experiments import evidence, stored
from mnist_steps.experiments.evidence import RunFigures, Summary
from mnist_steps.recipes import Recipe
from mnist_steps.stages import Stage
from mnist_steps.training import Environment, Epoch, Run, Seconds, Training, contradictions

STUDIES = runs.RECORDS / "studies"
JUDGES = ("test", "validation")


# --- Tasks ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Decided:
    """All that decides a run, as plain data.

    number: of the stage
    arm: the name of a variation of the stage; None is the stage itself
    digest: of the recipe with this seed, the traced network and the data
    model: 'module:name' of what builds the network, called with `arguments`
    recipe: as `Recipe.as_data` gives it
    train_images: train on the first so many images only; None is all
    judged_on: 'test', or 'validation' to train on the first 55,000 training images and judge on
        the other 5,000, as every choice should be made
    """

    number: int
    arm: str | None
    seed: int
    digest: str
    model: str
    arguments: dict[str, Any]
    recipe: dict[str, Any]
    train_images: int | None
    judged_on: str


@dataclass(frozen=True)
class Task(Decided):
    """One run to make. `tasks_for` makes tasks.

    device: as for `training.fit`
    engine: 'torch' or 'engine', decided where the study starts; it decides no more than rounding
    threads: of the processor; likewise
    way: how it will be computed and why, in words
    """

    device: str
    engine: str = "torch"
    threads: int = 1
    way: str = ""

    @property
    def name(self) -> str:
        arm = f", {self.arm}" if self.arm else ""
        return f"stage {self.number}{arm}, seed {self.seed}"

    def stage(self) -> Stage:
        """The stage, with this task's model and recipe in place of its own."""
        module, _, attribute = self.model.partition(":")
        model = getattr(importlib.import_module(module), attribute)
        if self.arguments:
            model = functools.partial(model, **self.arguments)
        recipe = Recipe.from_data(self.recipe)
        return replace(stages.get(self.number), model=model, recipe=recipe)


def tasks_for(
    stage: Stage,
    seeds: Iterable[int],
    arm: str | None = None,
    train_images: int | None = None,
    judged_on: str = "test",
    device: str = "cpu",
    engine: str = "auto",
    threads: int = 1,
) -> list[Task]:
    """A task for each seed of a stage, or of a variation of it under the name `arm`.

    A variation is `dataclasses.replace(stage, recipe=..., model=...)`. Its model must be one
    that another process can import: a class, a function at the top level of a module, or a
    functools.partial of one with named arguments of plain data.
    engine: as for `mnist_steps.engine.choose`; what it becomes here, all tasks are made by
    The other choices are as for `Task`.
    Raises MnistStepsError when the model, the arm's name or another choice is not of that kind.
    """
    if arm is not None and not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", arm):
        raise MnistStepsError(
            f"arm {arm!r} cannot name a folder: use small letters, digits, '_', '-' and '.'."
        )
    if judged_on not in JUDGES:
        raise MnistStepsError(f"judged_on is {judged_on!r}: expected {' or '.join(JUDGES)}.")
    model, arguments = _importable(stage.model)
    choice = choose(stage.build(), stage.recipe, engine, training.pick_device(device).type)
    limits: dict[str, Any] = {}
    if train_images is not None:
        limits["train_images"] = train_images
    if judged_on != "test":
        limits["judged_on"] = judged_on
    identity: dict[str, Any] | None = None
    tasks = []
    for seed in seeds:
        identity = identity or runs.identity(stage, seed)  # tracing takes time; once is enough
        identity["recipe"]["seed"] = seed
        tasks.append(
            Task(
                number=stage.number,
                arm=arm,
                seed=seed,
                model=model,
                arguments=arguments,
                recipe=stage.recipe.as_data(),
                train_images=train_images,
                judged_on=judged_on,
                device=device,
                digest=runs.digest(identity | limits),
                engine=choice.engine,
                threads=threads,
                way=choice.line,
            )
        )
    return tasks


def _importable(model: Callable[[], nn.Module]) -> tuple[str, dict[str, Any]]:
    """'module:name' and arguments by which another process finds the same model."""
    arguments: dict[str, Any] = {}
    function: Any = model
    if isinstance(model, functools.partial):
        function, arguments = model.func, model.keywords
        if model.args:
            raise MnistStepsError(
                f"the model {model!r} has arguments without names: give partial their names."
            )
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    found = getattr(sys.modules.get(module or ""), name, None)
    if found is not function or module == "__main__":
        raise MnistStepsError(
            f"the model {model!r} cannot be found by another process: put it at the top level of "
            "a module that can be imported."
        )
    return f"{module}:{name}", arguments


# --- Outcomes -------------------------------------------------------------------------------


Position = Annotated[int, Meta(ge=0)]
Digit = Annotated[int, Meta(ge=0, le=9)]


@dataclass(frozen=True)
class Outcome(Decided):
    """What is kept of one run; every field is plain data, those that decided it the task's.

    epochs: for each figure of `training.Epoch` that the run has, one value an epoch: losses,
        accuracies in percent; a loss that was not finite is None
    images: how many images the run was judged on
    wrong: position of each image not recognised after the last epoch, and the digit predicted
    seconds: wall time from reading the data to the trained network, evaluations included
    environment: as `training.Environment`
    """

    epochs: dict[str, list[float | None]]
    images: int
    wrong: dict[Position, Digit]
    seconds: Seconds
    environment: dict[str, Any]

    @property
    def test_accuracies(self) -> list[float]:
        """Percent after each epoch; on the validation images when those were the judge."""
        return cast(list[float], self.epochs["test_accuracy"])

    @property
    def one_view_accuracies(self) -> list[float] | None:
        """The same with each image judged once; None where only several views were noted."""
        if "test_shifts" not in self.recipe:
            return self.test_accuracies
        if "one_view_accuracy" not in self.epochs:
            return None
        pairs = zip(self.epochs["one_view_accuracy"], self.test_accuracies, strict=True)
        return [several if one is None else one for one, several in pairs]

    @property
    def history(self) -> list[Epoch]:
        """The epochs one by one. Raises ValueError when the figures are not those of epochs."""
        columns = self.epochs.values()
        rows = [dict(zip(self.epochs, row, strict=True)) for row in zip(*columns, strict=True)]
        for row in rows:
            for kind in ("train", "test", "one_view"):
                if row.get(f"{kind}_accuracy") is not None and row.get(f"{kind}_loss", 0) is None:
                    row[f"{kind}_loss"] = math.inf  # or NaN, which is no number to compare with
        return msgspec.convert(rows, list[Epoch])

    @property
    def figures(self) -> RunFigures:
        return evidence.run_figures(self.test_accuracies)

    @property
    def headline(self) -> str:
        return f"{self.figures.final:.2f} %, {self.seconds:.0f} s"

    def predictions(self, labels: Tensor) -> Tensor:
        """The digit predicted for each image, given the right ones, (N,)."""
        return stored.predictions(labels, self.wrong)


def summary_of(outcomes: Sequence[Outcome]) -> Summary:
    """Accuracies and wall time of several runs of one model. Raises MnistStepsError for none."""
    return evidence.over_seeds(
        [outcome.test_accuracies for outcome in outcomes],
        seconds=[outcome.seconds for outcome in outcomes],
    )


def one_view_summary(outcomes: Sequence[Outcome]) -> Summary | None:
    """Their accuracies when each image is judged once; None unless all of the runs noted that."""
    known = _by_one_view(outcomes)
    return evidence.over_seeds(known) if known else None


def verdict_of(outcomes: Sequence[Outcome]) -> evidence.Verdict | None:
    """Whether the runs reach the target; None unless all of them noted figures by one view."""
    known = _by_one_view(outcomes)
    return evidence.verdict(known) if known else None


def _by_one_view(outcomes: Sequence[Outcome]) -> list[list[float]]:
    """Each run's accuracies by one view; empty unless all of the runs noted them."""
    noted = [outcome.one_view_accuracies for outcome in outcomes]
    known = [accuracies for accuracies in noted if accuracies is not None]
    return known if len(known) == len(noted) else []


def train(task: Task) -> Outcome:
    """Make a task's run, here and now, on the task's device with the task's CPU threads.

    Raises MnistStepsError when this installation of mnist_steps would make another run.
    """
    stage = task.stage()
    (here,) = tasks_for(
        stage, [task.seed], task.arm, task.train_images, task.judged_on, task.device, task.engine
    )
    if here.digest != task.digest:
        raise MnistStepsError(
            f"{task.name}: the mnist_steps on this worker has another network, recipe or data "
            "than where the study was started. Install the same version on both."
        )
    with training.one_at_a_time(task.threads):
        start = time.perf_counter()
        data.mnist.cache_clear()  # each run reads the data, so that all take the same
        train_split, judge = data.mnist().halves(task.judged_on)
        under_way = Training(
            stage,
            task.seed,
            training.pick_device(task.device),
            train_split[: task.train_images],
            judge,
            engine=task.engine,
        )
        training.run_to_end(under_way, progress=False)
        run = under_way.result()
        seconds = time.perf_counter() - start
    return _outcome(task, run, judge.labels, seconds)


def recorded(task: Task) -> Outcome | None:
    """The outcome of a record that is this very run, so that nobody has to make it again.

    None where there is none, or none of today's; `runs.verify` says what is wrong with a record.
    """
    stage = stages.get(task.number)
    if not (runs.folder_of(stage, task.seed) / "run.json").is_file():
        return None
    if runs.digest(runs.identity(stage, task.seed)) != task.digest:
        return None  # of a variation
    try:
        run = runs.load(task.number, task.seed)
    except RecordMismatch:
        return None
    return _outcome(task, run, data.mnist().test.labels, sum(run.environment.seconds))


def _outcome(task: Task, run: Run, labels: Tensor, seconds: float) -> Outcome:
    rows = [asdict(epoch) for epoch in run.epochs]
    return Outcome(
        **{field.name: getattr(task, field.name) for field in fields(Decided)},
        epochs={
            name: [_finite(row[name]) for row in rows]
            for name in rows[0]
            if any(row[name] is not None for row in rows)
        },
        images=len(labels),
        wrong=run.wrong(labels),
        seconds=round(seconds, 2),
        environment=run.environment.as_data(),
    )


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 6)


# --- The store ------------------------------------------------------------------------------


class Store(stored.Store[Task, Outcome]):
    """Outcomes as files: <folder>/<stage's slug>/seed-N.json, an arm's in a folder below.

    Tasks that differ in `train_images` or `judged_on` only would share a file: give them an arm's
    name or a store of their own.
    """

    def __init__(self, folder: Path = STUDIES) -> None:
        super().__init__(folder, Outcome)

    def path(self, of: Task | Outcome) -> Path:
        folder = self.folder / stages.get(of.number).slug
        return (folder / of.arm if of.arm else folder) / f"seed-{of.seed}.json"

    def outcomes(self, stage: Stage, arm: str | None = None, **choices: Any) -> list[Outcome]:
        """All runs of a stage, or of its variation `arm`, that belong to today's code, by seed.

        choices: as for `tasks_for`
        """
        # Whatever computed them: to read runs, no engine has to be found or compiled.
        tasks = tasks_for(stage, self.seeds(stage, arm), arm, **{"engine": "torch"} | choices)
        return [outcome for task in tasks if (outcome := self.get(task)) is not None]

    def seeds(self, stage: Stage, arm: str | None = None) -> list[int]:
        """The seeds that there are files for, done or stale, in order."""
        folder = self.folder / stage.slug
        return runs.seeds_named(folder / arm if arm else folder, r"seed-(\d+)\.json")

    def summary(self, stage: Stage, arm: str | None = None, **choices: Any) -> Summary | None:
        """Over all seeds that the store has, None when it has none."""
        outcomes = self.outcomes(stage, arm, **choices)
        return summary_of(outcomes) if outcomes else None

    def problems(self, outcome: Outcome, task: Task) -> Iterator[str]:
        names = ("number", "arm", "seed", "recipe", "train_images", "judged_on")
        wanted = json.loads(json.dumps({name: getattr(task, name) for name in names}))
        if "seed" in outcome.recipe:  # a part of the recipe in older outcomes
            wanted["recipe"]["seed"] = task.seed
        yield from runs.differences(wanted, {name: getattr(outcome, name) for name in names})
        trained_on, images = data.sizes(task.judged_on)
        trained_on = min(trained_on, task.train_images or trained_on)
        noted = "one_view_accuracy" in outcome.epochs
        recipe = Recipe.from_data(task.recipe)
        yield from contradictions.of_epochs(outcome.history, recipe, trained_on, images, noted)
        final = outcome.test_accuracies[-1]
        yield from stored.misjudged(outcome.images, outcome.wrong, final, task.judged_on)
        Environment.from_data(outcome.environment)


OURS = Store()  # the runs that come with the package


# --- The study ------------------------------------------------------------------------------


def runs_of(
    store: Store,
    chosen: Sequence[Stage] | None = None,
    seeds: Sequence[int] | None = None,
    **choices: Any,
) -> list[Task]:
    """The runs of some stages with some seeds; what is left open is as the store has it.

    choices: as for `tasks_for`
    """
    return [
        task
        for stage in (stages.STAGES if chosen is None else chosen)
        if chosen is not None or store.seeds(stage)
        for task in tasks_for(stage, store.seeds(stage) if seeds is None else seeds, **choices)
    ]


def take_over(tasks: Iterable[Task], store: Store) -> None:
    """Save what the records have of the runs that are to be made."""
    for task in tasks:
        if store.state(task) != "done" and (outcome := recorded(task)) is not None:
            store.put(outcome)


def choice_for_usual_networks(engine: str, device: str = "cpu") -> Choice:
    """What trains networks like stage 8's; others take PyTorch where the engine does not fit.

    engine: as for `mnist_steps.engine.choose`, which says what is raised
    """
    usual = stages.get(8)
    return choose(usual.build(), usual.recipe, engine, training.pick_device(device).type)


def ways(tasks: Iterable[Task], store: Store) -> Iterator[str]:
    """What computes the runs that are to be made, and why, and what did those that are there."""
    left, there = Counter[str](), Counter[str]()
    engines = set()
    for task in tasks:
        outcome = store.get(task)
        if outcome is None:
            left[task.way] += 1
            engines.add(task.engine)
        else:
            there[outcome.environment.get("engine", "torch")] += 1
    for way, count in left.items():
        yield f"{count} {'run is' if count == 1 else 'runs are'} {way}"
    for engine, count in there.items():
        if engines and engine not in engines:
            by = {"torch": "PyTorch", "engine": "the engine"}[engine]
            yield (
                f"{count} of those that are there {'was' if count == 1 else 'were'} computed by "
                f"{by}, which rounds otherwise: --engine {engine} keeps to it"
            )


def describe(tasks: Iterable[Task], store: Store) -> list[dict[str, Any]]:
    """What the runs say, as plain data: a row for each stage or variation among the tasks.

    `study`, `one_view`, `interval` and `verdict` are None where there is none.
    """
    found: dict[tuple[int, str | None], list[Outcome]] = {}
    for task in tasks:
        outcomes = found.setdefault((task.number, task.arm), [])
        if (outcome := store.get(task)) is not None:
            outcomes.append(outcome)
    return [
        {
            "number": number,
            "title": stages.get(number).title,
            "arm": arm,
            **summaries(outcomes),
            "runs": [
                {"seed": outcome.seed, **asdict(outcome.figures), "seconds": outcome.seconds}
                for outcome in outcomes
            ],
        }
        for (number, arm), outcomes in found.items()
    ]


def summaries(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The summaries of several runs of one model as plain data, None where there is none."""
    one_view, verdict = one_view_summary(outcomes), verdict_of(outcomes)
    interval = evidence.interval([outcome.figures.final for outcome in outcomes])
    return {
        "study": asdict(summary_of(outcomes)) if outcomes else None,
        "one_view": one_view and asdict(one_view),
        "interval": interval and asdict(interval),
        "verdict": verdict and verdict.as_data(),
    }
