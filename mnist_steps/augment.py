"""Augmentation: every transform here is an affine map, one resample per batch.

A transform draws one 2×3 matrix per image. The matrix says, for each pixel of the
output, where in the input to look, in the [-1, 1] frame of `grid_sample` (x to the right,
y down, the image's corners at ±1). Transforms that follow each other multiply their
matrices, so a crop and a rotation still cost a single resample, and blur only once.

All parameters are drawn on the CPU from one generator: a run sees the same augmented
images on every device.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

SIZE = 28  # MNIST's height and width in pixels


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
        share = _between(self.smallest, self.largest, numbers(self.TRIES))
        log_ratio = _between(math.log(self.RATIO[0]), math.log(self.RATIO[1]), numbers(self.TRIES))
        area = SIZE * SIZE * share
        width = (area * log_ratio.exp()).sqrt().round()
        height = (area / log_ratio.exp()).sqrt().round()
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
    """Turn about the centre by an angle uniform in ±`degrees`; corners that open are black."""

    degrees: float

    NUMBERS = 1

    def matrices(self, numbers: "Numbers") -> Tensor:
        angle = _between(-self.degrees, self.degrees, numbers()).deg2rad()
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
        reach = self.share * SIZE
        right = _between(-reach, reach, numbers()).round() * 2 / SIZE
        down = _between(-reach, reach, numbers()).round() * 2 / SIZE
        one, zero = torch.ones_like(right), torch.zeros_like(right)
        return _rows((one, zero, -right), (zero, one, -down))


Transform = RandomCenterCrop | RandomResizedCrop | RandomRotation | RandomTranslation


def augment(images: Tensor, transforms: Sequence[Transform], generator: Generator) -> Tensor:
    """Apply the transforms, first to last, to each image with parameters of its own.

    images: float tensor (N, 1, 28, 28), values in [0, 1], on any device
    generator: a CPU generator; it alone decides the parameters
    """
    if not transforms:
        return images
    return batch_affine(images, draw(transforms, len(images), generator))


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
    transforms: Sequence[Transform], count: int, generator: Generator, batches: int = 1
) -> Tensor:
    """One composed matrix per image: float tensor (batches · count, 2, 3), on the CPU.

    Several batches at once take much less time, and are what one call for each would give.
    """
    numbers = numbers_from(generator, transforms, count, batches)
    composed = transforms[0].matrices(numbers)
    for transform in transforms[1:]:
        # The output of the first transform is the input of the next: output points travel
        # backwards, through the later map first.
        later = transform.matrices(numbers)
        linear = composed[:, :, :2] @ later
        composed = torch.cat((linear[:, :, :2], linear[:, :, 2:] + composed[:, :, 2:]), dim=2)
    return composed


def batch_affine(images: Tensor, matrices: Tensor) -> Tensor:
    """Resample each image under its own affine map, bilinearly, in one call.

    images: float tensor (N, 1, H, W), values in [0, 1]
    matrices: float tensor (N, 2, 3), output to input, in the [-1, 1] frame of grid_sample
    Returns a tensor shaped like images; what lies outside the input is 0. Raises ValueError
    when N differs.
    """
    if len(images) != len(matrices):
        raise ValueError(f"{len(images)} images but {len(matrices)} matrices: one each is needed")
    grid = F.affine_grid(matrices.to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def _between(low: float, high: float, numbers: Tensor) -> Tensor:
    return low + (high - low) * numbers


def _rows(first: tuple[Tensor, ...], second: tuple[Tensor, ...]) -> Tensor:
    """Two rows of three (N,) tensors as matrices (N, 2, 3)."""
    return torch.stack((torch.stack(first, dim=1), torch.stack(second, dim=1)), dim=1)
