"""Augmentation: affine maps, one resample per batch; and changes of the grey values.

An affine transform draws one 2×3 matrix per image. The matrix says, for each pixel of the
output, where in the input to look, in the [-1, 1] frame of `grid_sample` (x to the right,
y down, the image's corners at ±1). Transforms that follow each other multiply their
matrices, so a crop and a rotation still cost a single resample, and blur only once.

All parameters are drawn on the CPU from one generator: a run sees the same augmented
images on every device.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

SIZE = 28  # MNIST's height and width in pixels

Pair = tuple[float, float]


@dataclass(frozen=True)
class RandomCenterCrop:
    """With `probability`, cut out the central `size`×`size` pixels and enlarge them to 28×28.

    As torchvision's RandomApply([CenterCrop(size)], p=probability) followed by Resize(28).
    """

    size: int
    probability: float

    NUMBERS = 1

    def matrices(self, numbers: "Numbers") -> Tensor:
        chosen = numbers() < self.probability
        scale = torch.where(chosen, self.size / SIZE, 1.0)
        zero = torch.zeros_like(scale)
        return _rows((scale, zero, zero), (zero, scale, zero))


@dataclass(frozen=True)
class RandomResizedCrop:
    """Cut out a random box and resize it to 28×28.

    The box covers a share of the area between `smallest` and `largest`, its width-to-height
    ratio lies between 3/4 and 4/3, its place is uniform. Drawn as torchvision does: up to ten
    tries until the box, rounded to whole pixels, fits; the whole image when none does.
    """

    smallest: float
    largest: float

    TRIES = 10
    RATIO = (3 / 4, 4 / 3)
    NUMBERS = 2 * TRIES + 2

    def boxes(self, numbers: "Numbers") -> Tensor:
        """int64 tensor (N, 4): top, left, height, width, in pixels."""
        width, height = _sides((self.smallest, self.largest), self.RATIO, numbers, self.TRIES)
        fits = (width <= SIZE) & (height <= SIZE) & (width > 0) & (height > 0)
        first = fits.int().argmax(dim=1, keepdim=True)
        found = fits.any(dim=1)
        width = torch.where(found, width.gather(1, first).squeeze(1), float(SIZE))
        height = torch.where(found, height.gather(1, first).squeeze(1), float(SIZE))
        top = (numbers() * (SIZE - height + 1)).floor()
        left = (numbers() * (SIZE - width + 1)).floor()
        return torch.stack((top, left, height, width), dim=1).long()

    def matrices(self, numbers: "Numbers") -> Tensor:
        top, left, height, width = (self.boxes(numbers) / SIZE).unbind(dim=1)
        zero = torch.zeros_like(top)
        return _rows((width, zero, 2 * left + width - 1), (zero, height, 2 * top + height - 1))


@dataclass(frozen=True)
class RandomRotation:
    """Turn about the centre by an angle uniform in ±`degrees`, or between two.

    As torchvision's, but bilinear. fill: grey value from 0 to 255 of the corners that open
    """

    degrees: float | Pair
    fill: float = 0

    NUMBERS = 1

    def matrices(self, numbers: "Numbers") -> Tensor:
        angle = _between(*_range(self.degrees), numbers()).deg2rad()
        cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
        return _rows((cos, -sin, zero), (sin, cos, zero))


@dataclass(frozen=True)
class RandomTranslation:
    """Shift by a whole number of pixels, uniform in ±`share` of the size before rounding.

    As torchvision's RandomAffine(0, translate=(share, share)); edges that open are black.
    """

    share: float

    NUMBERS = 2

    def matrices(self, numbers: "Numbers") -> Tensor:
        right, down = _shift(self.share, numbers()), _shift(self.share, numbers())
        one, zero = torch.ones_like(right), torch.zeros_like(right)
        return _rows((one, zero, -right), (zero, one, -down))


@dataclass(frozen=True)
class RandomAffine:
    """Turn, shift, scale and shear about the centre, as torchvision's, but bilinear.

    degrees: as for RandomRotation, clockwise
    translate: the largest shift to the right and downwards, as shares of the size
    scale: the smallest and the largest enlargement
    shear: degrees; ± a number or between two along x, or two ranges, along x and y
    fill: grey value from 0 to 255 of what opens
    """

    degrees: float | Pair
    translate: Pair | None = None
    scale: Pair | None = None
    shear: float | tuple[float, ...] | None = None
    fill: float = 0

    NUMBERS = 6

    def matrices(self, numbers: "Numbers") -> Tensor:
        turn = _between(*_range(self.degrees), numbers()).deg2rad()
        right, down = (_shift(share, numbers()) for share in self.translate or (0, 0))
        smallest, largest = self.scale or (1, 1)
        scale = _between(smallest, largest, numbers())
        along_x, along_y = _shears(self.shear)
        x = _between(*along_x, numbers()).deg2rad()
        y = _between(*along_y, numbers()).deg2rad()
        # torchvision.transforms.functional._get_inverse_affine_matrix: the inverse of a rotation
        # after a shear along y and one along x.
        cos, sin = (turn - y).cos() / y.cos(), (turn - y).sin() / y.cos()
        first = ((turn.cos() - sin * x.tan()) / scale, (cos * x.tan() + turn.sin()) / scale)
        second = (-sin / scale, cos / scale)
        return _rows(
            (*first, -first[0] * right - first[1] * down),
            (*second, -second[0] * right - second[1] * down),
        )


@dataclass(frozen=True)
class ColorJitter:
    """Change brightness and contrast by random factors, in random order, as torchvision's.

    Each factor is uniform in 1 ± its number, or between two; values stay in [0, 1].
    """

    brightness: float | Pair = 0
    contrast: float | Pair = 0

    NUMBERS = 3

    def apply(self, images: Tensor, numbers: "Numbers") -> Tensor:
        """images: float tensor (N, 1, 28, 28), values in [0, 1]"""
        factors = [
            _between(*(one if isinstance(one, tuple) else (max(0, 1 - one), 1 + one)), numbers())
            for one in (self.brightness, self.contrast)
        ]
        brightness, contrast = (one.to(images.device).view(-1, 1, 1, 1) for one in factors)
        first = (numbers() < 0.5).to(images.device).view(-1, 1, 1, 1)

        def brighten(x: Tensor) -> Tensor:
            return (x * brightness).clamp(0, 1)

        def stretch(x: Tensor) -> Tensor:
            mean = x.mean(dim=(1, 2, 3), keepdim=True)
            return (mean + contrast * (x - mean)).clamp(0, 1)

        return torch.where(first, stretch(brighten(images)), brighten(stretch(images)))


@dataclass(frozen=True)
class RandomErasing:
    """With probability `p`, paint a random box, as torchvision's on images in [0, 1].

    scale: the least and the largest share of the image's area; ratio: of height to width
    value: of the box, from 0 (black) to 1
    """

    p: float = 0.5
    scale: Pair = (0.02, 0.33)
    ratio: Pair = (0.3, 3.3)
    value: float = 0

    TRIES = 10
    NUMBERS = 2 * TRIES + 3

    def apply(self, images: Tensor, numbers: "Numbers") -> Tensor:
        """images: float tensor (N, 1, 28, 28), values in [0, 1]"""
        height, width = _sides(self.scale, self.ratio, numbers, self.TRIES)
        fits = (height < SIZE) & (width < SIZE)
        first = fits.int().argmax(dim=1, keepdim=True)
        height, width = height.gather(1, first), width.gather(1, first)  # (N, 1)
        top = (numbers(1) * (SIZE - height + 1)).floor()
        left = (numbers(1) * (SIZE - width + 1)).floor()
        chosen = (numbers(1) < self.p) & fits.any(dim=1, keepdim=True)
        place = torch.arange(SIZE)
        rows = (place >= top) & (place < top + height) & chosen  # (N, 28)
        columns = (place >= left) & (place < left + width)
        box = (rows[:, None, :, None] & columns[:, None, None, :]).to(images.device)
        return images.masked_fill(box, self.value)


# Each has `matrices`, float tensors (N, 2, 3); those of the grey values `apply` to images.
Affine = RandomCenterCrop | RandomResizedCrop | RandomRotation | RandomTranslation | RandomAffine
Transform = Affine | ColorJitter | RandomErasing
TRANSFORMS: tuple[type, ...] = get_args(Affine) + (ColorJitter, RandomErasing)


def augment(images: Tensor, transforms: Sequence[Transform], generator: Generator) -> Tensor:
    """Apply the transforms, first to last, to each image with parameters of its own.

    images: float tensor (N, 1, 28, 28), values in [0, 1], on any device
    generator: a CPU generator; it alone decides the parameters
    """
    if not transforms:
        return images
    numbers = numbers_from(generator, transforms, len(images))
    for step in steps(transforms):
        if isinstance(step, (ColorJitter, RandomErasing)):
            images = step.apply(images, numbers)
        else:
            images = batch_affine(images, compose(step, numbers), fill_of(step))
    return images


def steps(
    transforms: Sequence[Transform],
) -> list[ColorJitter | RandomErasing | tuple[Affine, ...]]:
    """Affine maps that follow each other and fill alike are one step, the others one each."""
    found: list[ColorJitter | RandomErasing | tuple[Affine, ...]] = []
    for transform in transforms:
        last = found[-1] if found else None
        if isinstance(transform, (ColorJitter, RandomErasing)):
            found.append(transform)
        elif isinstance(last, tuple) and len(_fills((*last, transform))) < 2:
            found[-1] = (*last, transform)
        else:
            found.append((transform,))
    return found


def _fills(maps: Sequence[Affine]) -> set[float]:
    """What they fill with; crops open nothing that could be filled."""
    return {
        getattr(one, "fill", 0) for one in maps
        if not isinstance(one, (RandomCenterCrop, RandomResizedCrop))
    }  # fmt: skip


def fill_of(maps: Sequence[Affine]) -> float:
    """The value from 0 to 1 of what one step opens."""
    return max(_fills(maps), default=0) / 255


def is_one_map(transforms: Sequence[Transform]) -> bool:
    """Whether a single resample that fills with black is all that they do, or nothing is."""
    found = steps(transforms)
    return not found or (len(found) == 1 and isinstance(found[0], tuple) and fill_of(found[0]) == 0)


# How a transform gets its random numbers, uniform in [0, 1): numbers() is one for each image,
# a tensor (N,), and numbers(10) ten, a tensor (N, 10). It asks for NUMBERS of them in all.
Numbers = Callable[..., Tensor]


def numbers_from(
    generator: Generator, transforms: Sequence[Transform], count: int, batches: int = 1
) -> Numbers:
    """For N = batches · count images, each batch's numbers as if it were drawn by itself."""
    of_batch = count * sum(transform.NUMBERS for transform in transforms)
    drawn, place = torch.rand(batches, of_batch, generator=generator), 0

    def numbers(*shape: int) -> Tensor:
        nonlocal place
        size = count * math.prod(shape)
        part = drawn[:, place : place + size]
        place += size
        return part.reshape(batches * count, *shape)

    return numbers


