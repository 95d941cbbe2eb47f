"""Fixtures that several test modules share."""

import dataclasses

import pytest
import torch
from browser import address, browser, pytest_terminal_summary, visit  # noqa: F401, fixtures

from mnist_steps import data, stages


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
