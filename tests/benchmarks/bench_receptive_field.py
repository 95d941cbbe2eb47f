"""How long the layer table takes, beside torchinfo, torchsummary and torchscan.

Run it from the repository's root:

    python tests/benchmarks/bench_receptive_field.py [FILE.json]

The guide to receptive fields shows mnist_steps/records/benchmarks/receptive_field.json.
Each figure is the best of three, in seconds of processor time, so that other work on the machine
counts little; the first call in a process, in which torch imports parts of itself, is left out.
Tools that are not installed are skipped (torchsummary and torchscan are on PyPI); a tool that
fails on a network gets its exception's name. torchinfo and torchsummary know no receptive fields.
"""

import contextlib
import importlib
import io
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from torch import nn

from mnist_steps import receptive_field, stages, summary, training

Tool = Callable[[nn.Module, tuple[int, ...]], object]

IMAGENET = [
    "resnet18",
    "resnet50",
    "googlenet",
    "densenet121",
    "mobilenet_v3_small",
    "convnext_tiny",
]


def networks() -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    found: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
        f"stage {number}": (stages.get(number).build(), (1, 28, 28)) for number in (1, 8)
    }
    for name in IMAGENET:
        options = {"init_weights": False} if name == "googlenet" else {}
        model = torchvision.models.get_model(name, weights=None, **options)
        found[name] = (model.eval(), (3, 224, 224))
    return found


def tools() -> dict[str, Tool]:
    found: dict[str, Tool] = {
        "analyze": receptive_field.analyze,
        "summarize": summary.summarize,
    }
    with contextlib.suppress(ImportError):
        torchinfo = importlib.import_module("torchinfo")
        found["torchinfo"] = lambda model, shape: torchinfo.summary(
            model, (1, *shape), device="cpu", verbose=0
        )
    with contextlib.suppress(ImportError):
        torchsummary = importlib.import_module("torchsummary")
        found["torchsummary"] = lambda model, shape: torchsummary.summary(
            model, shape, device="cpu"
        )
    with contextlib.suppress(ImportError):
        torchscan = importlib.import_module("torchscan")
        found["torchscan"] = lambda model, shape: torchscan.summary(
            model, shape, receptive_field=True
        )
    return found


def best_of_three(tool: Tool, model: nn.Module, shape: tuple[int, ...]) -> str:
    times = []
    for _ in range(3):
        start = time.process_time()
        try:
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tool(model, shape)
        except Exception as error:  # another tool's failure is a result here
            return type(error).__name__
        times.append(time.process_time() - start)
    return f"{min(times):.3f}"


def main() -> None:
    torch.set_num_threads(1)
    columns = tools()
    print(f"torch {torch.__version__}, one thread, seconds of processor time, best of three")
    print(f"{'':20}" + "".join(f"{name:>18}" for name in columns))
    rows = {}
    for name, (model, shape) in networks().items():
        rows[name] = {column: best_of_three(tool, model, shape) for column, tool in columns.items()}
        print(f"{name:20}" + "".join(f"{cell:>18}" for cell in rows[name].values()), flush=True)
    if len(sys.argv) > 1:
        environment = training.describe_environment(torch.device("cpu"), ())
        content = {
            "date": environment.date,
            "processor": environment.processor,
            "torch": environment.torch,
            "seconds": rows,
        }
        Path(sys.argv[1]).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
