"""Each augmentation against torchvision: the map for fixed parameters, and the draws."""

import functools
import math

import pytest
import torch
import torchvision.transforms.functional as TF
from scipy import stats
from torchvision import transforms
from torchvision.transforms import InterpolationMode
from torchvision.transforms import RandomResizedCrop as TorchvisionRandomResizedCrop

from mnist_steps import augment, data
from mnist_steps.augment import (
    ColorJitter,
    RandomAffine,
    RandomCenterCrop,
    RandomErasing,
    RandomResizedCrop,
    RandomRotation,
    RandomTranslation,
    batch_affine,
    draw,
    fill_of,
    is_one_map,
    numbers_from,
    steps,
)


@pytest.fixture(scope="module")
def digits():
    return data.mnist().test.images[:64].float() / 255


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def boxes_of(crop, count):
    return crop.boxes(numbers_from(generator(), (crop,), count))


def test_many_batches_at_once_are_drawn_as_one_after_the_other():
    transforms = (
        RandomResizedCrop(0.85, 1.0),
        RandomCenterCrop(22, 0.5),
        RandomRotation(7),
        RandomTranslation(0.1),
    )
    one = generator(5)
    apart = [draw(transforms, 64, one) for _ in range(3)]
    many = generator(5)
    together = draw(transforms, 64, many, batches=3)
    torch.testing.assert_close(together, torch.cat(apart), rtol=0, atol=0)
    assert torch.equal(one.get_state(), many.get_state())


def test_a_rotation_equals_torchvisions_rotate(digits):
    matrices = draw((RandomRotation(15),), 64, generator())
    angles = torch.atan2(matrices[:, 1, 0], matrices[:, 0, 0]).rad2deg()
    expected = torch.stack(
        [
            TF.rotate(digit, angle.item(), InterpolationMode.BILINEAR)
            for digit, angle in zip(digits, angles, strict=True)
        ]
    )
    torch.testing.assert_close(batch_affine(digits, matrices), expected, atol=1e-4, rtol=0)


def test_a_center_crop_equals_torchvisions_crop_and_resize(digits):
    matrices = draw((RandomCenterCrop(22, probability=1.0),), 64, generator())
    expected = TF.resize(TF.center_crop(digits, [22]), [28, 28], antialias=True)
    ours = batch_affine(digits, matrices)
    # Torchvision knows nothing beyond the crop's edge, one resample sees the pixels there.
    torch.testing.assert_close(ours[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], atol=1e-4, rtol=0)


def test_a_resized_crop_equals_torchvisions_resized_crop(digits):
    crop = RandomResizedCrop(0.85, 1.0)
    boxes = boxes_of(crop, 64)
    matrices = draw((crop,), 64, generator())
    expected = torch.stack(
        [
            TF.resized_crop(digit, *box.tolist(), [28, 28], antialias=True)
            for digit, box in zip(digits, boxes, strict=True)
        ]
    )
    ours = batch_affine(digits, matrices)
    torch.testing.assert_close(ours[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1], atol=1e-4, rtol=0)


def test_a_translation_equals_torchvisions_affine_shift(digits):
    matrices = draw((RandomTranslation(0.2),), 64, generator())
    expected = torch.stack(
        [
            TF.affine(
                digit, 0.0, [round(-m[0, 2].item() * 14), round(-m[1, 2].item() * 14)], 1.0, [0.0]
            )
            for digit, m in zip(digits, matrices, strict=True)
        ]
    )
    torch.testing.assert_close(batch_affine(digits, matrices), expected, atol=1e-4, rtol=0)


def test_composed_maps_equal_one_after_the_other(digits):
    transforms = (RandomTranslation(0.2), RandomRotation(20))
    together = draw(transforms, 64, generator(3))
    numbers = numbers_from(generator(3), transforms, 64)
    shift, turn = (transform.matrices(numbers) for transform in transforms)
    # Whole-pixel shifts blur nothing, so shifting first and turning then is exact but for what
    # the shift pushes out of the frame: digits keep four empty pixels on each side, and more.
    padded = torch.nn.functional.pad(digits, (8, 8, 8, 8))
    grow = torch.tensor([1.0, 1.0, 28 / 44])
    one_by_one = batch_affine(batch_affine(padded, shift * grow), turn * grow)
    torch.testing.assert_close(batch_affine(padded, together * grow), one_by_one, atol=1e-4, rtol=0)


