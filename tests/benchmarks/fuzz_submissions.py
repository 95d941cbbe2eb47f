"""Does any upload stop the grading of a class? Corrupt many in many ways, and grade them.

Run it from the repository's root; 20,000 take some minutes and no jail:

    python tests/benchmarks/fuzz_submissions.py [COUNT] [SEED]

Each upload is a good one, a folder or a zip file, that was damaged: bytes and lengths of the
archive, its entries, files' contents and kinds and times, settings, reports, names, and the
description that comes out of the jail. Classes of them are graded and written as `grade` does it;
only the jail and the trainings are stood in for. Counted are exceptions, which would have stopped a
class, and what only the last guard caught. Exit status 1 when there is any of either.
"""

import copy
import io
import json
import os
import random
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

from mnist_steps import graph, stages
from mnist_steps.assignment import (
    checking,
    entries,
    example,
    findings,
    grading,
    outputs,
    rebuild,
    sandbox,
    trainings,
)
from mnist_steps.assignment.rules import Assignment
from mnist_steps.assignment.trainings import TrainingOutcome, TrainingTask

CLASS = 40  # uploads graded together
GOOD = example.files_of(stages.get(8))
GRAPH = graph.trace(stages.get(8).build(), (1, 28, 28)).as_data()
DEEP = 3000

