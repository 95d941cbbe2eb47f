"""Networks that the tests of tracing, receptive fields and summaries share.

Each shows one thing that calculators get wrong; `random_networks` mixes them all.
"""

from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS = 2
INPUT = (CHANNELS, 11, 9)  # neither square nor a power of two
LARGEST = 24  # of a map's side, to keep probing quick


class Branches(nn.Module):
    """A residual sum of a 3×3 convolution and what went in: the field is 3, not 3 + 1."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + x


class Inception(nn.Module):
    """Three kernels side by side; the field is the largest one's, 5."""

    def __init__(self) -> None:
        super().__init__()
        self.point = nn.Conv2d(1, 2, 1)
        self.small = nn.Conv2d(1, 2, 3, padding=1)
        self.large = nn.Conv2d(1, 2, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.point(x), self.small(x), self.large(x)], dim=1)


class Cross(nn.Module):
    """A row and a column of five pixels: together 9 pixels, not the 25 of their square."""

    def __init__(self) -> None:
        super().__init__()
        self.row = nn.Conv2d(1, 1, (1, 5), padding=(0, 2))
        self.column = nn.Conv2d(1, 1, (5, 1), padding=(2, 0))

    def forward(self, x: Tensor) -> Tensor:
        return self.row(x) + self.column(x)


