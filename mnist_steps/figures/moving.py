"""Figures that answer their reader: what they show, computed here, and the numbers they need.

Each function gives a picture of one state and the data with which a module of
docs/javascripts/figures/ computes all others, so that the site's arithmetic can be compared with
PyTorch's. Numbers travel as whole multiples of a small unit, `ROUNDING`, to keep pages light.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from mnist_steps import data, evaluation
from mnist_steps.augment import batch_affine
from mnist_steps.errors import MnistStepsError
from mnist_steps.figures.containers import Moving, Panels
from mnist_steps.figures.drawing import WIDTH, digit, drawn, heading, line, rectangle, text
from mnist_steps.figures.style import Figure, colour
from mnist_steps.training import Run

ROUNDING = 0.01  # of activations that travel


def _rounded(values: Tensor) -> list[int]:
    """In units of ROUNDING, flat."""
    return [round(value) for value in (values.flatten() / ROUNDING).tolist()]


def _test_digit(label: int) -> Tensor:
    """The first of this kind among the test set's images: uint8 (1, 28, 28)."""
    test = data.mnist().test
    return test.images[int((test.labels == label).nonzero()[0])]


def _taken(images: Tensor, run: Run) -> Tensor:
    """Digits as the run's network takes them, float (N, 1, 28, 28). images: uint8, likewise"""
    return run.stage.recipe.normalize_test(images.float() / 255)


def _signed(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}".replace("-", "−")


# --- A kernel slides over a digit -----------------------------------------------------------


def sliding_kernel(run: Run, label: int = 7, row: int = 8, column: int = 14) -> Moving:
    """The first convolution of a trained network on a digit, place by place, with its sums.

    row, column: the place that the still picture shows
    Raises MnistStepsError for a first layer that has more than a kernel: a bias, padding, a stride.
    """
    name, layer = next(
        (name, layer) for name, layer in run.build().named_modules() if isinstance(layer, nn.Conv2d)
    )
    plain = layer.bias is None and layer.stride == (1, 1) and layer.padding == (0, 0)
    if not plain or layer.in_channels != 1:
        raise MnistStepsError(
            f"{name} of stage {run.stage.number} is a {layer}: expected a convolution of one map "
            "without bias, padding and stride, as stages 2 to 10 begin with."
        )
    image = _test_digit(label)
    values = _taken(image[None], run)
    with torch.no_grad():
        maps = layer(values)[0]
    normalization = run.stage.recipe.normalize_test
    side = layer.kernel_size[0]
    kernels = layer.weight.detach()[:, 0]  # (maps, side, side)
    patch = values[0, 0, row : row + side, column : column + side]
    return Moving(
        "kernel",
        _still_kernel(image, patch, kernels[0], maps[0], row, column, name),
        {
            "layer": name,
            "stage": run.stage.number,
            "label": label,
            "pixels": image.flatten().tolist(),
            "mean": normalization.mean,
            "sd": normalization.sd,
            "side": side,
            "kernels": [[round(w, 4) for w in one.flatten().tolist()] for one in kernels],
            "row": row,
            "column": column,
        },
    )


def _still_kernel(
    image: Tensor, patch: Tensor, kernel: Tensor, made: Tensor, row: int, column: int, name: str
) -> Panels:
    side, scale = len(kernel), 5.5
    left = 12.0
    parts = [
        heading("the digit, and a patch of it", left),
        digit(left, 20, 28 * scale, image),
        rectangle(left, 20, 28 * scale, 28 * scale, stroke="grid"),
        rectangle(left + column * scale, 20 + row * scale, side * scale, side * scale,
                  stroke="train", thick=2),
        heading(f"the map of {name}", left + 170),
    ]  # fmt: skip
    parts += _map(left + 170, 25.5, scale, made)
    parts.append(
        rectangle(left + 170 + column * scale, 25.5 + row * scale, scale, scale,
                  stroke="train", thick=2)
    )  # fmt: skip
    products = patch * kernel
    total = products.sum().item()
    sums = [heading("patch × kernel = products")]
    for number, (values, sign) in enumerate(((patch, "×"), (kernel, "="), (products, ""))):
        x = 2 + 118 * number
        sums += _numbers(x, 20, values)
        sums.append(text(x + 110, 58, sign, size=14))
    sums.append(text(2, 116, f"Their sum is the unit: {_signed(total)}", "start", 12, bold=True))
    alt = (
        f"A digit, and on it the {side}×{side} patch at row {row}, column {column}; patch times "
        f"kernel, number by number, adds up to {_signed(total)}, one unit of the map of {name}."
    )
    return Panels(
        (drawn(parts, WIDTH, 180, alt), drawn(sums, WIDTH, 124, "The nine products and their sum."))
    )


