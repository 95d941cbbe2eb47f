"""Networks laid out for network.c: every layer's settings and places in memory, filled in once.

A step is then a few calls of C. Nothing is looked up or allocated in between, which for networks
as small as these takes PyTorch as long as the arithmetic.
"""

import ctypes
import functools
from collections.abc import Sequence
from ctypes import c_double, c_int, c_long, c_void_p
from typing import Any

import torch
from torch import Tensor, nn

from mnist_steps.engine.compiler import library
from mnist_steps.recipes import Normalization

IMAGES = 16  # in a block, as in layers.h

# With more channels, which only stage 1 has, PyTorch's convolutions are faster.
MOST_CHANNELS = 128

# As in network.c.
CONVOLUTION, BATCH_NORM, RELU, MAX_POOL, AVERAGE_POOL = range(5)


def known(layer: nn.Module) -> bool:
    """Whether layers.c has it, with these settings, and is faster than PyTorch."""
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


class _Shape(ctypes.Structure):
    """As in layers.h; of a map in memory [block][row][column][channel][image of the block]."""

    _fields_ = [(name, c_int) for name in ("blocks", "height", "width", "channels")]

    def numbers(self) -> int:
        return int(self.blocks * self.height * self.width * self.channels * IMAGES)

    def room(self) -> Tensor:
        return torch.empty(self.numbers())


class _Convolution(ctypes.Structure):
    """As in layers.h."""

    _fields_ = [
        *((name, c_int) for name in (
            "blocks", "in_channels", "in_height", "in_width",
            "out_channels", "out_height", "out_width",
            "kernel_height", "kernel_width", "stride", "padding_height", "padding_width",
        )),
        *((name, c_long) for name in ("next_out", "next_in", "next_row", "next_column")),
    ]  # fmt: skip


class _Pooling(ctypes.Structure):
    """As in layers.h."""

    _fields_ = [*_Shape._fields_, ("window_height", c_int), ("window_width", c_int)]


class _Layer(ctypes.Structure):
    """As in network.c."""

    _fields_ = [
        ("kind", c_int), ("relu", c_int),
        ("shape", _Shape), ("convolution", _Convolution), ("pooling", _Pooling),
        *((name, c_void_p) for name in (
            "weight", "bias", "weight_gradient", "bias_gradient",
            "running_mean", "running_variance", "saved",
        )),
        ("momentum", c_double), ("eps", c_double), ("x", c_void_p), ("y", c_void_p),
    ]  # fmt: skip