class Functional(nn.Module):
    """Pooling and resizing by function call only."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv(x)), 2)
        x = F.interpolate(F.pad(x, (1, 1, 1, 1)), scale_factor=2, mode="bilinear")
        return x.mean((2, 3))


class SqueezeExcitation(nn.Module):
    """A gate from the mean of the whole map: from here on, every unit sees everything."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.squeeze = nn.Conv2d(4, 2, 1)
        self.excite = nn.Conv2d(2, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        gate = F.adaptive_avg_pool2d(x, 1)
        return x * self.excite(self.squeeze(gate).relu()).sigmoid()


class Shared(nn.Module):
    """One convolution used twice: its 10 parameters count once, its field grows twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(torch.relu(self.conv(x)))


class ChannelShuffle(nn.Module):
    """Halves, one of them convolved, shuffled together by view and transpose."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, dim=1)
        x = torch.cat((left, self.conv(right)), dim=1)
        batch, channels, height, width = x.size()
        x = x.view(batch, 2, channels // 2, height, width)
        return torch.transpose(x, 1, 2).contiguous().view(batch, -1, height, width)


class ChannelsLast(nn.Module):
    """ConvNeXt's way: layer normalization and a linear layer over channels, in NHWC."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.LayerNorm(4)
        self.mix = nn.Linear(4, 4)
        self.scale = nn.Parameter(torch.ones(4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        y = self.mix(self.norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        return x + self.scale * y


class Decoder(nn.Module):
    """A linear layer, then a map from it: all places see everything."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(INPUT[0] * INPUT[1] * INPUT[2], 3)
        self.decode = nn.Linear(3, 2 * 3 * 4)
        self.grow = nn.ConvTranspose2d(2, 2, 1, stride=2)  # every other unit sees nothing

    def forward(self, x: Tensor) -> Tensor:
        code = self.encode(x.flatten(1))
        return self.grow(self.decode(code).view(-1, 2, 3, 4))


class Counting(nn.Module):
    """Cannot be traced: how often it convolves depends on the pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            x = self.conv(x)
        return x


class Unknown(nn.Module):
    """Uses an operation without a rule."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return torch.cumsum(x, dim=2)


class Masked(nn.Module):
    """Part of a buffer, and part of a tensor that is neither buffer nor parameter, as factors."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.register_buffer("mask", torch.ones(8))
        self.scale = torch.full((8,), 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) * self.mask[:4].view(1, 4, 1, 1) * self.scale[2:6].view(1, 4, 1, 1)


class Squeezed(nn.Module):
    """`squeeze()` drops the axis of the batch too when there is a single image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 9)

    def forward(self, x: Tensor) -> Tensor:
        return F.log_softmax(self.conv(x).squeeze(), dim=1)


class Tied(nn.Module):
    """Three convolutions, the last two with one weight: 27 + 81 parameters, not 27 + 2 · 81."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 3, 3, bias=False)
        self.second = nn.Conv2d(3, 3, 3, bias=False)
        self.third = nn.Conv2d(3, 3, 3, bias=False)
        self.third.weight = self.second.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.third(self.second(self.first(x)))


class Attention(nn.Module):
    """Self-attention over (N, tokens, width), spelled out as transformers do, in two heads."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.widen = nn.Linear(width, 3 * 2 * 5)
        self.drop = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        query, key, value = self.widen(x).reshape(batch, tokens, 3, 2, 5).permute(2, 0, 3, 1, 4)
        weights = self.drop((query @ key.transpose(-2, -1)).softmax(dim=-1))
        return weights @ value


class FusedAttention(Attention):
    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        parts = self.widen(x).reshape(batch, tokens, 3, 2, 5).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        return F.scaled_dot_product_attention(query, key, value)


class FlattenedAttention(Attention):
    """A part of it makes one axis of the images and the tokens."""

    class Widened(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.flatten(0, 1))

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.widen = self.Widened(width, 3 * 2 * 5)


# ---- Random networks ----------------------------------------------------------------------------

Step = tuple[str, dict[str, Any]]


def _crop(x: Tensor, height: int, width: int) -> Tensor:
    return x[:, :, :height, :width]


class Merge(nn.Module):
    """Branches side by side, cropped to their common size, then added or concatenated."""

    def __init__(self, branches: list[list[Step]], how: str) -> None:
        super().__init__()
        self.branches = nn.ModuleList(build(steps) for steps in branches)
        self.how = how
        self.point = nn.Conv2d(CHANNELS * len(branches), CHANNELS, 1)

    def forward(self, x: Tensor) -> Tensor:
        results = [branch(x) for branch in self.branches]
        height, width = self.size
        results = [_crop(one, height, width) for one in results]
        if self.how == "cat":
            return self.point(torch.cat(results, dim=1))
        if self.how == "stack":
            return torch.stack(results, dim=1).amax(dim=1)
        total = results[0]
        for one in results[1:]:
            total = total + one
        return total

    def fit(self, x: Tensor) -> Tensor:
        """Note the common size; called once, on a tensor without values."""
        sizes = [fit(branch, x).shape[2:] for branch in self.branches]
        self.size = tuple(min(size[axis] for size in sizes) for axis in (0, 1))
        return self(x)


class Gate(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x.mean((2, 3), keepdim=True).sigmoid()


class Beside(nn.Module):
    """The map and its mirror's neighbour, one above the other."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.pool = nn.AvgPool2d(3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.pool(x)], dim=self.dim)


def _convolution(**settings: Any) -> nn.Module:
    return nn.Conv2d(CHANNELS, CHANNELS, **settings)


LAYERS: dict[str, Callable[..., nn.Module]] = {
    "conv": _convolution,
    "transposed": lambda **settings: nn.ConvTranspose2d(CHANNELS, CHANNELS, **settings),
    "max_pool": nn.MaxPool2d,
    "avg_pool": nn.AvgPool2d,
    "lp_pool": lambda **settings: nn.LPPool2d(2, **settings),
    "adaptive": nn.AdaptiveAvgPool2d,
    "adaptive_max": nn.AdaptiveMaxPool2d,
    "upsample": nn.Upsample,
    "pad": nn.ZeroPad2d,
    "reflect": nn.ReflectionPad2d,
    "relu": nn.ReLU,
    "hardswish": nn.Hardswish,
    "norm": lambda: nn.BatchNorm2d(CHANNELS),
    "instance_norm": lambda: nn.InstanceNorm2d(CHANNELS),
    "gate": Gate,
    "beside": Beside,
    "merge": Merge,
}


def build(steps: list[Step]) -> nn.Sequential:
    """The network of these steps, each a layer's name in LAYERS and its settings."""
    return nn.Sequential(*(LAYERS[name](**settings) for name, settings in steps))


def fit(network: nn.Sequential, x: Tensor) -> Tensor:
    """Shapes through the network; raises where a step does not fit its input."""
    for layer in network:
        x = layer.fit(x) if isinstance(layer, Merge) else layer(x)
        if min(x.shape) < 1 or max(x.shape[2:]) > LARGEST:
            raise ValueError(f"a map of {tuple(x.shape)}")
    return x


def fitted(steps: list[Step], shape: tuple[int, ...] = INPUT) -> nn.Sequential:
    """The network with the steps that fit; the others are left out."""
    network, x = nn.Sequential(), torch.zeros(1, *shape)
    for step in steps:
        try:
            layer = build([step])
            x = fit(layer, x)
        except (RuntimeError, ValueError):
            continue
        network.extend(layer)
    return network.eval()


def _pair(values: st.SearchStrategy[int]) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(values, values)


def _ints(low: int, high: int) -> st.SearchStrategy[int]:
    return st.integers(low, high)


def _step(name: str, **settings: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    return st.tuples(st.just(name), st.fixed_dictionaries(settings))


_SIMPLE: st.SearchStrategy[Step] = st.one_of(
    _step(
        "conv",
        kernel_size=_pair(_ints(1, 5)),
        stride=_pair(_ints(1, 3)),
        padding=_pair(_ints(0, 3)),
        dilation=_pair(_ints(1, 3)),
        groups=st.sampled_from((1, CHANNELS)),
        padding_mode=st.sampled_from(("zeros", "zeros", "reflect", "circular", "replicate")),
    ),
    _step(
        "conv",
        kernel_size=_pair(_ints(1, 4)),
        padding=st.sampled_from(("same", "valid")),
        dilation=_pair(_ints(1, 3)),
    ),
    _step(
        "transposed",
        kernel_size=_pair(_ints(1, 4)),
        stride=_pair(_ints(1, 3)),
        padding=_pair(_ints(0, 2)),
        output_padding=_pair(_ints(0, 1)),
        dilation=_pair(_ints(1, 2)),
    ),
    _step(
        "max_pool",
        kernel_size=_pair(_ints(1, 4)),
        stride=_pair(_ints(1, 3)),
        padding=_pair(_ints(0, 1)),
        dilation=_pair(_ints(1, 2)),
        ceil_mode=st.booleans(),
    ),
    _step(
        "avg_pool",
        kernel_size=_pair(_ints(1, 4)),
        stride=_pair(_ints(1, 3)),
        padding=_pair(_ints(0, 1)),
        ceil_mode=st.booleans(),
    ),
    _step("lp_pool", kernel_size=_ints(1, 3), stride=_ints(1, 2), ceil_mode=st.booleans()),
    _step("adaptive", output_size=_pair(_ints(1, 7))),
    _step("adaptive_max", output_size=_pair(_ints(1, 7))),
    _step("upsample", size=_pair(_ints(1, 16)), mode=st.sampled_from(("nearest", "nearest-exact"))),
    _step("upsample", scale_factor=st.sampled_from((0.5, 1.5, 2, 2.3))),
    _step(
        "upsample",
        size=_pair(_ints(1, 16)),
        mode=st.just("bilinear"),
        align_corners=st.booleans(),
    ),
    _step(
        "upsample",
        scale_factor=st.sampled_from((0.5, 1.5, 2, 2.3)),
        mode=st.just("bilinear"),
        align_corners=st.booleans(),
    ),
    _step("pad", padding=st.tuples(*[_ints(-1, 2)] * 4)),
    _step("reflect", padding=st.tuples(*[_ints(0, 2)] * 4)),
    *(_step(name) for name in ("relu", "hardswish", "norm", "instance_norm", "gate")),
    _step("beside", dim=st.sampled_from((2, 3))),
)


@st.composite
def random_networks(draw: st.DrawFn) -> list[Step]:
    """Up to six steps, of which some are two or three branches of up to three steps each."""
    branch = st.lists(_SIMPLE, max_size=3)
    merge = _step(
        "merge",
        branches=st.lists(branch, min_size=2, max_size=3),
        how=st.sampled_from(("add", "cat", "stack")),
    )
    return draw(st.lists(st.one_of(_SIMPLE, _SIMPLE, merge), min_size=1, max_size=6))
