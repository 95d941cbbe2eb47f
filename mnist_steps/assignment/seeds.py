"""The secret numbers of a grading, and what each run starts from."""

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

from mnist_steps import runs
from mnist_steps.assignment import copies
from mnist_steps.assignment.findings import one_line
from mnist_steps.assignment.rebuild import Network
from mnist_steps.errors import MnistStepsError
from mnist_steps.recipes import Recipe

FORMAT = 1
MOST_SEEDS = 20  # that an assignment may ask for; all are drawn at once
LARGEST_SEED = (1 << 63) - 1  # what torch and JSON readers take as a whole number


def seeds_of(out: Path, count: int, chosen: Sequence[int] | None = None) -> list[int]:
    """The grading's secret seeds: drawn once, kept in the folder, the same at every later start.

    chosen: use and keep these instead, to repeat another grading
    Raises MnistStepsError when they are too few, or when the kept ones cannot be read.
    """
    if chosen and len(chosen) < count:
        raise MnistStepsError(
            f"found {len(chosen)} seed(s) for a grading with {count}: give as many as the grading "
            "had that you repeat, or set fewer in assignment.toml."
        )
    file = out / "seeds.json"
    if chosen:
        _write_secretly(file, chosen, os.replace)
        return list(chosen)
    drawn = [secrets.randbelow(LARGEST_SEED + 1) for _ in range(MOST_SEEDS)]
    if not os.path.lexists(file):
        _write_secretly(file, drawn, _put_unless_there)
    try:
        kept = [int(seed) for seed in json.loads(file.read_text(encoding="utf-8"))["seeds"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise MnistStepsError(
            f"{file} cannot be read ({one_line(repr(error))}): delete it to draw new seeds."
        ) from error
    if len(kept) < count:  # those of a grading with `--seeds`, and now there have to be more
        kept += drawn[len(kept) :]
        _write_secretly(file, kept, os.replace)
    return kept[:count]


def _write_secretly(file: Path, seeds: Sequence[int], put: Callable[[Path, Path], None]) -> None:
    written = file.with_name(f".seeds-{secrets.token_hex(8)}")
    text = json.dumps({"format": FORMAT, "seeds": list(seeds)}) + "\n"
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        written.touch(mode=0o600)
        written.write_text(text, encoding="utf-8")
        put(written, file)
    except OSError as error:
        raise MnistStepsError(f"cannot write {file} ({error.strerror or error}).") from error
    finally:
        written.unlink(missing_ok=True)


def _put_unless_there(written: Path, file: Path) -> None:
    """Of two gradings that start together one is first; both go by what it wrote."""
    try:
        os.link(written, file)
    except FileExistsError:
        pass
    except OSError:  # some shared folders know no links
        os.replace(written, file)


def seed_of_run(secret: int, network: Network, recipe: Recipe) -> int:
    """The number that a run starts from: made of a secret seed and of what is trained.

    torch takes only 32 bits, which a student could try out, all of them, with a network made for
    it, until the accuracies on the feedback page come out. So nobody else's run starts from the
    same number, nor does any other network of this student, and it leads back to no secret seed.
    """
    trained = runs.digest([copies.structure(network.graph), recipe.as_data()])
    return int(hashlib.sha256(f"{secret} {trained}".encode()).hexdigest()[:8], 16)