SHADES = 8  # of each sign's colour in a still map


def _map(
    x: float, y: float, scale: float, values: Tensor, largest: float | None = None
) -> list[str]:
    """A map of numbers: positive and negative have a colour each. values: (H, W)"""
    most = largest or max(values.abs().max().item(), 1e-9)
    shades = (SHADES * values / most).round().int().tolist()
    cells: dict[int, list[str]] = {}  # one path for each shade: thousands of squares weigh much
    for row, numbers in enumerate(shades):
        for column, shade in enumerate(numbers):
            place = f"M{x + scale * column:.4g} {y + scale * row:.4g}"
            cells.setdefault(shade, []).append(f"{place}h{scale:.3g}v{scale:.3g}h-{scale:.3g}z")
    parts = [rectangle(x, y, scale * values.shape[1], scale * values.shape[0], stroke="grid")]
    for shade, path in cells.items():
        if shade:
            ink = colour("test" if shade > 0 else "train")
            parts.append(
                f'<path d="{"".join(path)}" '
                f'style="fill: {ink}; fill-opacity: {min(abs(shade) / SHADES, 1):.2g}"/>'
            )
    return parts


def _numbers(x: float, y: float, values: Tensor) -> list[str]:
    parts = []
    for row, numbers in enumerate(values.tolist()):
        for column, value in enumerate(numbers):
            parts += [
                rectangle(x + 34 * column, y + 25 * row, 33, 24, stroke="grid"),
                text(x + 34 * column + 16.5, y + 25 * row + 16, _signed(value)),
            ]
    return parts


# --- The affine map -------------------------------------------------------------------------


def affine_map(label: int = 4, degrees: float = 20, scale: float = 1.2) -> Moving:
    """Six numbers that move a digit: where each pixel of the output looks in the input.

    degrees, scale: of the still picture; clockwise, and how much larger
    """
    image = _test_digit(label)
    matrix = affine_matrix(degrees, scale, 0, 0)
    moved = batch_affine(image[None].float() / 255, matrix[None])[0]
    side, gap = 160.0, 20.0
    parts = [
        heading("input, and where to look"),
        heading("output", 2 + side + gap),
        digit(2, 20, side, image),
        digit(2 + side + gap, 20, side, (moved * 255).round().to(torch.uint8)),
    ]
    steps = [-1 + part / 3 for part in range(7)]
    for one in steps:
        for ends in (((one, -1.0), (one, 1.0)), ((-1.0, one), (1.0, one))):
            looks = [(matrix @ torch.tensor([*end, 1.0])).tolist() for end in ends]
            for left, points in ((2.0, looks), (2 + side + gap, ends)):
                places = [(left + (1 + x) * side / 2, 20 + (1 + y) * side / 2) for x, y in points]
                parts.append(line(*places[0], *places[1], "test", 0.6))
    numbers = [[_signed(value, 3) for value in row] for row in matrix.tolist()]
    for row, (axis, (a, b, c)) in enumerate(zip("xy", matrix.tolist(), strict=True)):
        looks_at = f"{axis} looked at: {a:.3f} x {b:+.3f} y {c:+.3f}".replace("-", "−")
        parts.append(text(2, 200 + 16 * row, looks_at, "start"))
    return Moving(
        "affine",
        drawn(
            parts, WIDTH, 222,
            f"A digit with a grid turned back by {degrees:g} degrees and made smaller by "
            f"{scale:g}: there the output looks, so the output is the digit turned and enlarged. "
            f"The matrix has the rows {' '.join(numbers[0])} and {' '.join(numbers[1])}.",
        ),
        {"label": label, "pixels": image.flatten().tolist(), "degrees": degrees, "scale": scale},
    )  # fmt: skip


