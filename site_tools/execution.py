"""Execute pages: each in a kernel of its own, several at a time.

mkdocs-jupyter can execute pages too, but one after the other, and its report of a failing
cell does not say which cell it was.
"""

import asyncio
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import jupytext
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from site_tools import kernels
from site_tools.formulas import FormulaError

SECONDS_PER_CELL = 300
ANSI_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
IMAGE_WITHOUT_TEXT = re.compile(r"<img\b(?![^>]*\balt=)|!\[\s*\]\(")


T = TypeVar("T")


class PageError(Exception):
    """A page that cannot be built: the message names the page and the cell."""


def execute_all(
    pages: list[Path], folder: Path, imports: list[str], then: Callable[[NotebookNode], T]
) -> list[T | PageError]:
    """What `then` makes of each page's notebook with outputs; a failing page gives its error.

    In the order given. A page whose formula `then` cannot convert fails, too.
    folder: where the code runs
    imports: libraries that several pages use, to be imported once for all
    """
    # More kernels than this only compete for memory; each one holds torch and the data set.
    at_once = max(1, min(4, len(pages), os.cpu_count() or 1))
    with asyncio.Runner(loop_factory=_loop) as runner:
        return runner.run(_execute_all(pages, folder, imports, then, at_once))


def _loop() -> asyncio.AbstractEventLoop:
    """A loop in which Ctrl-C is the build's (hooks.py).

    nbclient's own handler would end one kernel, and the build would say that this page failed.
    """
    loop = asyncio.new_event_loop()

    def refuse(*_: object) -> None:
        raise NotImplementedError

    loop.add_signal_handler = refuse  # type: ignore[assignment, method-assign]
    return loop


async def _execute_all(
    pages: list[Path],
    folder: Path,
    imports: list[str],
    then: Callable[[NotebookNode], T],
    at_once: int,
) -> list[T | PageError]:
    free = asyncio.Semaphore(at_once)
    # One thread each: these networks are so small that two wait for each other.
    environment = {"OMP_NUM_THREADS": "1"} | os.environ

    async def one(page: Path) -> T | PageError:
        async with free:
            try:
                notebook = await _execute(page, folder, imports, environment)
            except PageError as error:
                return error
        try:
            return then(notebook)  # while other kernels compute
        except FormulaError as error:
            return PageError(f"{_name(page)}: {error}")

    return await asyncio.gather(*(one(page) for page in pages))


async def _execute(
    page: Path, folder: Path, imports: list[str], environment: dict[str, str]
) -> NotebookNode:
    notebook = jupytext.read(page)
    position = 0

    def remember(cell: NotebookNode, cell_index: int) -> None:
        nonlocal position
        position = cell_index

    client = NotebookClient(
        notebook,
        km=kernels.manager(imports),
        # A page that trains may take hours; otherwise a hanging cell must not hang the build.
        timeout=None if os.environ.get("MNIST_STEPS_TRAIN") else SECONDS_PER_CELL,
        resources={"metadata": {"path": str(folder)}},
        on_cell_start=remember,
        coalesce_streams=True,  # one box for what a cell prints, however it was flushed
        extra_arguments=["--log-level=ERROR"],  # kernels warn that they listen on this machine
    )
    try:
        await client.async_execute(env=environment, cleanup_kc=True)
    except CellExecutionError as error:
        traceback = ANSI_COLOUR.sub("", error.traceback)
        problem = f"{error.ename}: {error.evalue}"
        if error.ename == "NoneType":  # raised while a value was shown: only the traceback tells
            problem = traceback.rstrip().splitlines()[-1]
        raise PageError(
            f"{_place(page, notebook, position)} raised {problem}\n{traceback}"
        ) from error
    except CellTimeoutError as error:
        raise PageError(
            f"{_place(page, notebook, position)} took more than {SECONDS_PER_CELL} s"
        ) from error
    except DeadKernelError as error:
        raise PageError(
            f"{_place(page, notebook, position)} ended its process; out of memory?"
        ) from error
    _demand_texts(page, notebook)
    return notebook


def _demand_texts(page: Path, notebook: NotebookNode) -> None:
    """Raise PageError when an image has no text for those who cannot see it.

    Here and not in the finished page, because nbconvert gives such images a text without content.
    """
    for position, cell in enumerate(notebook.cells):
        markup = [cell.source] if cell.cell_type == "markdown" else []
        silent = False
        for output in cell.get("outputs", []):
            content = output.get("data", {})
            if "text/html" in content or "text/markdown" in content:  # then a page shows that
                markup += [content.get("text/html", ""), content.get("text/markdown", "")]
                continue
            silent |= any(
                kind.startswith("image/") and not output.metadata.get(kind, {}).get("alt")
                for kind in content
            )
        if silent or any(IMAGE_WITHOUT_TEXT.search(text) for text in markup):
            raise PageError(
                f"{_place(page, notebook, position)} shows an image without alt text; "
                "show it with mnist_steps.figures"
            )


def _place(page: Path, notebook: NotebookNode, position: int) -> str:
    """Such as 'stages/03_lighter.py, cell 7 of 20 (line 88)'."""
    source = notebook.cells[position].source
    before, found, _ = page.read_text(encoding="utf-8").partition(source)
    line = f" (line {before.count(chr(10)) + 1})" if found and source else ""
    return f"{_name(page)}, cell {position + 1} of {len(notebook.cells)}{line}"


def _name(page: Path) -> str:
    return "/".join(page.parts[-2:])