def draw(
    transforms: Sequence[Affine], count: int, generator: Generator, batches: int = 1
) -> Tensor:
    """One composed matrix per image: float tensor (batches · count, 2, 3), on the CPU.

    Several batches at once take much less time, and are what one call for each would give.
    """
    return compose(transforms, numbers_from(generator, transforms, count, batches))


def compose(transforms: Sequence[Affine], numbers: Numbers) -> Tensor:
    """The matrices of all transforms, one after the other, as one for each image."""
    composed = transforms[0].matrices(numbers)
    for transform in transforms[1:]:
        # The output of the first transform is the input of the next: output points travel
        # backwards, through the later map first.
        later = transform.matrices(numbers)
        linear = composed[:, :, :2] @ later
        composed = torch.cat((linear[:, :, :2], linear[:, :, 2:] + composed[:, :, 2:]), dim=2)
    return composed


def batch_affine(images: Tensor, matrices: Tensor, fill: float = 0.0) -> Tensor:
    """Resample each image under its own affine map, bilinearly, in one call.

    images: float tensor (N, 1, H, W), values in [0, 1]
    matrices: float tensor (N, 2, 3), output to input, in the [-1, 1] frame of grid_sample
    fill: the value of what lies outside the input
    Returns a tensor shaped like images. Raises ValueError when N differs.
    """
    if len(images) != len(matrices):
        raise ValueError(f"{len(images)} images but {len(matrices)} matrices: one each is needed")
    grid = F.affine_grid(matrices.to(images.device), list(images.shape), align_corners=False)
    if not fill:
        return F.grid_sample(images, grid, align_corners=False)
    return F.grid_sample(images - fill, grid, align_corners=False) + fill


