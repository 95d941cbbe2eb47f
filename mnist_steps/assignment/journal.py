"""The journal of a grading: what is done stays done, whatever happens next.

One small JSON file for each outcome, named by the digest of all that decided it. Two students who
hand in the same network share one; a changed submission, recipe or seed makes exactly its own
anew. A file that cannot be read, for whatever reason, is put aside, and its outcome made again.
"""

import contextlib
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from mnist_steps.assignment.findings import one_line
from mnist_steps.data import json_bytes, write_atomically

FORMAT = 1


class Keyed(Protocol):
    """A task; name: what messages call it; key: names its outcome's file"""

    @property
    def key(self) -> str: ...

    @property
    def name(self) -> str: ...


class KeyedOutcome(Protocol):
    @property
    def key(self) -> str: ...

    @property
    def headline(self) -> str: ...

    def proven(self) -> None:
        """Raises an exception when fields of the right types say what cannot be."""


KO = TypeVar("KO", bound=KeyedOutcome)


class Journal(Generic[KO]):
    """Outcomes of one kind in a folder, as `tasks.perform_all` keeps them."""

    def __init__(self, folder: Path, kind: type[KO]) -> None:
        self.folder, self.kind = folder, kind

    def path(self, of: Keyed | KO) -> Path:
        return self.folder / f"{of.key}.json"

    def get(self, task: Keyed) -> KO | None:
        """None unless it is done, and can be read; one line on stderr says why it cannot."""
        path = self.path(task)
        try:
            content = path.read_bytes()
            if msgspec.json.decode(content, type=dict[str, Any]).get("format") != FORMAT:
                raise ValueError("it has another format")
            outcome = msgspec.json.decode(content, type=self.kind)  # types too, of every field
            if outcome.key != task.key:
                raise ValueError("it is another task's")
            outcome.proven()
        except FileNotFoundError:
            return None
        except Exception as error:  # whatever is wrong with it, making it again mends it
            aside = path.with_suffix(".damaged")
            with contextlib.suppress(OSError):
                os.replace(path, aside)
            print(
                f"{path} cannot be read ({type(error).__name__}: {one_line(error)}): its outcome "
                f"is made again, and it is kept as {aside.name}.",
                file=sys.stderr,
            )
            return None
        return outcome

    def put(self, outcome: KO) -> None:
        described: dict[str, Any] = {"format": FORMAT, **asdict(outcome)}  # type: ignore[call-overload]
        write_atomically(self.path(outcome), json_bytes(described))

    def check_writable(self) -> None:
        """Raises MnistStepsError when outcomes could not be saved: better now than later."""
        write_atomically(self.folder / "README", README.encode())


README = """What was found out about each submission, and how each training went.
Files are named by digests. Keep this folder while you may grade again: what is in here is not
done a second time.
"""
