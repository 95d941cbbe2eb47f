"""The notebooks that pages are downloaded as: they install what is missing, and run.

MNIST_STEPS_SITE=site names a built site, whose notebooks are executed, each in a kernel of its own.
As in a build of the site, these begin as copies of a process that has imported the large libraries.
Without a site only the first cell is tested.
"""

import importlib.util
import os
from importlib.metadata import version
from pathlib import Path

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from nbclient import NotebookClient

from site_tools import downloads, kernels

ROOT = Path(__file__).parents[2]
PROJECT = "https://github.com/owner/steps"
SITE = os.environ.get("MNIST_STEPS_SITE")
NOTEBOOKS = sorted(Path(SITE).resolve().rglob("*.ipynb")) if SITE else []
LARGE = ["torch", "torch._dynamo", "matplotlib.figure"]


@pytest.fixture
def installed(monkeypatch):
    """Run the first cell of a page's notebook where some packages are; returns pip's arguments."""

    def run(*present):
        def find_spec(name):
            return object() if name in present else None

        monkeypatch.setattr(importlib.util, "find_spec", find_spec)
        asked = []
        shell = InteractiveShell()
        shell.register_magic_function(asked.append, magic_name="pip")
        text = downloads.notebook_of(ROOT / "docs/stages/08_lr_scheduler.py", PROJECT)
        first = nbformat.reads(text, as_version=4).cells[0]
        shell.run_cell(first.source).raise_error()
        return asked

    return run


def test_the_first_cell_installs_the_package_and_keeps_the_torch_that_is_there(installed):
    (asked,) = installed("torch", "torchvision")
    assert f'"mnist-steps @ git+{PROJECT}"' in asked
    assert asked.endswith(f"torch=={version('torch')} torchvision=={version('torchvision')}")


def test_the_first_cell_lets_pip_choose_a_torch_where_there_is_none(installed):
    (asked,) = installed()
    assert asked.rstrip().endswith(f'git+{PROJECT}"')


def test_the_first_cell_does_nothing_where_the_package_is(installed):
    assert installed("mnist_steps", "torch", "torchvision") == []


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom_in_a_fresh_kernel(notebook, tmp_path):
    content = nbformat.read(notebook, as_version=4)
    assert not any(cell.get("outputs") for cell in content.cells)
    NotebookClient(
        content,
        km=kernels.manager(LARGE),
        timeout=600,
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute(env={"OMP_NUM_THREADS": "1"} | os.environ, cleanup_kc=True)
    assert any(cell.get("outputs") for cell in content.cells)
    assert list(tmp_path.iterdir()) == [], "a notebook leaves no files behind"