def _between(low: float, high: float, numbers: Tensor) -> Tensor:
    return low + (high - low) * numbers


def _sides(shares: Pair, ratios: Pair, numbers: Numbers, tries: int) -> tuple[Tensor, Tensor]:
    """Two sides of random boxes, in whole pixels, as torchvision draws them: (N, tries) each.

    shares: of the image's area, the least and the most; ratios: of the first side to the second
    """
    area = SIZE * SIZE * _between(*shares, numbers(tries))
    low, high = map(math.log, ratios)
    ratio = _between(low, high, numbers(tries)).exp()
    return (area * ratio).sqrt().round(), (area / ratio).sqrt().round()


def _range(one: float | Pair) -> Pair:
    return one if isinstance(one, tuple) else (-one, one)


def _shears(one: float | tuple[float, ...] | None) -> tuple[Pair, Pair]:
    """Degrees along x and along y."""
    if isinstance(one, tuple):
        return (one[0], one[1]), (one[2], one[3]) if len(one) == 4 else (0, 0)
    return _range(one or 0), (0, 0)


def _shift(share: float, numbers: Tensor) -> Tensor:
    """Whole pixels, uniform in ±share of the size before rounding; 2 is the image's size."""
    return _between(-share * SIZE, share * SIZE, numbers).round() * 2 / SIZE


def _rows(first: tuple[Tensor, ...], second: tuple[Tensor, ...]) -> Tensor:
    """Two rows of three (N,) tensors as matrices (N, 2, 3)."""
    return torch.stack((torch.stack(first, dim=1), torch.stack(second, dim=1)), dim=1)
