"""What a page depends on: the modules that it imports, the data beside them, and what shows them.

The import graph is read by grimp, which looks at every module and runs none; imports inside
functions count. What Python runs on the way counts too: `import a.b` runs `a/__init__.py` and all
that it imports. An import by a string does not: strings name what other processes do, such as a
model that they train, and pages show what came of that from records.
"""

import ast
import hashlib
import importlib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import grimp.exceptions
import jupytext
from mkdocs.exceptions import PluginError

# What shows on an executed page without being in one of our files.
LIBRARIES = ("torch", "torchvision", "numpy", "matplotlib", "ipykernel", "jupytext", "nbclient",
             "nbconvert", "pygments", "mkdocs-jupyter")  # fmt: skip


class Imports:
    """The packages of a project as they are now, and what code depends on in them."""

    def __init__(self, project: Path, packages: Sequence[str]) -> None:
        """Raises PluginError when a module cannot be read.

        project: the folder in which the packages lie
        """
        self.project = project
        sys.path.insert(0, str(project))
        importlib.invalidate_caches()  # `mkdocs serve` builds again and again in one process
        try:
            # No cache: one that goes by the time of a file could miss an edit.
            self.graph = (
                grimp.build_graph(*packages, exclude_type_checking_imports=True, cache_dir=None)
                if packages
                else grimp.ImportGraph()
            )
        except grimp.exceptions.SourceSyntaxError as error:
            raise PluginError(str(error)) from error
        finally:
            sys.path.remove(str(project))
        self._digests: dict[str, str] = {}  # by the module's name

    def modules(self, code: str) -> set[str]:
        """The names of all modules of the packages that may be imported when the code runs."""
        try:
            waiting = list(_imported(code))
        except SyntaxError:  # such as a command of IPython's: nobody knows what it imports
            return set(self.graph.modules)
        found: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name in self.graph.modules and name not in found:
                found.add(name)
                waiting += self.graph.find_modules_directly_imported_by(name)
                waiting.append(name.rpartition(".")[0])
        return found

    def files(self, module: str) -> list[Path]:
        """The module's file; of a package, also the data in its folder."""
        place = self.project.joinpath(*module.split("."))
        if (place / "__init__.py").is_file():
            return sorted([place / "__init__.py", *_data_of(place)])
        return [place.with_suffix(".py")]

    def digest(self, code: str) -> str:
        """Of the code and all files that it depends on."""
        parts = [code]
        for module in sorted(self.modules(code)):
            if module not in self._digests:
                named = [(str(file.relative_to(self.project)), file) for file in self.files(module)]
                self._digests[module] = digest(
                    *(part for name, file in named for part in (name, file.read_bytes()))
                )
            parts += [module, self._digests[module]]
        return digest(*parts)


def digests_of(docs: Path, names: Iterable[str], imports: Imports) -> dict[str, str]:
    """A digest of each page with all that its execution depends on.

    names: the pages' paths under docs
    imports: the packages of ours that pages may import
    """
    tools = sorted(_files_below(Path(__file__).parent))
    surroundings = digest(
        *(part for file in tools for part in (file.name, file.read_bytes())),
        *(f"{name} {_version(name)}" for name in LIBRARIES),
        sys.version,
        os.environ.get("MNIST_STEPS_TRAIN", ""),
    )
    return {
        name: digest(surroundings, name, page.read_bytes(), imports.digest(code_of(page)))
        for name in names
        for page in [docs / name]
    }


def digest(*parts: str | bytes) -> str:
    """Another one whenever a part differs, or their order."""
    result = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        result.update(len(content).to_bytes(8, "big") + content)
    return result.hexdigest()


def _imported(code: str) -> Iterator[str]:
    """What the code's import statements name; `from a import b` may mean a module a.b."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _data_of(package: Path) -> Iterator[Path]:
    """The files in a package's folder that are no modules, those in its plain folders included."""
    for place in package.iterdir():
        if place.is_file():
            if place.suffix != ".py":
                yield place
        elif place.name != "__pycache__" and not (place / "__init__.py").is_file():
            yield from _files_below(place)


def _files_below(folder: Path) -> Iterator[Path]:
    for file in folder.rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts:
            yield file


def code_of(page: Path) -> str:
    """A page in percent format is code as it stands; of one in Markdown, the code cells."""
    if page.suffix == ".py":
        return page.read_text(encoding="utf-8")
    return "\n".join(cell.source for cell in jupytext.read(page).cells if cell.cell_type == "code")


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "none"
