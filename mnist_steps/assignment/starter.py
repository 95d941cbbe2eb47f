"""A folder to begin with: it runs, it does not pass, and the check says why."""

from pathlib import Path

from mnist_steps.assignment.findings import one_line
from mnist_steps.data import write_atomically
from mnist_steps.errors import MnistStepsError

STARTER = Path(__file__).with_name("starter")
FILES = ("model.py", "recipe.toml", "REPORT.md", "assignment.toml")


def write(folder: Path) -> None:
    """Copy the starter's files; the folder is made when missing.

    Raises MnistStepsError rather than overwriting anything.
    """
    there = [name for name in FILES if (folder / name).exists() or (folder / name).is_symlink()]
    if there:
        raise MnistStepsError(
            f"{one_line(folder)} already has {', '.join(there)}, and nothing is overwritten: "
            "name another folder."
        )
    for name in FILES:
        write_atomically(folder / name, (STARTER / name).read_bytes())