def affine_matrix(degrees: float, scale: float, right: float, down: float) -> Tensor:
    """The map that turns clockwise, enlarges, then shifts by pixels: output to input, (2, 3).

    As augment.RandomAffine draws it, in the frame from -1 to 1.
    """
    turn = torch.tensor(degrees).deg2rad()
    cos, sin = turn.cos().item() / scale, turn.sin().item() / scale
    x, y = 2 * right / 28, 2 * down / 28
    return torch.tensor([[cos, sin, -cos * x - sin * y], [-sin, cos, sin * x - cos * y]])


# --- The average that forgets where ---------------------------------------------------------

SHIFTS = (-3, -2, -1, 0, 1, 2, 3)  # pixels to the right


def forgetting(before: Run, after: Run, label: int = 4, pooled: str = "gap") -> Moving:
    """Ten maps and their averages for a digit, shifted: what the scores make of it.

    before: a run whose network keeps places to the end; after: one that ends in an average
    pooled: the name of the averaging layer in `after`
    """
    image = _test_digit(label)
    shifts = torch.stack([evaluation.shifted(image, 0, right) for right in SHIFTS])
    maps, averages = _before_and_behind(after, pooled, shifts)
    old, new = (_before_and_behind(run, "log_softmax", shifts)[0] for run in (before, after))
    assert torch.allclose(new, averages.flatten(1), atol=1e-4), "the averages are the scores"
    middle, end = SHIFTS.index(0), len(SHIFTS) - 1
    return Moving(
        "average",
        Panels(
            (
                _still_maps(image, maps[middle], averages[middle].flatten(), label, after),
                _still_scores(
                    [
                        (f"stage {run.stage.number}", scores[middle], scores[end])
                        for run, scores in ((before, old), (after, new))
                    ],
                    SHIFTS[end],
                ),
            )  # fmt: skip
        ),
        {
            "label": label,
            "pixels": image.flatten().tolist(),
            "shifts": SHIFTS,
            "unit": ROUNDING,
            "side": maps.shape[2],
            "maps": [_rounded(one) for one in maps],  # each (10 · side · side)
            "stages": [before.stage.number, after.stage.number],
            "scores": [[_rounded(row) for row in scores] for scores in (old, new)],
        },
    )


@torch.no_grad()
def _before_and_behind(run: Run, name: str, images: Tensor) -> tuple[Tensor, Tensor]:
    """What a layer takes and what it gives. images: uint8 (N, 1, 28, 28)"""
    signal = _taken(images, run)
    for child, layer in run.build().named_children():
        before, signal = signal, layer(signal)
        if child == name:
            return before, signal
    raise MnistStepsError(f"stage {run.stage.number} has no layer {name!r}.")


