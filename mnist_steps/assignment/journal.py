"""The journal of a grading: what is done stays done, whatever happens next.

One small JSON file for each outcome, named by the digest of all that decided it. Two students who
hand in the same network share one; a changed submission, recipe or seed makes exactly its own
anew.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from mnist_steps.data import write_atomically
from mnist_steps.errors import MnistStepsError

FORMAT = 1


class Keyed(Protocol):
    """A task; key: names its outcome's file"""

    @property
    def key(self) -> str: ...

    @property
    def name(self) -> str: ...


class KeyedOutcome(Protocol):
    @property
    def key(self) -> str: ...

    @property
    def headline(self) -> str: ...


KO = TypeVar("KO", bound=KeyedOutcome)


class Journal(Generic[KO]):
    """Outcomes of one kind in a folder, as `batch.perform_all` keeps them."""

    def __init__(self, folder: Path, kind: type[KO]) -> None:
        self.folder, self.kind = folder, kind

    def path(self, of: Keyed | KO) -> Path:
        return self.folder / f"{of.key}.json"

    def get(self, task: Keyed) -> KO | None:
        """None unless it is done. Raises MnistStepsError when its file is damaged."""
        path = self.path(task)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content.pop("format") > FORMAT:
                raise MnistStepsError(f"{path} is of a later version: update mnist_steps.")
            outcome = self.kind(**content)
            if outcome.key != task.key:
                raise ValueError("it is another task's")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise MnistStepsError(
                f"{path} cannot be read ({error!r}). Delete it to make it again."
            ) from error
        return outcome

    def put(self, outcome: KO) -> None:
        described: dict[str, Any] = {"format": FORMAT, **asdict(outcome)}  # type: ignore[call-overload]
        write_atomically(self.path(outcome), (json.dumps(described, indent=1) + "\n").encode())

    def check_writable(self) -> None:
        """Raises MnistStepsError when outcomes could not be saved: better now than later."""
        write_atomically(self.folder / "README", README.encode())


README = """What was found out about each submission, and how each training went.
Files are named by digests. Keep this folder while you may grade again: what is in here is not
done a second time.
"""
