"""MNIST, extracted and loaded: from the files inside this package to tensors.

The four original files ship with the package, compressed. The first use unpacks them
into a cache folder, checks each against its SHA-256, and from then on reads the cache.
Where no folder can be written, they are unpacked in memory, in every process anew. Nothing is
ever downloaded.

The training set has 60,000 images. Choices (architecture, hyperparameters) are made on
a split of it: the first 55,000 images train, the last 5,000 validate. The files are
already shuffled, so a cut at a fixed position is as good as a random one, and is the
same for everybody.
"""

import functools
import gzip
import hashlib
import json
import os
import tempfile
import zlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import platformdirs
import torch
from torch import Tensor

from mnist_steps.errors import MnistStepsError

# SHA-256 of the unpacked files; their MD5 sums equal those that torchvision.datasets.MNIST lists.
CHECKSUMS = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}

TRAIN_SIZE, VALIDATION_SIZE, TEST_SIZE = 60_000, 5_000, 10_000  # validation is a part of train
INPUT_SHAPE = (1, 28, 28)  # of an image: channels, height, width

NAME_A_FOLDER = "Name one that can be written with MNIST_STEPS_DATA."


class CannotWrite(MnistStepsError):
    """A file cannot be written: the message says which, why, and what helps."""

    @classmethod
    def of(cls, target: Path, error: OSError) -> "CannotWrite":
        """MNIST_STEPS_DATA is named only where it helps: inside the cache folder that it moves."""
        try:
            cached = target.is_relative_to(root())
        except CannotWrite:
            cached = False
        hint = NAME_A_FOLDER if cached else "Free the folder for writing, or name another."
        return cls(f"cannot write {target} ({error.strerror or error}). {hint}")


@dataclass(frozen=True)
class Split:
    """Images and their labels.

    images: uint8 tensor (N, 1, 28, 28), 0 is paper and 255 is ink
    labels: int64 tensor (N,), the digit 0 to 9
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, positions: slice) -> "Split":
        return Split(self.images[positions], self.labels[positions])


@dataclass(frozen=True)
class Mnist:
    """The data set with its fixed splits.

    full_train: all 60,000 training images, what the stages train on, as the original did
    train, validation: the first 55,000 and the last 5,000 of them, for making choices
    test: the 10,000 test images
    """

    full_train: Split
    test: Split

    @property
    def train(self) -> Split:
        return self.full_train[:-VALIDATION_SIZE]

    @property
    def validation(self) -> Split:
        return self.full_train[-VALIDATION_SIZE:]

    def halves(self, judged_on: str) -> tuple[Split, Split]:
        """What is trained on and what is judged, which is 'test' or 'validation'."""
        if judged_on == "validation":
            return self.train, self.validation
        return self.full_train, self.test


def sizes(judged_on: str) -> tuple[int, int]:
    """How many images `Mnist.halves` has."""
    held_out = VALIDATION_SIZE if judged_on == "validation" else 0
    return TRAIN_SIZE - held_out, held_out or TEST_SIZE


@functools.cache
def mnist() -> Mnist:
    """The data set as tensors, read once per process.

    Raises MnistStepsError when a file of the package is damaged.
    """
    try:
        folder = unpack()
        files = {name: (folder / name).read_bytes() for name in CHECKSUMS}
    except CannotWrite:
        files = {name: _packed(name) for name in CHECKSUMS}
    return Mnist(
        full_train=Split(
            _images(files["train-images-idx3-ubyte"], TRAIN_SIZE),
            _labels(files["train-labels-idx1-ubyte"], TRAIN_SIZE),
        ),
        test=Split(
            _images(files["t10k-images-idx3-ubyte"], TEST_SIZE),
            _labels(files["t10k-labels-idx1-ubyte"], TEST_SIZE),
        ),
    )


def root() -> Path:
    """The cache folder: $MNIST_STEPS_DATA when set, else the place the platform gives for caches.

    Its inner layout is torchvision's, so `torchvision.datasets.MNIST(data.root())` reads it.
    Raises CannotWrite for a user of whom the system knows no home.
    """
    chosen = os.environ.get("MNIST_STEPS_DATA")
    place = Path(chosen or platformdirs.user_cache_dir("mnist_steps"))
    if not chosen and not place.is_absolute():  # '~' stayed as it is: never a folder of that name
        raise CannotWrite(f"found no home folder for a cache. {NAME_A_FOLDER}")
    return place


def unpack() -> Path:
    """Unpack what is not yet in the cache, check all four files, return their folder.

    A file in the cache that fails its checksum is unpacked again. A new file appears under
    its name only when complete, so that a crash leaves nothing half-written.
    Raises MnistStepsError when a file of the package is damaged, CannotWrite when the cache cannot
    be written.
    """
    folder = root() / "MNIST" / "raw"
    for name, expected in CHECKSUMS.items():
        target = folder / name
        if not _holds(target, expected):
            write_atomically(target, _packed(name))
    return folder


def _holds(file: Path, expected: str) -> bool:
    try:
        return _sha256(file.read_bytes()) == expected
    except OSError:  # not there, or somebody else's
        return False


def _packed(name: str) -> bytes:
    """What a file of the package holds. Raises MnistStepsError when it is damaged."""
    packed = resources.files("mnist_steps") / "mnist" / f"{name}.gz"
    try:
        content = gzip.decompress(packed.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise MnistStepsError(
            f"the packaged file {name}.gz cannot be unpacked ({error}). Install mnist_steps again."
        ) from error
    if _sha256(content) != CHECKSUMS[name]:
        raise MnistStepsError(
            f"the packaged file {name}.gz is damaged: its SHA-256 is {_sha256(content)[:12]}…, "
            f"expected {CHECKSUMS[name][:12]}…. Install mnist_steps again."
        )
    return content


def write_atomically(target: Path, content: bytes) -> None:
    """Write to a temporary file beside the target, then rename: readers see all or nothing.

    Raises CannotWrite when the folder cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            os.chmod(temporary, 0o644)  # mkstemp makes files that only their owner can read
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise CannotWrite.of(target, error) from error


def json_bytes(content: Any) -> bytes:
    """Plain data as a file that people can read, too."""
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def check_writable(folder: Path) -> None:
    """Try whether files can be made in a folder, or it itself: better now than after hours.

    Leaves nothing behind. Raises CannotWrite.
    """
    try:
        there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise CannotWrite.of(folder, error) from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _images(file: bytes, count: int) -> Tensor:
    # An IDX image file: 16 bytes of header (magic number, count, rows, columns), then the pixels.
    pixels = torch.frombuffer(bytearray(file[16:]), dtype=torch.uint8)
    return pixels.reshape(count, 1, 28, 28)


def _labels(file: bytes, count: int) -> Tensor:
    # An IDX label file: 8 bytes of header (magic number, count), then one byte a label.
    labels = torch.frombuffer(bytearray(file[8:]), dtype=torch.uint8)
    return labels.reshape(count).long()