def _still_maps(image: Tensor, maps: Tensor, averages: Tensor, label: int, run: Run) -> Figure:
    parts = [
        heading(f"stage {run.stage.number}: a map for each digit, and its average"),
        digit(2, 20, 60, image),
    ]  # fmt: skip
    largest = maps.abs().max().item()
    scale = 46 / maps.shape[2]
    for number in range(10):
        x, y = 76 + 54 * (number % 5), 32 + 84 * (number // 5)
        parts.append(text(x + 23, y - 3, str(number), bold=number == label))
        parts += _map(x, y, scale, maps[number], largest)
        parts.append(text(x + 23, y + 60, _signed(averages[number].item())))
    said = ", ".join(f"{number}: {value:.2f}" for number, value in enumerate(averages.tolist()))
    return drawn(parts, WIDTH, 186, f"A {label}, ten maps of it, and their averages: {said}.")


def _still_scores(rows: Iterable[tuple[str, Tensor, Tensor]], right: int) -> Figure:
    parts = [heading(f"scores, and after a shift of {right} pixels")]
    described = []
    for number, (name, unmoved, moved) in enumerate(rows):
        zero = 70 + 96 * number
        most = torch.stack((unmoved, moved)).abs().max().item()
        change = (moved - unmoved).abs().mean().item()
        parts.append(text(2, zero - 42, f"{name}: they move by {change:.2f} on average", "start"))
        for place in range(10):
            x = 10 + 33 * place
            for offset, scores, ink in ((0, unmoved, "muted"), (12, moved, "test")):
                tall = 36 * scores[place].item() / most
                parts.append(
                    rectangle(x + offset, zero - max(tall, 0), 11, abs(tall), ink, opacity=0.7)
                )
            parts.append(text(x + 11, zero + 48, str(place)))
        described.append(f"{name}'s scores move by {change:.2f} on average")
    return drawn(parts, WIDTH, 220, f"Shifted by {right} pixels, {'; '.join(described)}.")


# --- A 1×1 convolution mixes channels -------------------------------------------------------


def mixing(
    run: Run, layer: str = "point1", label: int = 8, row: int = 9, column: int = 9
) -> Moving:
    """One pixel's channels through the matrix of a 1×1 convolution.

    row, column: the pixel of the still picture
    Raises MnistStepsError for a layer that is no 1×1 convolution.
    """
    module = run.build().get_submodule(layer)
    if not isinstance(module, nn.Conv2d) or module.kernel_size != (1, 1):
        raise MnistStepsError(f"{layer} of stage {run.stage.number} is no 1×1 convolution.")
    image = _test_digit(label)
    taken, given = _before_and_behind(run, layer, image[None])
    matrix = module.weight.detach()[:, :, 0, 0]
    return Moving(
        "mixing",
        _still_mixing(taken[0], given[0], matrix, row, column, layer),
        {
            "layer": layer,
            "stage": run.stage.number,
            "label": label,
            "unit": ROUNDING,
            "side": taken.shape[2],
            "maps": [_rounded(one) for one in taken[0]],
            "matrix": [[round(w, 4) for w in weights] for weights in matrix.tolist()],
            "row": row,
            "column": column,
        },
    )


def _still_mixing(
    taken: Tensor, given: Tensor, matrix: Tensor, row: int, column: int, layer: str
) -> Figure:
    old, new = taken[:, row, column], given[:, row, column]
    high = 17.0
    tall = high * max(len(old), len(new))
    parts = [
        heading("channels of a pixel"),
        heading("matrix", 172, "middle"),
        heading(f"channels behind {layer}", WIDTH - 2, "end"),
    ]
    for values, zero in ((old, 46.0), (new, WIDTH - 46.0)):
        most = max(values.abs().max().item(), 1e-9)
        for place, value in enumerate(values.tolist()):
            y, long = 22 + high * place, 30 * value / most
            ink = "test" if value > 0 else "train"
            parts.append(rectangle(zero + min(long, 0), y, abs(long), high - 3, ink, opacity=0.7))
            parts.append(text(zero + (36 if zero < 100 else -36), y + 11, _signed(value),
                              "start" if zero < 100 else "end", 9))  # fmt: skip
    parts += _map(172 - 0.5 * 12 * matrix.shape[1], 22, 12, matrix)
    total = " + ".join(
        f"{_signed(w)}·{_signed(x)}" for w, x in zip(matrix[0][:2], old[:2], strict=True)
    )
    parts.append(text(2, tall + 38, f"the first: {total} + … = {_signed(new[0].item())}", "start"))
    return drawn(
        parts, WIDTH, tall + 46,
        f"The {len(old)} channels of the pixel at row {row}, column {column}, times a matrix of "
        f"{matrix.shape[0]} by {matrix.shape[1]} weights, are its {len(new)} channels behind "
        f"{layer}.",
    )  # fmt: skip