class Network:
    """Known layers one after another, for batches of one size, with room for one batch.

    It computes with the modules' own parameters and running statistics, at the places where these
    lie when it is made; hooks are not called.

    modules: the first one an nn.Conv2d, the only one that may have a stride
    count, height, width: of the images in a batch
    training: whether batch normalization uses the batch's own statistics, and `backward` follows;
        count is then a multiple of IMAGES
    """

    def __init__(
        self, modules: Sequence[Any], count: int, height: int, width: int, training: bool
    ) -> None:
        assert not training or count % IMAGES == 0
        self.modules, self.count, self.training = list(modules), count, training
        self.image_shape = (modules[0].in_channels, height, width)
        self.parameters = [weight for module in modules for weight in module.parameters()]
        self.gradients = [
            torch.empty_strided(weight.shape, weight.stride()) for weight in self.parameters
        ]
        shape = _Shape(-(-count // IMAGES), height, width, modules[0].in_channels)
        self.layers, shapes = self._lay_out(shape)
        self._place(shapes)
        self.in_c = (_Layer * len(self.layers))(*self.layers)
        self.output_shape = shapes[-1].channels, shapes[-1].height, shapes[-1].width

    def _lay_out(self, shape: _Shape) -> tuple[list[_Layer], list[_Shape]]:
        """What each layer is, and the shapes of all maps, from the images to the output."""
        layers, shapes, gradients = [], [shape], iter(self.gradients)
        rest: list[Any] = self.modules.copy()
        self.kept: list[Tensor] = []  # memory that only addresses point to
        while rest:
            module = rest.pop(0)
            layer, output = _describe(module, shapes[-1])
            if layer.kind in (CONVOLUTION, BATCH_NORM):
                if rest and type(rest[0]) is nn.ReLU:
                    rest.pop(0)
                    layer.relu = 1
                layer.weight = module.weight.data_ptr()
                layer.weight_gradient = next(gradients).data_ptr()
                if module.bias is not None:
                    layer.bias = module.bias.data_ptr()
                    layer.bias_gradient = next(gradients).data_ptr()
            if layer.kind == BATCH_NORM:
                layer.running_mean = module.running_mean.data_ptr()
                layer.running_variance = module.running_var.data_ptr()
                self.kept.append(torch.empty(4, module.num_features))
                layer.saved = self.kept[-1].data_ptr()
            layers.append(layer)
            shapes.append(output)
        return layers, shapes

    def _place(self, shapes: Sequence[_Shape]) -> None:
        """Decide where layers read and write.

        Backward needs what every layer wrote. Otherwise two places serve in turn, one that is
        read and one that is written; so they do for gradients.
        """
        largest = max(shapes, key=_Shape.numbers)
        self.turns = largest.room(), largest.room()
        self.input = read = shapes[0].room() if self.training else self.turns[0]
        for layer, shape in zip(self.layers, shapes[1:], strict=True):
            in_place = layer.kind == RELU or (layer.kind == BATCH_NORM and not self.training)
            if in_place:
                written = read
            elif self.training:
                written = shape.room()
                self.kept.append(written)
            else:
                written = self.turns[read is self.turns[0]]
            layer.x, layer.y = read.data_ptr(), written.data_ptr()
            read = written
        self.output = read

    def prepare(
        self, images: Tensor, chosen: Tensor, maps: Tensor | None, normalization: Normalization
    ) -> None:
        """Take images as the next batch, each moved by a map of its own, and normalized.

        images: uint8 tensor (N, 1, height, width); chosen: int64 tensor (count,), which of them
        maps: float32 tensor (count, 2, 3), as in augment.batch_affine; None leaves images as
            they are
        """
        _, height, width = self.image_shape
        assert len(chosen) == self.count and (maps is None or len(maps) == self.count)
        for tensor in (images, chosen, *([] if maps is None else [maps])):
            assert tensor.is_contiguous(), "C reads one number after another"
        call(
            "prepare", images, chosen, maps, self.input, self.count, height, width,
            c_double(normalization.mean), c_double(normalization.sd), torch.get_num_threads(),
        )  # fmt: skip

    def load(self, images: Tensor) -> None:
        """Take images, float32 tensor (count, channels, height, width), as the next batch."""
        channels, height, width = self.image_shape
        assert images.shape == (self.count, channels, height, width)
        images = images.contiguous()
        call("pack", images, self.input, self.count, channels, height * width)

    def forward(self) -> None:
        for module in self.modules:
            if self.training and isinstance(module, nn.BatchNorm2d):
                assert module.num_batches_tracked is not None
                module.num_batches_tracked.add_(1)
        call("forward", self.in_c, len(self.layers), self.training, torch.get_num_threads())

    def result(self) -> Tensor:
        """What `forward` computed: float32 tensor (count, channels, height, width)."""
        channels, height, width = self.output_shape
        result = torch.empty(self.count, channels, height, width)
        call("unpack", self.output, result, self.count, channels, height * width)
        return result

    def backward(self, output_gradient: Tensor | None = None) -> None:
        """Write `gradients`, those of all `parameters`.

        output_gradient: of `result`; where None it lies in turns[0] already, in blocks
        """
        if output_gradient is not None:
            channels, height, width = self.output_shape
            contiguous = output_gradient.contiguous()
            call("pack", contiguous, self.turns[0], self.count, channels, height * width)
        threads = torch.get_num_threads()
        call("backward", self.in_c, len(self.layers), *self.turns, threads)


def _describe(module: Any, shape: _Shape) -> tuple[_Layer, _Shape]:
    """The settings of a layer that reads maps of this shape, and the shape that it writes."""
    sizes = shape.blocks, shape.height, shape.width, shape.channels
    layer = _Layer(shape=shape)
    if isinstance(module, nn.Conv2d):
        layer.kind = CONVOLUTION
        height, width = (
            (size + 2 * padding - kernel) // module.stride[0] + 1
            for size, padding, kernel in zip(
                (shape.height, shape.width),
                _both(module.padding),  # type: ignore[arg-type]
                module.kernel_size,
                strict=True,
            )
        )
        layer.convolution = _Convolution(
            shape.blocks, shape.channels, shape.height, shape.width,
            module.out_channels, height, width, *module.kernel_size, module.stride[0],
            *module.padding, *module.weight.stride(),
        )  # fmt: skip
        return layer, _Shape(shape.blocks, height, width, module.out_channels)
    if isinstance(module, nn.BatchNorm2d):
        layer.kind, layer.momentum, layer.eps = BATCH_NORM, module.momentum, module.eps
        return layer, shape
    if isinstance(module, nn.ReLU):
        layer.kind = RELU
        return layer, shape
    layer.kind = MAX_POOL if isinstance(module, nn.MaxPool2d) else AVERAGE_POOL
    window = (
        (shape.height, shape.width)
        if isinstance(module, nn.AdaptiveAvgPool2d)
        else _both(module.kernel_size)
    )
    layer.pooling = _Pooling(*sizes, *window)
    return layer, _Shape(
        shape.blocks, shape.height // window[0], shape.width // window[1], shape.channels
    )


def _both(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


@functools.cache
def _declared(found: ctypes.CDLL) -> ctypes.CDLL:
    """The functions of network.c, now that what they return is known."""
    for name in ("pack", "unpack", "update", "keep_memory"):
        getattr(found, name).restype = None
    found.loss_and_gradient.restype = c_double
    return found


def call(name: str, *arguments: Any) -> Any:
    """Call a function of network.c; it gets tensors as addresses.

    Raises MnistStepsError when there is no C compiler.
    """
    function = getattr(_declared(library()), name)
    result = function(
        *(
            c_void_p(argument.data_ptr()) if isinstance(argument, Tensor) else argument
            for argument in arguments
        )
    )
    if function.restype is c_int and not result:
        raise MemoryError(f"no memory for {name}")
    return result
