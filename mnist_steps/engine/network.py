"""Networks handed over to C: their layers as a list of numbers, and memory for a batch.

layout.c checks the list and decides what lies where; parameters, running statistics and momentum
stay with PyTorch. A step is then a few calls of C. Nothing is looked up or allocated in between,
which for networks as small as these takes PyTorch as long as the arithmetic.
"""

import ctypes
import functools
from collections.abc import Callable, Sequence
from ctypes import c_char_p, c_double, c_int, c_void_p
from typing import Any

import torch
from torch import Tensor, nn

from mnist_steps.engine.compiler import library
from mnist_steps.errors import MnistStepsError
from mnist_steps.recipes import Normalization

IMAGES = 16  # in a block, as in layers.h

# As in network.h.
CONVOLUTION, BATCH_NORM, RELU, MAX_POOL, AVERAGE_POOL = range(5)

WHOLE_MAP = (0, 0)


def describe(layer: nn.Module) -> tuple[float, ...] | None:
    """A layer in the numbers of layout.c; None where these cannot say what it does."""
    if type(layer) is nn.Conv2d:
        weight = layer.weight
        expressible = (
            (layer.groups, layer.padding_mode) == (1, "zeros")
            and layer.stride[0] == layer.stride[1]
            and layer.dilation[0] == layer.dilation[1]
            and not isinstance(layer.padding, str)
            and any(weight.is_contiguous(memory_format=way)
                    for way in (torch.contiguous_format, torch.channels_last))
        )  # fmt: skip
        return (
            CONVOLUTION, layer.in_channels, layer.out_channels, *layer.kernel_size,
            layer.stride[0], layer.dilation[0], *layer.padding,
            layer.bias is not None, not weight.is_contiguous(),
        ) if expressible else None  # fmt: skip
    if type(layer) is nn.BatchNorm2d:
        if not (layer.affine and layer.track_running_stats) or layer.momentum is None:
            return None
        return BATCH_NORM, layer.num_features, layer.momentum, layer.eps
    if type(layer) is nn.ReLU:
        return (RELU,)
    if type(layer) is nn.AdaptiveAvgPool2d:
        return (AVERAGE_POOL, *WHOLE_MAP, 1, 1) if layer.output_size in (1, (1, 1)) else None
    if type(layer) in (nn.MaxPool2d, nn.AvgPool2d):
        usual = {"padding": 0, "dilation": 1, "ceil_mode": False, "return_indices": False,
                 "divisor_override": None}  # fmt: skip
        for name, value in usual.items():
            if _both(getattr(layer, name, value)) != _both(value):  # type: ignore[arg-type]
                return None
        kind = MAX_POOL if type(layer) is nn.MaxPool2d else AVERAGE_POOL
        return kind, *_both(layer.kernel_size), *_both(layer.stride)  # type: ignore[arg-type]
    return None


def _both(size: int | tuple[int, int]) -> tuple[int, int]:
    return size if isinstance(size, tuple) else (size, size)


def lay_out(
    numbers: Sequence[float],
    tensors: Sequence[Tensor | None] = (),
    memory: Tensor | None = None,
) -> tuple[int, tuple[int, int, int]]:
    """Lay a network out in memory; without memory, only count its bytes.

    numbers: the description, as layout.c says; tensors, memory: as in network.h
    Returns the bytes, and channels, height and width of the output. Raises Misfit, and
    MnistStepsError when there is no C compiler.
    """
    addresses = [None if tensor is None else tensor.data_ptr() for tensor in tensors]
    found = (c_int * 3)()
    size = call(
        "lay_out", (c_double * len(numbers))(*numbers), len(numbers),
        (c_void_p * len(addresses))(*addresses), memory, found,
    )  # fmt: skip
    if size < 0:
        raise Misfit(found[0], call("problem", size).decode())
    channels, height, width = found
    return size, (channels, height, width)


class Misfit(MnistStepsError):
    """A network that layout.c refuses.

    layer: which of the list has the problem; -1 when it is the network as a whole
    """

    def __init__(self, layer: int, problem: str) -> None:
        super().__init__(f"the engine refuses layer {layer}: {problem}")
        self.layer, self.problem = layer, problem


