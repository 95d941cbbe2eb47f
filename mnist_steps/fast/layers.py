"""What kernels.c computes, layer by layer: forward, and backward without PyTorch's autograd.

A network is a list of layers with room for everything that a step writes, laid out once for a
number of images. A step is then one call of C after another; nothing is looked up or allocated in
between, which for networks as small as these would take as long as the arithmetic.
"""

import ctypes
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mnist_steps.fast.compiler import library

IMAGES = 16  # in a block, as in kernels.c

# With more channels, PyTorch's convolutions are faster.
MOST_CHANNELS = 32


@dataclass(frozen=True)
class Shape:
    """Of a map in blocks, in memory [block][row][column][channel][image of the block]."""

    blocks: int
    height: int
    width: int
    channels: int

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        return self.blocks, self.height, self.width, self.channels

    def room(self) -> Tensor:
        return torch.empty(math.prod(self.sizes) * IMAGES)


def call(name: str, *arguments: Any) -> None:
    """Call a function of kernels.c; it gets tensors as addresses."""
    passed = [
        ctypes.c_void_p(argument.data_ptr()) if isinstance(argument, Tensor) else argument
        for argument in arguments
    ]
    if not getattr(library(), name)(*passed):
        raise MemoryError(f"no memory for {name}")


# --- Layers ---------------------------------------------------------------------------------


class Layer:
    """One layer of a network for a fixed number of images.

    layer: of PyTorch, whose parameters it reads, and whose gradients `backward` writes
    output: the shape of what `forward` writes
    in_place: whether what it writes may take the place of what it reads
    """

    layer: Any
    output: Shape
    in_place = False

    def forward(self, x: Tensor, y: Tensor, threads: int) -> None:
        """Write the output y for the input x, and note what `backward` needs."""
        raise NotImplementedError

    def backward(
        self, dy: Tensor, dx: Tensor | None, gradients: Sequence[Tensor], threads: int
    ) -> bool:
        """Write the gradients of the parameters, and that of the input to dx where it is there.

        dy: the gradient of the output. Where dx can take its place, it does, and True is returned.
        """
        raise NotImplementedError


class _Convolution(ctypes.Structure):
    """As in kernels.c: shapes of input, output and kernel, and the strides of the weight."""

    _fields_ = [
        *((name, ctypes.c_int) for name in (
            "blocks", "in_channels", "in_height", "in_width",
            "out_channels", "out_height", "out_width",
            "kernel_height", "kernel_width", "stride", "padding_height", "padding_width",
        )),
        *((name, ctypes.c_long) for name in ("next_out", "next_in", "next_row", "next_column")),
    ]  # fmt: skip


class Convolution(Layer):
    """nn.Conv2d, and the nn.ReLU after it where there is one."""

    def __init__(self, layer: nn.Conv2d, shape: Shape, relu: bool) -> None:
        assert not isinstance(layer.padding, str), "known() leaves such a layer alone"
        height, width = (
            (size + 2 * padding - kernel) // layer.stride[0] + 1
            for size, padding, kernel in zip(
                (shape.height, shape.width), layer.padding, layer.kernel_size, strict=True
            )
        )
        self.output = Shape(shape.blocks, height, width, layer.out_channels)
        self.layer, self.relu = layer, relu
        self.shape = _Convolution(
            shape.blocks, shape.channels, shape.height, shape.width,
            layer.out_channels, height, width, *layer.kernel_size, layer.stride[0], *layer.padding,
        )  # fmt: skip
        self.in_c = ctypes.byref(self.shape)

    def forward(self, x: Tensor, y: Tensor, threads: int) -> None:
        shape, layer = self.shape, self.layer
        shape.next_out, shape.next_in, shape.next_row, shape.next_column = layer.weight.stride()
        call("convolution", x, layer.weight, layer.bias, y, self.relu, self.in_c, threads)
        self.x, self.y = x, y

    def backward(
        self, dy: Tensor, dx: Tensor | None, gradients: Sequence[Tensor], threads: int
    ) -> bool:
        if self.relu:
            call("relu_backward", self.y, dy, *self.output.sizes, threads)
        call("convolution_weight_gradient", self.x, dy, gradients[0], self.in_c, threads)
        if self.layer.bias is not None:
            call("channel_sums", dy, gradients[1], *self.output.sizes, threads)
        if dx is not None:
            call("convolution_input_gradient", dy, self.layer.weight, dx, self.in_c, threads)
        return False


