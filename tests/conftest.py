"""Fixtures that several test modules share.

They import torch and the package only when a test asks for them. Where several processes run tests,
one more hands these out: it reads this file, too, and the others wait for it.
"""

import dataclasses
import functools
import os
import sys

import pytest
from browser import address, browser, pytest_terminal_summary, visit  # noqa: F401, fixtures

# Where these are set, for the site that is put online, tests still decide addresses themselves.
for variable in ("MNIST_STEPS_REPOSITORY", "MNIST_STEPS_SITE_URL"):
    os.environ.pop(variable, None)


@pytest.fixture(autouse=True)
def one_thread():
    """The same rounding in every test, and no fight over cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """A cache folder of the test's own, in a place with a space and an umlaut, as people have."""
    from mnist_steps import data

    monkeypatch.setenv("MNIST_STEPS_DATA", str(tmp_path / "für später"))
    data.mnist.cache_clear()
    yield tmp_path / "für später"
    data.mnist.cache_clear()


@pytest.fixture
def short_stage():
    """Stage 8 with two epochs."""
    from mnist_steps import stages

    stage = stages.get(8)
    return dataclasses.replace(stage, recipe=dataclasses.replace(stage.recipe, epochs=2))


@pytest.fixture
def few_digits():
    from mnist_steps import data

    return data.mnist().full_train[:2048]


@pytest.fixture
def few_images(monkeypatch):
    from handed_in import with_few_images

    with_few_images(monkeypatch)


@pytest.fixture
def trace_without_jail(monkeypatch):
    from handed_in import without_a_jail

    without_a_jail(monkeypatch)


@pytest.fixture
def mnist_steps_command(monkeypatch, capsys):
    """Run `mnist-steps` with arguments; returns (exit status, stdout, stderr)."""
    from mnist_steps.commands import main

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["mnist-steps", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main.main()
        printed = capsys.readouterr()
        return stop.value.code or 0, printed.out, printed.err

    return run


@pytest.fixture
def assignment_command(mnist_steps_command):
    return functools.partial(mnist_steps_command, "assignment")