class Network:
    """Layers one after another, for batches of one size, with room for one batch.

    It computes with the modules' own parameters and running statistics, at the places where these
    lie when it is made; hooks are not called.

    modules: those that `describe` can describe
    count, height, width: of the images in a batch
    training: whether batch normalization uses the batch's own statistics, and `backward` follows;
        count is then a multiple of IMAGES
    velocity_of: where the momentum of a parameter lies, if there is one
    Raises Misfit.
    """

    def __init__(
        self,
        modules: Sequence[Any],
        count: int,
        height: int,
        width: int,
        training: bool,
        velocity_of: Callable[[Tensor], Tensor | None] = lambda weight: None,
    ) -> None:
        self.modules, self.count, self.training = list(modules), count, training
        self.image_shape = (modules[0].in_channels, height, width)
        numbers = [count, *self.image_shape, training]
        self.parameters: list[Tensor] = []
        self.gradients: list[Tensor] = []
        tensors: list[Tensor | None] = []
        for module in modules:
            numbers += describe(module) or [-1]
            for weight in module.parameters():
                gradient = torch.empty_strided(weight.shape, weight.stride())
                tensors += weight, gradient, velocity_of(weight)
                self.parameters.append(weight)
                self.gradients.append(gradient)
            if isinstance(module, nn.BatchNorm2d):
                tensors += module.running_mean, module.running_var
        size, self.output_shape = lay_out(numbers)
        self.memory, self.tensors = torch.empty(size, dtype=torch.uint8), tensors
        lay_out(numbers, tensors, self.memory)

    def prepare(
        self, images: Tensor, chosen: Tensor, maps: Tensor | None, normalization: Normalization
    ) -> None:
        """Take images as the next batch, each moved by a map of its own, and normalized.

        images: uint8 tensor (N, 1, height, width); chosen: int32 tensor (count,), which of them
        maps: float32 tensor (count, 2, 3), as in augment.batch_affine; None leaves images as
            they are
        """
        assert images.shape[1:] == self.image_shape and len(chosen) == self.count
        assert maps is None or len(maps) == self.count
        mean, sd = float(normalization.mean), float(normalization.sd)
        self._call("prepare", images, chosen, maps, mean, sd, torch.get_num_threads())

    def load(self, images: Tensor) -> None:
        """Take images, float32 tensor (count, channels, height, width), as the next batch."""
        assert images.shape == (self.count, *self.image_shape)
        self._call("load", images.contiguous())

    def forward(self) -> None:
        for module in self.modules:
            if self.training and isinstance(module, nn.BatchNorm2d):
                assert module.num_batches_tracked is not None
                module.num_batches_tracked.add_(1)
        self._call("forward", torch.get_num_threads())

    def result(self) -> Tensor:
        """What `forward` computed: float32 tensor (count, channels, height, width)."""
        result = torch.empty(self.count, *self.output_shape)
        self._call("result", result)
        return result

    def loss(self, labels: Tensor, chosen: Tensor) -> tuple[float, int]:
        """The mean loss of the batch, and how many of its images were recognized.

        labels: uint8 tensor (N,), of all images; chosen: as for `prepare`
        """
        correct = c_int()
        return self._call("loss", labels, chosen, ctypes.byref(correct)), correct.value

    def backward(self, output_gradient: Tensor | None = None) -> None:
        """Write `gradients`, those of all `parameters`.

        output_gradient: of `result`; None after `loss`
        """
        if output_gradient is not None:
            self._call("pass_back", output_gradient.contiguous())
        self._call("backward", torch.get_num_threads())

    def update(
        self, learning_rate: float, momentum: float, weight_decay: float, nesterov: bool
    ) -> None:
        """As torch.optim.SGD."""
        numbers = map(float, (learning_rate, momentum, weight_decay))
        self._call("update", *numbers, nesterov)

    def _call(self, name: str, *arguments: Any) -> Any:
        return call(name, self.memory, *arguments)


RETURNED: dict[str, Any] = {
    "lay_out": c_int,
    "problem": c_char_p,
    "has_threads": c_int,
    "loss": c_double,
}


@functools.cache
def _function(name: str) -> Any:
    function = getattr(library(), name)
    function.restype = RETURNED.get(name)
    return function


def call(name: str, *arguments: Any) -> Any:
    """Call a function of network.h; it gets tensors as addresses, and floats as doubles.

    Raises MnistStepsError when there is no C compiler.
    """
    return _function(name)(*map(_in_c, arguments))


def _in_c(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        assert argument.is_contiguous(), "C reads one number after another"
        return c_void_p(argument.data_ptr())
    return c_double(argument) if isinstance(argument, float) else argument
