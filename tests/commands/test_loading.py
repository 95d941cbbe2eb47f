"""Naming a network of one's own on the command line, and what is said when that fails."""

import sys

import pytest
from torch import nn

from mnist_steps.commands.loading import load_model
from mnist_steps.errors import MnistStepsError

CODE = """
import helper_of_mine
from torch import nn


class Outer:
    class Inner(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Conv2d(1, helper_of_mine.CHANNELS, 3))

    ready = Inner()


def factory():
    return nn.Conv2d(1, 2)  # too few arguments


def with_width(width):
    return nn.Linear(width, 1)


def stops():
    raise SystemExit("no data")


def nothing():
    pass
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder of the reader's: a network, and a module that it imports."""
    for name, code in {
        "mine": CODE,
        "helper_of_mine": "CHANNELS = 5",
        "json": "class Net: pass",
        "missing": "import surely_not_installed",
        "wrong": "class Net(:\n",
        "fails": "1 / 0",
    }.items():
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.endswith((".py", "mine", "missing", "wrong", "fails")):
            del sys.modules[name]


@pytest.mark.parametrize("place", ["mine", "./mine.py", "mine.py", "{folder}/mine.py"])
@pytest.mark.parametrize("attribute", ["Outer.Inner", "Outer.ready"])
def test_a_network_is_found_in_a_module_a_file_and_a_class(mine, place, attribute):
    model = load_model(f"{place.format(folder=mine)}:{attribute}")
    assert isinstance(model, nn.Sequential)
    assert model[0].out_channels == 5


@pytest.mark.parametrize(
    ("name", "said", "at"),
    [
        (
            "./mine.py:factory",
            "'./mine.py:factory' was called and failed: TypeError: ",
            "mine.py:15",
        ),
        ("mine:stops", "'mine:stops' was called and failed: SystemExit: no data", "mine.py:23"),
        ("missing:Net", "ModuleNotFoundError: No module named 'surely_not", "missing.py:1"),
        ("./fails.py:Net", "cannot be imported: ZeroDivisionError", "fails.py:1"),
        ("wrong:Net", "cannot be imported: SyntaxError", "wrong.py, line 1"),
    ],
)
def test_code_that_fails_is_told_with_its_own_words_and_line(mine, name, said, at):
    with pytest.raises(MnistStepsError) as raised:
        load_model(name)
    assert said in str(raised.value)
    assert at in str(raised.value)
    assert "without arguments" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("./mine.py:with_width", r"without arguments \(missing a required argument: 'width'\)"),
        ("./mine.py:Nothing", "has no attribute 'Nothing'"),
        ("./mine.py:Outer.Other", "type object 'Outer' has no attribute 'Other'"),
        ("./mine.py:nothing", "gave a NoneType, expected a torch.nn.Module"),
        ("./mine.txt:Outer", "there is no Python file ./mine.txt"),
        ("mine.Outer:Inner", "'mine.Outer:Inner' cannot be imported: No module named 'mine.Outer'"),
    ],
)
def test_what_is_not_there_or_no_network_is_told(mine, name, said):
    with pytest.raises(MnistStepsError, match=said):
        load_model(name)


def test_a_file_hides_no_module_of_its_name(mine):
    import json

    with pytest.raises(MnistStepsError, match="gave a Net, expected a torch.nn.Module"):
        load_model("./json.py:Net")
    assert sys.modules["json"] is json
