"""Submissions that the tests of the assignment hand in, and what stands in for slow parts."""

import functools
import html
import os
import re
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from mnist_steps import data
from mnist_steps.assignment import grading, inner, sandbox, trainings
from mnist_steps.assignment.rules import Assignment

FILES = {"model.py": "m = 1\n", "recipe.toml": "batch_size = 64\n", "REPORT.md": "# Report\n"}

RECIPE = """
batch_size = 64
epochs = 15
[optimizer]
name = "SGD"
lr = 0.01
momentum = 0.9
[schedule]
name = "OneCycle"
max_lr = 0.1
[[augmentation]]
name = "RandomRotation"
degrees = 7.0
"""

SECTIONS = """## Step 1: smaller
### Target
a
### Results
Parameters: 7,884
Accuracy: 99.35 %
### Analysis
b
"""

SMALL = """
from torch import nn
def build_model():
    return nn.Sequential(nn.Conv2d(1, 4, 5, stride=4), nn.ReLU(), nn.Flatten(),
                         nn.Linear(144, 10), nn.LogSoftmax(dim=1))
"""
GOOD = {
    "model.py": SMALL,
    "recipe.toml": RECIPE,
    "REPORT.md": SECTIONS.replace("7,884", "1,554")
    + "## Receptive field\n| layer | field |\n|--|--|\n| 0 | 5 |\n| 3 | 25 |\n",
}
RULES = Assignment(accuracy=60, accuracy_from=5, last_epochs=1, seeds=2, pass_mark=40, macs=100_000)
QUICK = GOOD | {"recipe.toml": GOOD["recipe.toml"].replace("epochs = 15", "epochs = 1")}
CRASHING = QUICK | {"model.py": "raise ValueError('<script>boo</script>')\n"}


def write_folder(folder, files=FILES):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def write_zip(place, entries):
    place.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return place


def with_few_images(monkeypatch):
    """A data set of 256 training and 100 test images, for what must train but need not learn."""
    everything = data.mnist()
    few = data.Mnist(everything.full_train[:256], everything.test[:100])
    monkeypatch.setattr(data, "mnist", functools.cache(lambda: few))
    monkeypatch.setattr(data, "TRAIN_SIZE", 256)
    monkeypatch.setattr(data, "TEST_SIZE", 100)
    # In this process, which has them; the process that trainings have has tests of its own.
    monkeypatch.setattr(trainings, "apart", trainings.make)


def without_a_jail(monkeypatch):
    """Trace the test's own code in this process: the jail has tests of its own."""

    def trace(source, unsafe=False):
        answer = inner.outcome(source, (1, 28, 28))
        if answer[:1] == b"P":
            raise sandbox.TraceFailed(answer[1:].decode())
        return sandbox.Traced(answer[1:], "", "bubblewrap")

    monkeypatch.setattr(sandbox, "trace", trace)


def believing_in_a_jail(monkeypatch):
    described = {"level": "bubblewrap", "version": "bubblewrap 1"}
    monkeypatch.setattr(sandbox, "describe", lambda: described)
    monkeypatch.setattr(sandbox, "level", lambda: "bubblewrap")


def grade_class(folder, assignment=RULES, manual=None, **settings):
    """Grade folder/class into folder/grades."""
    with ThreadPoolExecutor(1) as executor:
        return grading.grade(
            folder / "class", folder / "grades", assignment, executor, executor,
            grading.Settings(progress=False, **settings), manual,
        )  # fmt: skip


def by_name(graded):
    return {one.entry.name: one for one in graded.grades}


def there_is(level):
    """Skip the test where there is no such jail, but not in continuous integration."""
    problem = sandbox.problem_with(level)
    if problem is not None and os.environ.get("CI") != "true":
        pytest.skip(f"no jail here: {problem}")
    assert problem is None, f"continuous integration must have {level}"


def cells(page):
    """The rows of a page's tables, as text."""
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", page, flags=re.DOTALL)
    return [
        [html.unescape(re.sub("<[^>]*>", "", cell)).strip()
         for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, flags=re.DOTALL)]
        for row in rows
    ]  # fmt: skip