class BatchNorm(Layer):
    """nn.BatchNorm2d, and the nn.ReLU after it where there is one."""

    def __init__(self, layer: nn.BatchNorm2d, shape: Shape, relu: bool) -> None:
        self.layer, self.output, self.relu = layer, shape, relu
        self.in_place = not layer.training
        self.saved = torch.empty(4, shape.channels)

    def forward(self, x: Tensor, y: Tensor, threads: int) -> None:
        layer, sizes = self.layer, self.output.sizes
        assert layer.running_mean is not None and layer.running_var is not None
        if not layer.training:
            scale = layer.weight / (layer.running_var + layer.eps).sqrt()
            shift = layer.bias - layer.running_mean * scale
            call("scale_and_shift", x, scale, shift, y, self.relu, *sizes, threads)
            return
        assert layer.momentum is not None and layer.num_batches_tracked is not None
        layer.num_batches_tracked.add_(1)
        call(
            "batch_norm", x, layer.weight, layer.bias, layer.running_mean, layer.running_var,
            ctypes.c_double(layer.momentum), ctypes.c_double(layer.eps), self.saved, y, self.relu,
            *sizes, threads,
        )  # fmt: skip
        self.x = x

    def backward(
        self, dy: Tensor, dx: Tensor | None, gradients: Sequence[Tensor], threads: int
    ) -> bool:
        call(
            "batch_norm_backward", self.x, dy, self.saved, *gradients, self.relu,
            *self.output.sizes, threads,
        )  # fmt: skip
        return True


class ReLU(Layer):
    in_place = True

    def __init__(self, layer: nn.ReLU, shape: Shape) -> None:
        self.layer, self.output = layer, shape

    def forward(self, x: Tensor, y: Tensor, threads: int) -> None:
        call("relu", x, y, *self.output.sizes, threads)
        self.y = y

    def backward(
        self, dy: Tensor, dx: Tensor | None, gradients: Sequence[Tensor], threads: int
    ) -> bool:
        call("relu_backward", self.y, dy, *self.output.sizes, threads)
        return True


class _Pooling(ctypes.Structure):
    """As in kernels.c."""

    _fields_ = [(name, ctypes.c_int) for name in (
        "blocks", "height", "width", "channels", "window_height", "window_width",
    )]  # fmt: skip


class Pooling(Layer):
    """nn.MaxPool2d, nn.AvgPool2d or nn.AdaptiveAvgPool2d, with windows side by side."""

    def __init__(self, layer: nn.Module, shape: Shape) -> None:
        self.layer, self.largest = layer, isinstance(layer, nn.MaxPool2d)
        if isinstance(layer, nn.AdaptiveAvgPool2d):
            window = shape.height, shape.width
        else:
            assert isinstance(layer, nn.MaxPool2d | nn.AvgPool2d)
            window = _both(layer.kernel_size)
        height, width = shape.height // window[0], shape.width // window[1]
        self.output = Shape(shape.blocks, height, width, shape.channels)
        self.in_c = ctypes.byref(_Pooling(*shape.sizes, *window))

    def forward(self, x: Tensor, y: Tensor, threads: int) -> None:
        call("max_pool" if self.largest else "average_pool", x, y, self.in_c, threads)
        self.x, self.y = x, y

    def backward(
        self, dy: Tensor, dx: Tensor | None, gradients: Sequence[Tensor], threads: int
    ) -> bool:
        if dx is not None and self.largest:
            call("max_pool_backward", self.x, self.y, dy, dx, self.in_c, threads)
        elif dx is not None:
            call("average_pool_backward", dy, dx, self.in_c, threads)
        return False


