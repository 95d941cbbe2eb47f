"""How long a network takes for an image, on one thread: all networks in one run, in turns.

PyTorch computes, in float32 and layer by layer, whatever road a network came by. Only a network of
another shape can take another time: zeros and rounded weights are multiplied like all others.
"""

import functools
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn

from mnist_steps import data, runs, stages, training
from mnist_steps.errors import MnistStepsError
from mnist_steps.experiments.arms import network
from mnist_steps.experiments.bench import interleave
from mnist_steps.experiments.roads import arms, low_rank, pruning

TIMES = runs.RECORDS / "benchmarks" / "roads.json"
BATCH = 100
ROUNDS = 5
TURN_SECONDS = 0.2  # of one network in one round, at least


@dataclass(frozen=True)
class Time:
    """Microseconds of processor time for an image: medians over rounds.

    alone: one image by itself; in_a_batch: as one of 100

    least, most: in a batch, over rounds
    """

    alone: float
    in_a_batch: float
    least: float
    most: float


@dataclass(frozen=True)
class Times:
    """All networks, by name, as one machine computed them in turns."""

    date: str
    processor: str
    torch: str
    threads: int
    rounds: int
    networks: dict[str, Time]


def networks() -> dict[str, nn.Module]:
    """What is measured, by name. Weights are as they begin: only shapes and zeros count."""
    found: dict[str, nn.Module] = {}
    for stage in stages.STAGES:
        found[f"stage-{stage.number}"] = stage.build()
    for arm in arms.CHANNELS:
        begun = stages.get(arm.task.recipe_of).build()
        assert isinstance(begun, nn.Sequential) and arm.task.budget is not None
        if arm.task.recipe is not None:
            found["/".join(arm.key)] = pruning.fewer_channels(begun, arm.task.budget)
    for arm in arms.LOW_RANK:  # whose ranks follow from the weights
        if outcomes := arm.outcomes():
            begun = stages.get(arm.task.recipe_of).build()
            name = "/".join(arm.key).removesuffix("-untuned")
            found[name] = shaped(begun, outcomes[0].shapes)
    found["tiny"] = network(arms.TINY)
    zeros = stages.get(2).build()
    assert isinstance(zeros, nn.Sequential)
    pruning.weakest_weights(zeros, arms.WITHIN)
    found["stage-2-with-zeros"] = zeros
    found["stage-2-with-zeros-sparse"] = sparse(zeros)
    return {name: model.eval() for name, model in found.items()}


def shaped(model: nn.Module, shapes: Mapping[str, list[int]]) -> nn.Module:
    """A network with the layers of `model`, its convolutions shaped as an outcome notes it."""
    made = nn.Sequential()
    for name, layer in model.named_children():
        if not isinstance(layer, nn.Conv2d):
            made.add_module(name, layer)
            continue
        for part in (name, name + low_rank.DOWN, name + low_rank.ACROSS):
            if part in shapes:
                out, into, height, width = shapes[part]
                padding = tuple(
                    pad if side > 1 else 0
                    for pad, side in zip(layer.padding, (height, width), strict=True)
                )
                bias = layer.bias is not None and not part.endswith(low_rank.DOWN)
                made.add_module(
                    part,
                    nn.Conv2d(into, out, (height, width), padding=padding, bias=bias),  # type: ignore[arg-type]
                )
    return made


class SparseConv2d(nn.Module):
    """A convolution as a product with a matrix that knows its zeros.

    PyTorch has no convolution that skips zeros: the image's patches are laid out as columns first.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.kernel, self.padding = layer.kernel_size, layer.padding
        self.matrix = layer.weight.detach().flatten(1).to_sparse_csr()

    def forward(self, images: Tensor) -> Tensor:
        assert not isinstance(self.padding, str)
        (down, across), (height, width) = self.kernel, images.shape[-2:]
        patches = nn.functional.unfold(images, self.kernel, padding=self.padding)
        count, rows, places = patches.shape
        columns = patches.permute(1, 0, 2).reshape(rows, count * places)
        out = (self.matrix @ columns).view(-1, count, places).transpose(0, 1)
        shape = (height - down + 1 + 2 * self.padding[0], width - across + 1 + 2 * self.padding[1])
        return out.reshape(count, -1, *shape)


def sparse(model: nn.Sequential) -> nn.Sequential:
    """The network with convolutions (without biases) that skip their zeros."""
    return nn.Sequential(
        *(SparseConv2d(layer) if isinstance(layer, nn.Conv2d) else layer for layer in model)
    )


def measure(rounds: int = ROUNDS) -> Times:
    """Measure every network in each round again, on one thread."""
    images = data.mnist().test.images[:BATCH].float() / 255
    with training.cpu_threads(1), torch.inference_mode():
        models = networks()
        samples = {
            count: interleave(
                {
                    name: functools.partial(_microseconds, model, images[:count])
                    for name, model in models.items()
                },
                rounds,
            )
            for count in (1, BATCH)
        }
        machine = training.describe_environment(torch.device("cpu"), ())
    return Times(
        machine.date, machine.processor, str(machine.torch), 1, rounds,
        {
            name: Time(
                *(round(value, 2) for value in (
                    statistics.median(samples[1][name]), statistics.median(samples[BATCH][name]),
                    min(samples[BATCH][name]), max(samples[BATCH][name]),
                ))
            )
            for name in models
        },
    )  # fmt: skip


def _microseconds(model: Callable[[Tensor], Tensor], images: Tensor) -> float:
    """For one image."""
    model(images)
    # The processor's own time, which counts no other program's.
    start, calls = time.process_time(), 0
    while (took := time.process_time() - start) < TURN_SECONDS or calls < 2:
        model(images)
        calls += 1
    return 1e6 * took / calls / len(images)


def save(times: Times, path: Path = TIMES) -> None:
    text = msgspec.json.format(msgspec.json.encode(times), indent=1)
    data.write_atomically(path, text + b"\n")


def load(path: Path = TIMES) -> Times:
    """Raises MnistStepsError when there are none, or none that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Times)
    except (OSError, ValueError) as error:
        raise MnistStepsError(
            f"{path} cannot be read as times of networks ({error!r}). Make it with: "
            "python tests/benchmarks/bench_roads.py"
        ) from error
