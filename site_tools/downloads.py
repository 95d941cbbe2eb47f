"""The notebook that belongs to a page: the same cells, ready for Jupyter and Colab."""

from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from site_tools.rendering import FOLDS

# pip keeps what it is told to keep: Colab's torch fits Colab's GPU driver, another may not.
INSTALL = """\
# Install the package of these pages when it is missing; an installed torch stays as it is.
from importlib.metadata import version
from importlib.util import find_spec

if find_spec("mnist_steps") is None:
    keep = [f"{{name}}=={{version(name)}}" for name in ("torch", "torchvision") if find_spec(name)]
    %pip install --quiet "mnist-steps @ git+{repository}" {{" ".join(keep)}}\
"""


def notebook_of(page: Path, repository: str) -> str:
    """The page as the text of an .ipynb file, without outputs.

    repository: the project's address; without one the notebook cannot install the package
    """
    notebook = jupytext.read(page)
    notebook.cells = [cell for cell in notebook.cells if cell.cell_type != "raw"]
    if repository:
        notebook.cells.insert(0, new_code_cell(INSTALL.format(repository=repository)))
    for number, cell in enumerate(notebook.cells):
        _fold(cell)
        cell["id"] = f"cell-{number}"  # otherwise random, and every build would differ
    notebook.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    nbformat.validate(notebook)
    return nbformat.writes(notebook)


def _fold(cell: NotebookNode) -> None:
    """Close what the page closes: text by a fold that Jupyter and Colab show, code by settings.

    JupyterLab and Notebook read one setting, Colab the other; the cell's output shows either way.
    """
    tags = set(cell.metadata.get("tags", []))
    fold = next((name for name in ("hint", "solution") if name in tags), None)
    if cell.cell_type == "markdown" and fold:
        summary = f"<details><summary>{FOLDS[fold]}</summary>"
        cell.source = f"{summary}\n\n{cell.source}\n\n</details>"
    elif cell.cell_type == "code" and tags & {"hide-input", "fold", "solution", "audit"}:
        cell.metadata["jupyter"] = {"source_hidden": True}
        cell.metadata["cellView"] = "form"


def colab_address(repository: str, name: str) -> str:
    """Where Colab opens a notebook of the `notebooks` branch; empty when not on GitHub.

    name: of the page's file without its ending, such as 'stages/03_lighter'
    """
    host = "https://github.com/"
    if not repository.startswith(host):
        return ""
    project = repository.removeprefix(host).removesuffix(".git").strip("/")
    return f"https://colab.research.google.com/github/{project}/blob/notebooks/{name}.ipynb"