def _both(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def known(layer: nn.Module) -> bool:
    """Whether kernels.c has it, with these settings, and is faster than PyTorch."""
    if type(layer) is nn.Conv2d:
        return (
            max(layer.in_channels, layer.out_channels) <= MOST_CHANNELS
            and (layer.groups, layer.dilation, layer.padding_mode) == (1, (1, 1), "zeros")
            and layer.stride[0] == layer.stride[1]
            and not isinstance(layer.padding, str)
            and all(p < k for p, k in zip(layer.padding, layer.kernel_size, strict=True))
        )
    if type(layer) is nn.BatchNorm2d:
        return layer.affine and layer.track_running_stats and layer.momentum is not None
    if type(layer) is nn.AdaptiveAvgPool2d:
        return layer.output_size in (1, (1, 1))
    if type(layer) in (nn.MaxPool2d, nn.AvgPool2d):
        side_by_side = _both(layer.stride) == _both(layer.kernel_size)  # type: ignore[arg-type]
        usual = {"padding": 0, "dilation": 1, "ceil_mode": False, "return_indices": False,
                 "divisor_override": None}  # fmt: skip
        return side_by_side and all(
            getattr(layer, name, value) in (value, (value, value)) for name, value in usual.items()
        )
    return type(layer) is nn.ReLU


# --- Networks -------------------------------------------------------------------------------


class Network:
    """Known layers one after another, for batches of one size, with room for one batch.

    modules: the first one an nn.Conv2d; all in training mode, or all in evaluation mode
    images: the shape (N, C, H, W) of a batch
    """

    def __init__(self, modules: Sequence[nn.Module], images: torch.Size) -> None:
        self.modules, self.images, self.training = list(modules), images, modules[0].training
        shape = Shape(-(-images[0] // IMAGES), images[2], images[3], images[1])
        shapes, self.layers = [shape], list[Layer]()
        rest = self.modules.copy()
        while rest:
            module = rest.pop(0)
            relu = type(module) in (nn.Conv2d, nn.BatchNorm2d) and type((*rest, None)[0]) is nn.ReLU
            if relu:
                rest.pop(0)
            self.layers.append(_layer(module, shapes[-1], relu))
            shapes.append(self.layers[-1].output)
        self.output = shapes[-1]
        # Backward needs what every layer wrote. Otherwise two places serve in turn, for what is
        # read and for what is written; so they do for gradients.
        largest = max(shapes, key=lambda shape: math.prod(shape.sizes))
        self.turns = largest.room(), largest.room()
        self.maps = [shapes[0].room() if self.training else self.turns[0]]
        for layer in self.layers:
            read = self.maps[-1]
            if layer.in_place:
                self.maps.append(read)
            elif self.training:
                self.maps.append(layer.output.room())
            else:
                self.maps.append(self.turns[read is self.turns[0]])

    def fits(self, modules: Sequence[nn.Module], images: torch.Size) -> bool:
        """Whether it was made for these very modules, in this mode, and such a batch."""
        return (
            self.images == images
            and self.modules == modules
            and self.training == modules[0].training
        )

    def forward(self, images: Tensor) -> Tensor:
        """images: float32 tensor (N, C, H, W). Returns the last layer's output (N, C', H', W')."""
        threads = torch.get_num_threads()
        count, channels, height, width = images.shape
        call("pack", images.contiguous(), self.maps[0], count, channels, height * width, threads)
        for layer, x, y in zip(self.layers, self.maps, self.maps[1:], strict=False):
            layer.forward(x, y, threads)
        _, height, width, channels = self.output.sizes
        result = torch.empty(count, channels, height, width)
        call("unpack", self.maps[-1], result, count, channels, height * width)
        return result

    def backward(self, output_gradient: Tensor) -> list[Tensor]:
        """output_gradient: of what `forward` returned last. Returns those of all parameters."""
        threads = torch.get_num_threads()
        count, channels, height, width = output_gradient.shape
        dy, dx = self.turns
        call("pack", output_gradient.contiguous(), dy, count, channels, height * width, threads)
        found: list[Tensor] = []
        for layer in reversed(self.layers):
            gradients = [
                torch.empty_strided(parameter.shape, parameter.stride())
                for parameter in parameters_of(layer.layer)
            ]
            last = layer is self.layers[0]  # the gradient of the images is not asked for
            if not layer.backward(dy, None if last else dx, gradients, threads):
                dy, dx = dx, dy
            found = gradients + found
        return found


def parameters_of(module: nn.Module) -> list[Tensor]:
    """As module.parameters(), for a known one, in a hundredth of the time."""
    if not isinstance(module, nn.Conv2d | nn.BatchNorm2d):
        return []
    return [module.weight] if module.bias is None else [module.weight, module.bias]


def _layer(module: nn.Module, shape: Shape, relu: bool) -> Layer:
    if isinstance(module, nn.Conv2d):
        return Convolution(module, shape, relu)
    if isinstance(module, nn.BatchNorm2d):
        return BatchNorm(module, shape, relu)
    if isinstance(module, nn.ReLU):
        return ReLU(module, shape)
    return Pooling(module, shape)
