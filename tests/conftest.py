"""Fixtures that several test modules share."""

import dataclasses
import json

import pytest
import torch

from mnist_steps import data, graph, stages
from mnist_steps.assignment import sandbox


@pytest.fixture(autouse=True)
def one_thread():
    """The same rounding in every test, and no fight over cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """A cache folder of the test's own."""
    monkeypatch.setenv("MNIST_STEPS_DATA", str(tmp_path / "cache"))
    data.mnist.cache_clear()
    yield tmp_path / "cache"
    data.mnist.cache_clear()


@pytest.fixture
def short_stage():
    """Stage 8 with two epochs."""
    stage = stages.get(8)
    return dataclasses.replace(stage, recipe=dataclasses.replace(stage.recipe, epochs=2))


@pytest.fixture
def few_digits():
    return data.mnist().full_train[:2048]


@pytest.fixture
def few_images(monkeypatch):
    """A data set of 256 training and 100 test images, for what must train but need not learn."""
    everything = data.mnist()
    few = data.Mnist(everything.full_train[:256], everything.test[:100])
    monkeypatch.setattr(data, "mnist", lambda: few)


@pytest.fixture
def trace_without_jail(monkeypatch):
    """Trace the test's own code in this process: the jail has tests of its own."""

    def trace(source, unsafe=False):
        from mnist_steps.assignment import inner

        found = graph.trace(inner.make_model(source), (1, 28, 28)).as_data()
        return sandbox.Traced(json.dumps(found).encode(), "", "bubblewrap")

    monkeypatch.setattr(sandbox, "trace", trace)
