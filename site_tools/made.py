"""Files that take torch to make: made by a process of its own, and kept.

MkDocs itself should not have to wait for torch. What was made is kept under .cache/ for as long as
the module that makes it, what that imports of the package, and the records stay the same.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError

from site_tools.dependencies import Imports

ROOT = Path(__file__).parents[1]


def project_of(config: MkDocsConfig) -> Path:
    """The folder in which mkdocs.yml lies."""
    return Path(config.config_file_path).resolve().parent


def cache_of(config: MkDocsConfig, name: str) -> Path:
    """The folder for what a module of this name makes."""
    return project_of(config) / ".cache" / name


def kept(cache: Path, module: str, what: str) -> Path:
    """The folder with today's files; made now when what they depend on changed.

    cache: a folder for this module alone
    module: such as 'site_tools.playground_assets'; run with a folder, it writes the files there
    what: they are, for the PluginError that is raised when they cannot be made
    """
    folder = cache / digest(ROOT, module)[:24]
    if folder.is_dir():
        return folder
    shutil.rmtree(cache, ignore_errors=True)
    unfinished = cache / "unfinished"
    done = subprocess.run(
        [sys.executable, "-m", module, str(unfinished)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    if done.returncode:
        raise PluginError(f"{what} could not be made:\n{done.stderr}")
    unfinished.rename(folder)
    return folder


def write(files: Callable[[Path], None]) -> None:
    """What such a module does when it is run: write its files, or say in a line why it cannot."""
    from mnist_steps.errors import MnistStepsError

    try:
        files(Path(sys.argv[1]))
    except MnistStepsError as error:
        sys.exit(f"{type(error).__name__}: {error}")


def digest(project: Path, module: str) -> str:
    """Of the module, and of all that it imports and reads of the package in this project."""
    file = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    return Imports(project, ["mnist_steps"]).digest(file.read_text(encoding="utf-8"))
