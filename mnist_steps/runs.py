"""Records: runs saved in the package, and the three checks that tie them to today's code.

A record is a folder with three files:
    run.json              what the run is and its figures; the same bytes whenever it is repeated
    tensors.safetensors   losses and learning rates of every step, test predictions, weights
    environment.json      when, where and how fast it ran

A record is trusted only while (1) its recipe, network and data equal today's, (2) its first
steps, trained again now, give the recorded losses, and (3) its weights give the recorded
predictions. `verify` checks all three for every record.
"""

import hashlib
import io
import json
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from mnist_steps import data, evaluation, graph, stages, training
from mnist_steps.data import CannotWrite, write_atomically
from mnist_steps.errors import MnistStepsError, RecordMismatch
from mnist_steps.original import SEED
from mnist_steps.stages import Stage
from mnist_steps.training import Environment, Epoch, Run, Step, Training

RECORDS = Path(__file__).parent / "records"
FORMAT = 1
INPUT_SHAPE = (1, 28, 28)
MAX_WEIGHTS_BYTES = 2_000_000  # stage 1's weights take 25 MB, too much for a repository

# Processors, thread counts and versions of torch round differently, and each step multiplies what
# differs. Relative differences seen between two kinds of processors, the largest of stages 3 to 8:
# 9e-8 at the first step, 5e-7, 2e-6, 2e-4, 1e-3, and from the seventh on up to 4e-3. So the first
# steps must agree closely, and each later one may differ ten times as much as the one before.
FIRST_TOLERANCE, LARGEST_TOLERANCE = 1e-5, 1e-2


# --- Saving and loading ---------------------------------------------------------------------


def identity(stage: Stage, seed: int) -> dict[str, Any]:
    """What decides a run, as plain data: the recipe, the traced network and the data set."""
    recipe = stage.recipe.as_data()
    recipe["seed"] = seed
    network = graph.trace(stage.build(), INPUT_SHAPE).as_data()
    # A round trip through JSON, so that the result compares equal to one read from a file.
    result: dict[str, Any] = json.loads(
        json.dumps({"recipe": recipe, "graph": network, "data": data.CHECKSUMS})
    )
    return result


def digest(content: Any) -> str:
    """SHA-256 of plain data in canonical JSON (sorted keys, no spaces)."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def folder_of(stage: Stage, seed: int, records: Path = RECORDS) -> Path:
    return records / stage.slug / f"seed-{seed}"


def save(run: Run, records: Path = RECORDS) -> Path:
    """Write a run as a record and return its folder. Each file appears only when complete."""
    tensors = {
        "loss": torch.tensor([step.loss for step in run.steps]),
        "learning_rate": torch.tensor(
            [step.learning_rate for step in run.steps], dtype=torch.float64
        ),
        "predictions": run.predictions,
        "confidences": run.confidences,
    }
    weights = run.weights or {}
    if sum(value.nbytes for value in weights.values()) <= MAX_WEIGHTS_BYTES:
        tensors |= {f"weights.{name}": value.contiguous() for name, value in weights.items()}
    packed = safetensors.torch.save(tensors)
    content = {
        "format": FORMAT,
        "stage": run.stage.number,
        "seed": run.seed,
        "identity": identity(run.stage, run.seed),
        "epochs": [epoch.as_data() for epoch in run.epochs],
        "tensors_sha256": hashlib.sha256(packed).hexdigest(),
    }
    content["digest"] = digest(content)
    folder = folder_of(run.stage, run.seed, records)
    write_atomically(folder / "tensors.safetensors", packed)
    write_atomically(folder / "environment.json", _json_bytes(asdict(run.environment)))
    write_atomically(folder / "run.json", _json_bytes(content))
    return folder


def load(number: int, seed: int | None = None, records: Path = RECORDS) -> Run:
    """A stage's committed record; `seed` picks another than SEED.

    Raises MnistStepsError when there is none, and RecordMismatch when it is damaged or its
    recipe, network or data are not today's.
    """
    stage = stages.get(number)
    seed = SEED if seed is None else seed
    folder = folder_of(stage, seed, records)
    name = f"stage {number}, seed {seed}"
    renew = f"Renew it with: mnist-steps record {number} --seed {seed}"
    if not (folder / "run.json").is_file():
        raise MnistStepsError(
            f"{name}: there is no record. Make it with: mnist-steps record {number} --seed {seed}"
        )
    try:
        content = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        environment = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
        packed = (folder / "tensors.safetensors").read_bytes()
        version = content["format"]
        if version > FORMAT:
            raise RecordMismatch(
                f"{name}: the record has format {version}, this version of mnist_steps reads up "
                f"to {FORMAT}. Update mnist_steps."
            )
        stated = content.pop("digest")
        if digest(content) != stated:
            raise RecordMismatch(f"{name}: run.json does not match its own digest. {renew}")
        if hashlib.sha256(packed).hexdigest() != content["tensors_sha256"]:
            raise RecordMismatch(f"{name}: tensors.safetensors was changed. {renew}")
        changes = list(differences(content["identity"], identity(stage, seed)))
        if changes:
            shown = "; ".join(changes[:3]) + ("; …" if len(changes) > 3 else "")
            raise RecordMismatch(f"{name}: changed since the record: {shown}. {renew}")
        return _as_run(stage, seed, content, environment, safetensors.torch.load(packed))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise RecordMismatch(f"{name}: the record cannot be read ({error!r}). {renew}") from error


def has_record(stage: Stage, records: Path = RECORDS) -> bool:
    """Whether there is a record with the seed SEED, today's or an old one."""
    return (folder_of(stage, SEED, records) / "run.json").is_file()