def test_crop_boxes_are_distributed_as_torchvisions():
    ours = boxes_of(RandomResizedCrop(0.85, 1.0), 4000).float()
    torch.manual_seed(0)
    image = torch.zeros(1, 28, 28)
    theirs = torch.tensor(
        [
            TorchvisionRandomResizedCrop.get_params(image, [0.85, 1.0], [3 / 4, 4 / 3])
            for _ in range(4000)
        ]
    ).float()
    for column, name in enumerate(("top", "left", "height", "width")):
        result = stats.ks_2samp(ours[:, column].numpy(), theirs[:, column].numpy())
        assert result.pvalue > 1e-3, f"{name} differs from torchvision's"


def test_a_crop_that_never_fits_takes_the_whole_image():
    boxes = boxes_of(RandomResizedCrop(1.9, 2.0), 5)
    assert boxes.tolist() == [[0, 0, 28, 28]] * 5


def test_angles_are_uniform_between_the_bounds():
    matrices = draw((RandomRotation(15),), 4000, generator())
    angles = torch.atan2(matrices[:, 1, 0], matrices[:, 0, 0]).rad2deg().numpy()
    assert stats.kstest(angles, stats.uniform(-15, 30).cdf).pvalue > 1e-3


def test_shifts_are_distributed_as_torchvisions():
    ours = (draw((RandomTranslation(0.1),), 4000, generator())[:, :, 2] * -14).round()
    torch.manual_seed(0)
    theirs = torch.tensor(
        [
            transforms.RandomAffine.get_params([0, 0], (0.1, 0.1), None, None, [28, 28])[1]
            for _ in range(4000)
        ]
    )
    for axis in range(2):
        counts = [
            [(sample[:, axis] == shift).sum().item() for shift in range(-3, 4)]
            for sample in (ours, theirs)
        ]
        assert stats.chi2_contingency(counts).pvalue > 1e-3


def test_center_crops_happen_with_the_stated_probability():
    matrices = draw((RandomCenterCrop(22, 0.1),), 10_000, generator())
    cropped = (matrices[:, 0, 0] < 1).sum().item()
    assert stats.binomtest(cropped, 10_000, 0.1).pvalue > 1e-3
    assert math.isclose(matrices[:, 0, 0].min().item(), 22 / 28, rel_tol=1e-6)