# Numbers that limits are tested with, and pieces of text that some reader may choke on.
NUMBERS = (0, 1, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
PIECES = (
    "\x00", "\r\n", "\ufeff", "\u202e", "\U00017000", "\ud7a3\u0301", "٣", "²", "½", "'''", '"""',
    "[" * DEEP, "{" * DEEP, "a." * DEEP, "= 0x" + "f" * 9000, "= " + "9" * 4000, "= 1e999", "= nan",
    "= -inf", "= 1979-05-27T07:32:00Z", "= 07:32:00", "= true", "= []", "= {}", "= [[[]]]",
    "= {a = {b = 1}}", "[[optimizer]]", "[schedule.a.b]", "[[augmentation]]\n" * 20, "| a | b |\n",
    "|---|---|\n", "## Step 2\n### Target\n", "## Receptive field\n", "Parameters: " + "9" * 50,
    "Accuracy: 100,5", "Accuracy: ٩٩.٤", "| conv1 | 99999×1 |\n", "```\n", "~~~", "#" * 7, "\t",
    "|", "name", "batch_size = 64\n", "epochs = 10\n",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2, 7, 10**6, 10**30, 0.5, 1e308, "", "conv1", "Conv2d", "mean", "(input)",
    [], [1], [1, 1], [0, 0], [64, 64], {}, {"a": 1}, "same", "circular", "add", "cat", "reshape",
)  # fmt: skip


def main(count: int, seed: int) -> int:
    dice = random.Random(seed)
    warnings.simplefilter("ignore")  # of zipfile, which packs a name twice all the same
    caught: list[str] = []
    stand_in(dice, caught)
    statuses: Counter[str] = Counter()
    exceptions: list[str] = []
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(0, count, CLASS):
            place = Path(folder, f"{number}")
            place.mkdir()
            for _ in range(min(CLASS, count - number)):
                upload(dice, place)
            try:
                statuses += grade(place, Path(folder, f"{number}-out"), dice)
            except Exception:
                exceptions.append(traceback.format_exc())
                print(exceptions[-1], file=sys.stderr, flush=True)
            if number % 2000 == 0:
                print(f"{number}: {len(exceptions)}, {len(caught)}", file=sys.stderr, flush=True)
    print(
        json.dumps(
            {
                "uploads": count,
                "seed": seed,
                "seconds": round(time.monotonic() - started),
                "statuses": dict(statuses),
                "exceptions": len(exceptions),
                "caught_by_the_guard_only": len(caught),
            },
            indent=1,
        )
    )
    return 1 if exceptions or caught else 0


def grade(place: Path, out: Path, dice: random.Random) -> Counter[str]:
    with ThreadPoolExecutor(1) as here:
        settings = grading.Settings(progress=False)
        graded = grading.grade(place, out, Assignment(seeds=1), here, here, settings)
        if dice.random() < 0.1:  # most of the time would go into drawing figures
            outputs.write(graded, out)
    return Counter(one.status for one in graded.grades)


def stand_in(dice: random.Random, caught: list[str]) -> None:
    """For the jail and for trainings; and count what the guard catches."""

    def trace(source: str, unsafe: bool = False) -> sandbox.Traced:
        if source != GOOD["model.py"] or dice.random() < 0.2:
            text = json.dumps(GRAPH).encode() if dice.random() < 0.5 else described(dice)
            return sandbox.Traced(text, "", "bubblewrap")
        return sandbox.Traced(json.dumps(GRAPH).encode(), "", "bubblewrap")

    def perform(task: TrainingTask) -> TrainingOutcome:
        accuracies = [round(99 + dice.random(), 2) for _ in range(task.recipe["epochs"])]
        losses: list[float | None] = [0.1] * len(accuracies)
        return TrainingOutcome(task.key, task.seed, accuracies, accuracies, losses, 1.0, {})

    unforeseen = findings.unforeseen

    def counted(error: Exception) -> findings.Finding:
        caught.append("".join(traceback.format_exception(error)))
        print(caught[-1], file=sys.stderr, flush=True)
        return unforeseen(error)

    sandbox.describe = lambda: {"level": "bubblewrap"}
    sandbox.level = lambda: "bubblewrap"
    sandbox.trace = trace
    trainings.perform = perform
    rebuild.read = lru_cache(100)(rebuild.read)
    for module in (checking, entries, grading):
        module.unforeseen = counted  # type: ignore[attr-defined]


# ---- Uploads -------------------------------------------------------------------------------------


def upload(dice: random.Random, place: Path) -> None:
    files = {name: text.encode() for name, text in GOOD.items()}
    for name in dice.sample([*files], dice.choice((0, 1, 1, 1, 2, 3))):
        files[name] = spoilt(dice, files[name])
    target = place / os.fsdecode(named(dice))
    if target.exists():
        return
    if dice.random() < 0.6:
        target = target.with_name(target.name + dice.choice((".zip", ".zip", ".ZIP")))
        content = bytearray(packed(dice, files))
        for _ in range(dice.choice((0, 0, 0, 1, 1, 2, 5))):
            dice.choice(DAMAGES)(dice, content)
        target.write_bytes(content)
    else:
        unpacked(dice, target, files)
    if dice.random() < 0.1:
        when = dice.choice((0, -1, -(1 << 40), 1 << 33, 1 << 34, 253402300800, 1 << 40, 1 << 55))
        for one in (target, *(target.iterdir() if target.is_dir() else ())):
            try:
                os.utime(one, (when, when), follow_symlinks=False)
            except (OSError, OverflowError):
                pass


def named(dice: random.Random) -> bytes:
    kind = dice.random()
    if kind < 0.5:
        return f"student-{dice.randrange(10**9)}".encode()
    if kind < 0.6:  # bytes that are no UTF-8
        name = bytes(dice.choice([*range(1, 47), *range(48, 256)]) for _ in range(20))
    else:
        # Of the second range many letters have no name.
        ranges = [
            dice.choice(((1, 0x110000), (0x16F00, 0x18D10), (0x20, 0x500))) for _ in range(40)
        ]
        letters = (chr(dice.randrange(*one)) for one in ranges[: dice.randrange(1, 40)])
        name = "".join(one for one in letters if one != "/" and not "\ud800" <= one <= "\udfff")
        name = name.encode()
    return (name[:200] or b"x") if name.strip(b".") else b"dots"


def spoilt(dice: random.Random, content: bytes) -> bytes:
    for _ in range(dice.choice((1, 1, 2, 4))):
        place = dice.randrange(len(content) + 1)
        kind = dice.random()
        if kind < 0.6:
            piece = dice.choice(PIECES).encode("utf-8", "surrogatepass")
            lines = content.split(b"\n")
            if kind < 0.3 and b"=" in content:  # in place of a value
                line = dice.randrange(len(lines))
                lines[line] = lines[line].partition(b"=")[0] + piece
                content = b"\n".join(lines)
            else:
                content = content[:place] + piece + content[place:]
        elif kind < 0.7:
            content = content[:place]
        elif kind < 0.8:
            content = content[:place] + dice.randbytes(dice.randrange(1, 9)) + content[place:]
        elif kind < 0.9:
            lines = content.split(b"\n")
            dice.shuffle(lines)
            content = b"\n".join(lines)
        else:
            content = content[:place] + content[place:].replace(*dice.choice(REPLACED))
    return content


REPLACED = ((b"1", b"9"), (b".", b","), (b'"', b"'"), (b"=", b":"), (b"#", b"##"), (b"|", b"||"))


BESIDE = (".DS_Store", "__MACOSX/._model.py", "data/", "x" * 300)  # what is packed as well


def packed(dice: random.Random, files: dict[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", dice.choice((zipfile.ZIP_STORED, 8, 8))) as opened:
        inside = dice.choice(("", "", "work/", "Übung 1/", "__MACOSX/", "a/b/"))
        for name, content in files.items():
            opened.writestr(inside + name, content)
        for _ in range(dice.choice((0, 0, 1, 3))):
            opened.writestr(
                dice.choice((".DS_Store", "__MACOSX/._model.py", "data/", "x" * 300)), "x"
            )
    return archive.getvalue()


def unpacked(dice: random.Random, target: Path, files: dict[str, bytes]) -> None:
    target.mkdir()
    if dice.random() < 0.2:
        target = target / "inside"
        target.mkdir()
    for name, content in files.items():
        kind = dice.random()
        if kind < 0.9:
            (target / name).write_bytes(content)
        elif kind < 0.92:
            (target / name).mkdir()
        elif kind < 0.94:
            (target / name).symlink_to(dice.choice(("/etc/passwd", name, "nowhere")))
        elif kind < 0.96:
            os.mkfifo(target / name)


# ---- Damage to an archive ------------------------------------------------------------------------


def flip(dice: random.Random, content: bytearray) -> None:
    if content:
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)


def cut(dice: random.Random, content: bytearray) -> None:
    del content[dice.randrange(len(content) + 1) :]


def lose(dice: random.Random, content: bytearray) -> None:
    start = dice.randrange(len(content) + 1)
    del content[start : start + dice.randrange(1, 100)]


def double(dice: random.Random, content: bytearray) -> None:
    start = dice.randrange(len(content) + 1)
    content[start:start] = content[start : start + dice.randrange(1, 500)]


def field(dice: random.Random, content: bytearray) -> None:
    """Another number in one of the archive's records: their places are known from signatures."""
    signature = dice.choice((b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x05\x06"))
    starts = [place for place in range(len(content)) if content.startswith(signature, place)]
    if not starts:
        return
    place, wide = dice.choice(starts) + dice.randrange(4, 46), dice.choice(("<H", "<I"))
    if place + struct.calcsize(wide) <= len(content):
        most = (1 << 8 * struct.calcsize(wide)) - 1
        value = dice.choice((dice.choice(NUMBERS), dice.randrange(1 << 16), len(content)))
        struct.pack_into(wide, content, place, value & most)


DAMAGES: tuple[Callable[[random.Random, bytearray], None], ...] = (
    flip, cut, lose, double, field, field, field, field
)  # fmt: skip


# ---- Damage to a description ---------------------------------------------------------------------


def described(dice: random.Random) -> bytes:
    data = json.loads(json.dumps(GRAPH))
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        if not data:
            break
        place, key = (
            data,
            "nodes" if "nodes" in data and dice.random() < 0.8 else dice.choice([*data]),
        )
        while isinstance(place[key], (dict, list)) and place[key] and dice.random() < 0.9:
            place = place[key]
            key = dice.choice([*place] if isinstance(place, dict) else range(len(place)))
        kind = dice.random()
        if kind < 0.7:
            place[key] = copy.deepcopy(dice.choice(VALUES))
        elif kind < 0.85 or not isinstance(place, list):
            del place[key]
        else:
            place.insert(key, copy.deepcopy(place[dice.randrange(len(place))]))
    text = bytearray(json.dumps(data).encode())
    if dice.random() < 0.2:
        dice.choice((flip, cut, lose, double))(dice, text)
    return bytes(text)


if __name__ == "__main__":
    given = [int(one) for one in sys.argv[1:]]
    sys.exit(main(*(given + [20_000, 0][len(given) :])))
