"""How many bytes a file of a network holds, written in three ways.

    dense        every number, one after another
    sparse       only what is not zero, each with its position
    compressed   the dense file through zlib, which finds zeros and repeated bytes by itself

Batch normalization, once trained, is two numbers a channel, a factor and a summand, and so it is
counted here for every network.
"""

import itertools
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mnist_steps.experiments.roads.quantization import codes


@dataclass(frozen=True)
class Bytes:
    dense: int
    sparse: int
    compressed: int

    @property
    def least(self) -> int:
        return min(self.dense, self.sparse, self.compressed)

    @property
    def way(self) -> str:
        """The one that is smallest."""
        return min(("dense", "sparse", "compressed"), key=lambda name: getattr(self, name))


def of(model: nn.Sequential, bits: int | None = None) -> Bytes:
    """What a network's file takes; bits: of a convolution's weights, None for float32."""
    content = bytearray()
    sparse = 0
    for tensor, width in _numbers(model, bits):
        packed = _packed(tensor, width)
        content += packed
        filled = int((tensor != 0).sum().item())
        position = 2 if tensor.numel() <= 2**16 else 4
        sparse += min(len(packed), filled * position + -(-filled * width // 8))
    return Bytes(len(content), sparse, len(zlib.compress(bytes(content), 9)))


def _numbers(model: nn.Sequential, bits: int | None) -> Iterator[tuple[Tensor, int]]:
    """The tensors of a file, each with the bits of one number."""
    for layer, after in itertools.pairwise(model):
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_var is not None and layer.running_mean is not None
            factor = layer.weight / (layer.running_var + layer.eps).sqrt()
            yield factor.detach(), 32
            yield (layer.bias - layer.running_mean * factor).detach(), 32
            continue
        if isinstance(layer, nn.Conv2d) and bits is not None:
            whole, scale = codes(layer.weight, bits)
            yield whole, bits
            if not isinstance(after, nn.BatchNorm2d):  # whose factor takes the scale in
                yield scale, 32
        elif isinstance(layer, nn.Conv2d):
            yield layer.weight.detach(), 32
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            yield layer.bias.detach(), 32


def _packed(tensor: Tensor, bits: int) -> bytes:
    flat = tensor.flatten()
    if bits == 32:
        return flat.contiguous().numpy().astype("<f4").tobytes()
    if bits == 8:
        return flat.to(torch.int8).numpy().tobytes()
    pairs = torch.nn.functional.pad(flat.to(torch.int16) & 15, (0, len(flat) % 2)).view(-1, 2)
    return (pairs[:, 0] * 16 + pairs[:, 1]).to(torch.uint8).numpy().tobytes()
