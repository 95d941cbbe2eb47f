"""The bundled data set: genuine, checked, split in a fixed way, and safe to unpack."""

import gzip
import hashlib
import os

import pytest
import torch
import torchvision

from mnist_steps import data
from mnist_steps.errors import MnistStepsError

# As torchvision.datasets.MNIST lists them for the compressed originals' contents.
MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


def test_the_unpacked_files_are_the_original_ones():
    folder = data.unpack()
    for name, expected in MD5.items():
        assert hashlib.md5((folder / name).read_bytes()).hexdigest() == expected


def test_shapes_types_and_ranges():
    mnist = data.mnist()
    for split, count in ((mnist.full_train, 60_000), (mnist.test, 10_000)):
        assert split.images.shape == (count, 1, 28, 28)
        assert split.images.dtype == torch.uint8
        assert split.labels.dtype == torch.int64
        assert split.images.min() == 0 and split.images.max() == 255
        assert set(split.labels.tolist()) == set(range(10))


def test_train_and_validation_cut_the_training_set_without_overlap():
    mnist = data.mnist()
    assert (len(mnist.train), len(mnist.validation), len(mnist.test)) == (55_000, 5_000, 10_000)
    assert torch.equal(
        torch.cat((mnist.train.images, mnist.validation.images)), mnist.full_train.images
    )
    share = mnist.validation.labels.bincount() / 5_000 - mnist.train.labels.bincount() / 55_000
    assert share.abs().max() < 0.02, "the validation split should hold each digit as often"


def test_torchvision_reads_the_same_digits_from_the_same_folder():
    theirs = torchvision.datasets.MNIST(data.unpack().parents[1], train=False)
    assert torch.equal(theirs.data, data.mnist().test.images[:, 0])
    assert torch.equal(theirs.targets, data.mnist().test.labels)


def test_a_damaged_file_in_the_cache_is_unpacked_again(empty_cache):
    target = data.unpack() / "t10k-labels-idx1-ubyte"
    good = target.read_bytes()
    target.write_bytes(good[:100])
    data.unpack()
    assert target.read_bytes() == good


def test_unpacking_leaves_no_temporary_files(empty_cache):
    folder = data.unpack()
    assert sorted(path.name for path in folder.iterdir()) == sorted(data.CHECKSUMS)


def _pack(monkeypatch, tmp_path, content):
    """Let the package's files be `content`, whatever their name."""
    (tmp_path / "mnist").mkdir()
    for name in data.CHECKSUMS:
        (tmp_path / "mnist" / f"{name}.gz").write_bytes(content)
    monkeypatch.setattr(data.resources, "files", lambda package: tmp_path)


def test_a_packaged_file_with_a_wrong_checksum_is_refused(empty_cache, monkeypatch, tmp_path):
    _pack(monkeypatch, tmp_path, gzip.compress(b"not MNIST"))
    with pytest.raises(MnistStepsError, match=r"damaged: its SHA-256 is .* expected"):
        data.mnist()
    assert not list(empty_cache.rglob("*ubyte")), "nothing may be left in the cache"


def test_a_truncated_packaged_file_is_refused(empty_cache, monkeypatch, tmp_path):
    _pack(monkeypatch, tmp_path, gzip.compress(b"some content" * 1000)[:40])
    with pytest.raises(MnistStepsError, match="cannot be unpacked"):
        data.mnist()


@pytest.fixture
def blocked(tmp_path, monkeypatch):
    """A file where the cache folder should be."""
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    monkeypatch.setenv("MNIST_STEPS_DATA", str(blocked))
    data.mnist.cache_clear()
    yield blocked
    data.mnist.cache_clear()


@pytest.fixture
def no_home(monkeypatch):
    """As for a user whom the system does not know: '~' stays '~'."""
    monkeypatch.delenv("MNIST_STEPS_DATA", raising=False)
    monkeypatch.setattr(data.platformdirs, "user_cache_dir", lambda name: f"~/.cache/{name}")
    data.mnist.cache_clear()
    yield
    data.mnist.cache_clear()


def test_a_cache_that_cannot_be_a_folder_is_one_clear_line(blocked):
    with pytest.raises(data.CannotWrite, match=r"cannot write .*Name one .* MNIST_STEPS_DATA\.$"):
        data.unpack()


def test_where_no_cache_can_be_written_the_same_digits_are_read_in_memory(blocked):
    assert hashlib.md5(data.mnist().test.labels.to(torch.uint8).numpy().tobytes()).hexdigest() == (
        hashlib.md5(data._packed("t10k-labels-idx1-ubyte")[8:]).hexdigest()
    )
    assert len(data.mnist().full_train) == 60_000
    assert blocked.read_text() == "in the way"


def test_a_damaged_package_is_told_also_where_no_cache_can_be_written(
    blocked, monkeypatch, tmp_path
):
    _pack(monkeypatch, tmp_path, gzip.compress(b"not MNIST"))
    with pytest.raises(MnistStepsError, match="damaged: its SHA-256"):
        data.mnist()


def test_without_a_home_digits_are_read_in_memory_and_no_folder_of_that_name_is_made(
    no_home, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert len(data.mnist().test) == 10_000
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(data.CannotWrite, match="no home folder .* MNIST_STEPS_DATA"):
        data.root()


def test_the_variable_for_the_cache_is_named_only_where_it_helps(empty_cache, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(data.CannotWrite, match="or name another") as elsewhere:
        data.write_atomically(tmp_path / "file" / "figure.svg", b"")
    assert "MNIST_STEPS_DATA" not in str(elsewhere.value)


def test_trying_a_folder_leaves_nothing_and_finds_a_file_in_the_way(tmp_path):
    data.check_writable(tmp_path / "new" / "folder")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(data.CannotWrite, match="cannot write .*file/new"):
        data.check_writable(tmp_path / "file" / "new")


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_behind(tmp_path, monkeypatch):
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def refuse(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(MnistStepsError, match="disk full"):
        data.write_atomically(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]