def test_the_same_generator_gives_the_same_images(digits):
    transforms = (RandomResizedCrop(0.85, 1.0), RandomRotation(7))
    first = augment.augment(digits, transforms, generator(5))
    again = augment.augment(digits, transforms, generator(5))
    other = augment.augment(digits, transforms, generator(6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_no_transform_leaves_the_images_alone(digits):
    assert torch.equal(augment.augment(digits, (), generator()), digits)


def test_a_matrix_too_few_is_an_error(digits):
    with pytest.raises(ValueError, match="64 images but 63 matrices"):
        batch_affine(digits, torch.zeros(63, 2, 3))


# ---- Fill, affine maps, grey values and boxes ----------------------------------------------------

BILINEAR = InterpolationMode.BILINEAR


def on_a_ground(image, fill, change):
    """The image changed as if it lay on a large ground of this grey value.

    torchvision's own `fill` weighs pixels at the edge twice where they are half outside.
    """
    return TF.center_crop(change(TF.pad(image, [28] * 4, fill=fill)), [28, 28])


def test_what_a_rotation_opens_is_filled(digits):
    one = RandomRotation(40, fill=51)
    matrices = draw((one,), 64, generator())
    ours = batch_affine(digits, matrices, fill_of((one,)))
    angles = torch.rad2deg(torch.atan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    expected = torch.stack(
        [
            on_a_ground(image, 0.2, functools.partial(TF.rotate, angle=by, interpolation=BILINEAR))
            for image, by in zip(digits, angles.tolist(), strict=True)
        ]
    )
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(augment.augment(digits, (one,), generator()), ours)


def test_an_angle_between_two_bounds_turns_as_torchvisions_does():
    matrices = draw((RandomRotation((5, 7)),), 512, generator())
    angles = torch.rad2deg(torch.atan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    assert angles.min() > 5 and angles.max() < 7


AFFINE = [
    RandomAffine(20),
    RandomAffine(7, (0.1, 0.2), (0.8, 1.2), 10),
    RandomAffine((3, 9), None, (0.5, 0.6), (5, 25)),
    RandomAffine(0, shear=(-10, 10, 5, 15), fill=128),
]


@pytest.mark.parametrize("transform", AFFINE)
def test_an_affine_map_equals_torchvisions(digits, transform):
    drawn = []

    def numbers(*shape):
        drawn.append(torch.rand(64, *shape, generator=random))
        return drawn[-1]

    random = generator()
    ours = batch_affine(digits, transform.matrices(numbers), fill_of((transform,)))
    turn, right, down, scale, along_x, along_y = drawn

    def between(bounds, share):
        return bounds[0] + (bounds[1] - bounds[0]) * share.item()

    def symmetric(one):
        return one if isinstance(one, tuple) else (-one, one)

    shear = symmetric(transform.shear or 0)
    shifts = [28 * share for share in transform.translate or (0, 0)]
    for place, image in enumerate(digits):
        change = functools.partial(
            TF.affine,
            angle=between(symmetric(transform.degrees), turn[place]),
            translate=[
                round(between((-reach, reach), share[place]))
                for reach, share in zip(shifts, (right, down), strict=True)
            ],
            scale=between(transform.scale or (1, 1), scale[place]),
            shear=[
                between(shear[:2], along_x[place]),
                between(shear[2:] or (0, 0), along_y[place]),
            ],
            interpolation=BILINEAR,
        )
        expected = on_a_ground(image, transform.fill / 255, change)
        torch.testing.assert_close(ours[place], expected, atol=2e-4, rtol=0)


def test_brightness_and_contrast_equal_torchvisions(digits):
    jitter = ColorJitter(0.4, (0.5, 2))
    brightness, contrast, order = torch.rand(3, 64, generator=generator()).unbind()
    given = iter((brightness, contrast, order))
    ours = jitter.apply(digits, lambda: next(given))
    for place, image in enumerate(digits):
        steps_ = [
            (TF.adjust_brightness, 0.6 + 0.8 * brightness[place].item()),
            (TF.adjust_contrast, 0.5 + 1.5 * contrast[place].item()),
        ]
        for change, factor in steps_ if order[place] < 0.5 else steps_[::-1]:
            image = change(image, factor)
        torch.testing.assert_close(ours[place], image, atol=1e-5, rtol=0)


def test_erased_boxes_are_distributed_as_torchvisions():
    many = torch.ones(4000, 1, 28, 28)
    ours = augment.augment(many, (RandomErasing(p=0.6, scale=(0.1, 0.4)),), generator())
    torch.manual_seed(0)
    theirs = torch.stack([transforms.RandomErasing(p=0.6, scale=(0.1, 0.4))(one) for one in many])
    for statistic in (
        lambda x: (x == 0).any(dim=(1, 2, 3)).float().mean(),  # how often
        lambda x: (x == 0).float().mean(),  # how much
        lambda x: (x == 0).any(dim=3).float().sum(dim=(1, 2)).mean(),  # how high
        lambda x: (x == 0).float()[:, 0, :5].mean(),  # how near the edge
    ):
        assert statistic(ours).item() == pytest.approx(statistic(theirs).item(), rel=0.08)
    filled = augment.augment(many, (RandomErasing(p=1, value=0.25),), generator())
    assert set(filled.unique().tolist()) == {0.25, 1.0}


def test_transforms_that_fill_unlike_or_change_greys_are_steps_of_their_own(digits):
    turn, white, crop = RandomRotation(10), RandomRotation(10, fill=255), RandomCenterCrop(22, 1.0)
    jitter = ColorJitter(0.1)
    assert steps((turn, crop, RandomTranslation(0.1))) == [(turn, crop, RandomTranslation(0.1))]
    assert steps((crop, white, turn, jitter, turn)) == [(crop, white), (turn,), jitter, (turn,)]
    assert is_one_map(()) and is_one_map((crop, turn))
    assert not (is_one_map((white,)) or is_one_map((turn, jitter)) or is_one_map((jitter,)))
    mixed = augment.augment(digits, (turn, jitter, white), generator())
    numbers = numbers_from(generator(), (turn, jitter, white), 64)
    expected = batch_affine(digits, turn.matrices(numbers))
    expected = jitter.apply(expected, numbers)
    expected = batch_affine(expected, white.matrices(numbers), 1.0)
    torch.testing.assert_close(mixed, expected)