def load_if_any(stage: Stage) -> Run | None:
    """A stage's record, None for a stage of our own that has none; a study holds its runs.

    Raises what `load` raises, also when a stage that follows the original has no record: what its
    page shows would be missing.
    """
    if stage.claim is None and not has_record(stage):
        return None
    return load(stage.number)


def _as_run(
    stage: Stage,
    seed: int,
    content: dict[str, Any],
    environment: dict[str, Any],
    tensors: dict[str, Tensor],
) -> Run:
    prefix = "weights."
    weights = {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
    return Run(
        stage=stage,
        seed=seed,
        epochs=tuple(Epoch(**epoch) for epoch in content["epochs"]),
        steps=tuple(map(Step, tensors["loss"].tolist(), tensors["learning_rate"].tolist())),
        predictions=tensors["predictions"],
        confidences=tensors["confidences"],
        weights=weights or None,
        environment=Environment(**environment | {"seconds": tuple(environment["seconds"])}),
    )


def differences(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Where two pieces of plain data differ, as 'recipe.batch_size 128 -> 64'."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            inner = f"{path}.{key}" if path else key
            yield from differences(before.get(key), after.get(key), inner)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for position, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from differences(old, new, f"{path}[{position}]")
    elif before != after:
        yield f"{path} {_brief(before)} -> {_brief(after)}"


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _json_bytes(content: Any) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


# --- Making a record ------------------------------------------------------------------------


def record(
    number: int,
    seed: int | None = None,
    device: str = "auto",
    progress: bool = True,
    records: Path = RECORDS,
) -> Run:
    """Train a stage and save the run as its record, with a checkpoint after every epoch.

    Killed at any moment, a second call goes on from the last checkpoint and ends with the same
    run.json and tensors as an uninterrupted one: it uses the same number of CPU threads.
    Raises CannotWrite before it trains when record or checkpoint cannot be written, and when the
    record cannot be in the end; then the checkpoint stays.
    """
    stage = stages.get(number)
    seed = SEED if seed is None else seed
    checkpoint = checkpoint_path(stage, seed)
    data.demand_writable(folder_of(stage, seed, records))
    data.demand_writable(checkpoint.parent)
    under_way = Training(stage, seed, training.pick_device(device), engine="torch")
    threads = torch.get_num_threads()
    if checkpoint.is_file():
        threads, state = _read_checkpoint(checkpoint)
        under_way.restore(state)

    def save_checkpoint(under_way: Training) -> None:
        buffer = io.BytesIO()
        torch.save({"threads": threads, "training": under_way.state()}, buffer)
        write_atomically(checkpoint, buffer.getvalue())

    with training.cpu_threads(threads):
        training.run_to_end(under_way, progress, save_checkpoint)
        run = under_way.result()
    try:
        save(run, records)
    except CannotWrite as error:
        raise CannotWrite(
            f"{error} The training is kept in {checkpoint}: the same command saves it without "
            "training again."
        ) from error
    checkpoint.unlink(missing_ok=True)
    return run


def checkpoint_path(stage: Stage, seed: int) -> Path:
    """Its name carries the identity's digest: a changed recipe never meets an old checkpoint."""
    short = digest(identity(stage, seed))[:12]
    return data.root() / "checkpoints" / f"{stage.slug}-seed-{seed}-{short}.pt"


def _read_checkpoint(path: Path) -> tuple[int, dict[str, Any]]:
    try:
        content = torch.load(path, weights_only=True)  # tensors and plain data, no code
        return content["threads"], content["training"]
    except Exception as error:  # torch.load raises many kinds on a damaged file
        raise MnistStepsError(
            f"the checkpoint {path} cannot be read ({type(error).__name__}). "
            "Delete it to start anew."
        ) from error


# --- Checking a record ----------------------------------------------------------------------


@dataclass(frozen=True)
class Replay:
    """The first steps trained again now, against the record.

    max_difference: largest relative difference of a loss
    first_difference: the first loss that differs by more than rounding explains, in words
    """

    steps: int
    max_difference: float
    first_difference: str | None

    @property
    def ok(self) -> bool:
        return self.first_difference is None


def replay(run: Run, steps: int = 10, engine: str = "torch") -> Replay:
    """Train the first steps of a run again, on the CPU, and compare their losses.

    engine: as for `training.Training`; records were made by PyTorch
    """
    with training.cpu_threads(run.environment.threads):
        under_way = Training(run.stage, run.seed, torch.device("cpu"), engine=engine)
        again = under_way.train_epoch(max_steps=steps)
    recorded = torch.tensor([step.loss for step in run.steps[:steps]])
    relative = (again.losses - recorded).abs() / recorded.abs()
    relative = relative.nan_to_num(nan=float("inf"))
    beyond = (relative > tolerances(len(recorded))).nonzero().flatten().tolist()
    first = None
    if beyond:
        loss, stated = again.losses[beyond[0]].item(), recorded[beyond[0]].item()
        first = (
            f"the replayed loss at step {beyond[0] + 1} is {loss:.4f}, the record says {stated:.4f}"
        )
    return Replay(steps, relative.max().item(), first)


def tolerances(steps: int) -> Tensor:
    """How much the loss of each step may differ, relatively: float tensor (steps,)."""
    return (FIRST_TOLERANCE * 10.0 ** torch.arange(steps)).clamp(max=LARGEST_TOLERANCE)


@dataclass(frozen=True)
class Verification:
    """One record's outcome: `problem` is None when everything holds."""

    stage: Stage
    seed: int
    replay: Replay | None
    problem: str | None


def check(run: Run, steps: int = 10, images: int | None = None) -> Replay:
    """All that can be checked of a loaded run. Raises RecordMismatch when something differs.

    steps: how many to repeat
    images: compare predictions for the first so many test images; None is all
    """
    name = f"stage {run.stage.number}, seed {run.seed}"
    renew = f"Renew it with: mnist-steps record {run.stage.number} --seed {run.seed}"
    labels = data.mnist().test.labels
    accuracy = 100 * (run.predictions == labels).sum().item() / len(labels)
    if abs(accuracy - run.final_test_accuracy) > 1e-6:
        raise RecordMismatch(
            f"{name}: the recorded predictions are {accuracy:.2f} % right, the record says "
            f"{run.final_test_accuracy:.2f} %. {renew}"
        )
    if run.weights is not None:
        model = run.build().to(memory_format=torch.channels_last)
        test, recipe = data.mnist().test[:images], run.stage.recipe
        now = evaluation.evaluate(model, test, recipe, final=run.finished)
        different = (now.predictions != run.predictions[:images]).sum().item()
        if different:
            raise RecordMismatch(
                f"{name}: the recorded weights give other predictions than recorded for "
                f"{different} test images. {renew}"
            )
        stated = run.epochs[-1].one_view_accuracy
        if images is None and stated != (now.one_view and round(now.one_view.accuracy, 6)):
            raise RecordMismatch(
                f"{name}: the recorded weights are {now.one_view and now.one_view.accuracy} % "
                f"right by one view of each test image, the record says {stated} %. {renew}"
            )
    replayed = replay(run, steps)
    if not replayed.ok:
        raise RecordMismatch(f"{name}: {replayed.first_difference}. {renew}")
    return replayed


def recorded_seeds(stage: Stage, records: Path = RECORDS) -> list[int]:
    """The seeds of a stage's records.

    Of a stage that follows the original that with SEED is always there, so that a missing record
    is found. A stage of our own may be without any record, and then there is nothing to hold
    against today's code.
    """
    found = {
        int(folder.name.removeprefix("seed-")) for folder in (records / stage.slug).glob("seed-*")
    }
    return sorted(found if stage.claim is None else found | {SEED})


def verify(
    numbers: Collection[int] | None = None,
    steps: int = 10,
    records: Path = RECORDS,
    on_result: Callable[[Verification], None] = lambda verification: None,
) -> list[Verification]:
    """Check every record of the given stages (all when None) against today's code.

    on_result: called with each record's outcome as it is known
    Raises RecordMismatch at the end, with a line for each record that does not hold. A stage of
    our own without a record is passed over, unless it is named: whoever names it expects one.
    """
    results = []
    for stage in stages.STAGES:
        if numbers is not None and stage.number not in numbers:
            continue
        named = [] if numbers is None else [SEED]
        for seed in recorded_seeds(stage, records) or named:
            try:
                replayed = check(load(stage.number, seed, records), steps)
                results.append(Verification(stage, seed, replayed, None))
            except MnistStepsError as error:
                results.append(Verification(stage, seed, None, str(error)))
            on_result(results[-1])
    problems = [result.problem for result in results if result.problem]
    if problems:
        raise RecordMismatch("\n".join(problems))
    return results


def load_or_train(number: int) -> Run:
    """The record; or, with MNIST_STEPS_TRAIN=1 in the environment, a training here and now."""
    if os.environ.get("MNIST_STEPS_TRAIN") == "1":
        return training.fit(stages.get(number))
    return load(number)
