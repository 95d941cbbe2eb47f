"""MNIST, extracted and loaded: from the files inside this package to tensors.

The four original files ship with the package, compressed. The first use unpacks them
into a cache folder, checks each against its SHA-256, and from then on reads the cache.
Nothing is ever downloaded.

The training set has 60,000 images. Choices (architecture, hyperparameters) are made on
a split of it: the first 55,000 images train, the last 5,000 validate. The files are
already shuffled, so a cut at a fixed position is as good as a random one, and is the
same for everybody.
"""

import functools
import gzip
import hashlib
import os
import tempfile
import zlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

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


@functools.cache
def mnist() -> Mnist:
    """The data set as tensors, read once per process.

    Raises MnistStepsError when a file is damaged or the cache folder cannot be written.
    """
    folder = unpack()
    return Mnist(
        full_train=Split(
            _read_images(folder / "train-images-idx3-ubyte", TRAIN_SIZE),
            _read_labels(folder / "train-labels-idx1-ubyte", TRAIN_SIZE),
        ),
        test=Split(
            _read_images(folder / "t10k-images-idx3-ubyte", TEST_SIZE),
            _read_labels(folder / "t10k-labels-idx1-ubyte", TEST_SIZE),
        ),
    )


def root() -> Path:
    """The cache folder: $MNIST_STEPS_DATA when set, else the place the platform gives for caches.

    Its inner layout is torchvision's, so `torchvision.datasets.MNIST(data.root())` reads it.
    """
    chosen = os.environ.get("MNIST_STEPS_DATA")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("mnist_steps"))


def unpack() -> Path:
    """Unpack what is not yet in the cache, check all four files, return their folder.

    A file in the cache that fails its checksum is unpacked again. A new file appears under
    its name only when complete, so that a crash leaves nothing half-written.
    """
    folder = root() / "MNIST" / "raw"
    for name, expected in CHECKSUMS.items():
        target = folder / name
        if target.is_file() and _sha256(target.read_bytes()) == expected:
            continue
        content = _packed(name)
        if _sha256(content) != expected:
            raise MnistStepsError(
                f"the packaged file {name}.gz is damaged: its SHA-256 is {_sha256(content)[:12]}…, "
                f"expected {expected[:12]}…. Install mnist_steps again."
            )
        write_atomically(target, content)
    return folder


def _packed(name: str) -> bytes:
    packed = resources.files("mnist_steps") / "mnist" / f"{name}.gz"
    try:
        return gzip.decompress(packed.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise MnistStepsError(
            f"the packaged file {name}.gz cannot be unpacked ({error}). Install mnist_steps again."
        ) from error


def write_atomically(target: Path, content: bytes) -> None:
    """Write to a temporary file beside the target, then rename: readers see all or nothing.

    Raises MnistStepsError when the folder cannot be written.
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
        cached = target.is_relative_to(root())
        raise MnistStepsError(
            f"cannot write {target} ({error.strerror or error}). Free the folder for writing"
            f"{'; MNIST_STEPS_DATA names another one' if cached else ''}."
        ) from error


def check_writable(folder: Path) -> None:
    """Make a folder, where it is missing, in which results are to be written.

    Raises MnistStepsError when that cannot be: better now than after hours of training.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MnistStepsError(f"cannot make the folder {folder}: {error}.") from error
    if not os.access(folder, os.W_OK):
        raise MnistStepsError(f"cannot write into {folder}: choose another --folder.")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read_images(path: Path, count: int) -> Tensor:
    # An IDX image file: 16 bytes of header (magic number, count, rows, columns), then the pixels.
    pixels = torch.frombuffer(bytearray(path.read_bytes()[16:]), dtype=torch.uint8)
    return pixels.reshape(count, 1, 28, 28)


def _read_labels(path: Path, count: int) -> Tensor:
    # An IDX label file: 8 bytes of header (magic number, count), then one byte a label.
    labels = torch.frombuffer(bytearray(path.read_bytes()[8:]), dtype=torch.uint8)
    return labels.reshape(count).long()
