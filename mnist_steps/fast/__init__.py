"""Small networks, several times as fast on CPUs: their layers in C, 16 images at a time.

PyTorch's convolutions fill a vector unit with channels, and are made for many of them; the
networks here have 10 to 18. Batches are large, however: where 16 images lie side by side, every
register is full whatever the number of channels. The layers are in kernels.c, one function each
way, and layers.py puts them together: to PyTorch, all of them are one operation. Results differ
from PyTorch's by rounding only, and not with the number of threads.
"""

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.autograd.function import once_differentiable

from mnist_steps.augment import Transform, draw
from mnist_steps.fast.compiler import library
from mnist_steps.fast.layers import IMAGES, Network, call, known, parameters_of


class FastSequential(nn.Sequential):
    """nn.Sequential whose layers up to the first Flatten compute in blocks of images.

    It reads the layers' parameters and settings and does not call them: no hook of theirs runs.
    """

    def forward(self, images: Tensor) -> Tensor:
        layers = list(self)
        end = next(place for place, layer in enumerate(layers) if type(layer) is nn.Flatten)
        parameters = [parameter for layer in layers[:end] for parameter in parameters_of(layer)]
        if not self._in_blocks(images, parameters):
            return super().forward(images)
        network = _take(self, layers[:end], images.shape)
        if self.training:
            x = _Blocks.apply(images, self, network, *parameters)
        else:
            x = network.forward(images)
            _give_back(self, network)
        for layer in layers[end:]:
            x = layer(x)
        return x

    def _in_blocks(self, images: Tensor, parameters: list[Tensor]) -> bool:
        """Whether this batch can go this way; otherwise it takes PyTorch's."""
        for tensor in (images, *parameters):
            if tensor.device.type != "cpu" or tensor.dtype != torch.float32:
                return False
        if images.requires_grad or any(layer.training != self.training for layer in self):
            return False
        if self.training:
            return len(images) % IMAGES == 0
        return not torch.is_grad_enabled()


class _Blocks(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, images: Tensor, model: FastSequential, network: Network, *parameters: Tensor
    ) -> Tensor:
        ctx.model, ctx.network = model, network
        ctx.save_for_backward(*parameters)  # so that PyTorch notices when they change meanwhile
        return network.forward(images)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, output_gradient: Tensor) -> tuple[Tensor | None, ...]:
        assert len(ctx.saved_tensors), "PyTorch's error for a second backward comes from here"
        gradients = ctx.network.backward(output_gradient)
        _give_back(ctx.model, ctx.network)
        return None, None, None, *gradients


# Networks with room for a batch, which no step uses at the moment. A step keeps its own from
# forward to backward, so that another forward in between does not write over what it needs.
_free: "weakref.WeakKeyDictionary[nn.Module, list[Network]]" = weakref.WeakKeyDictionary()


def _take(model: FastSequential, modules: list[nn.Module], images: torch.Size) -> Network:
    free = _free.setdefault(model, [])
    for place, network in enumerate(free):
        if network.fits(modules, images):
            return free.pop(place)
    return Network(modules, images)


def _give_back(model: FastSequential, network: Network) -> None:
    _free[model].append(network)


def speed_up(model: nn.Module) -> nn.Module:
    """Let a network that gains by it compute this way. Changes the model, and returns it.

    Parameters and their names stay as they are, and so does a network of another kind: with
    other layers than stages 3 to 8, or with many channels. It gains only in that memory is kept
    for its next step.
    Raises MnistStepsError when there is no C compiler.
    """
    library().keep_memory()
    if isinstance(model, nn.Sequential) and _gains(list(model)):
        model.__class__ = FastSequential  # the same network with another forward
    return model


def _gains(layers: list[nn.Module]) -> bool:
    kinds = [type(layer) for layer in layers]
    if nn.Flatten not in kinds or kinds[0] is not nn.Conv2d:
        return False
    before_flatten = layers[: kinds.index(nn.Flatten)]
    return all(map(known, before_flatten)) and all(
        layer.stride == (1, 1) for layer in before_flatten[1:] if isinstance(layer, nn.Conv2d)
    )


def augment(images: Tensor, transforms: Sequence[Transform], generator: Generator) -> Tensor:
    """As `mnist_steps.augment.augment`, drawing the same, for images (N, 1, H, W) on the CPU."""
    if not transforms:
        return images
    images, maps = images.contiguous(), draw(transforms, len(images), generator).contiguous()
    count, _, height, width = images.shape
    result = torch.empty_like(images)
    call("resample", images, maps, result, count, height, width, torch.get_num_threads())
    return result
