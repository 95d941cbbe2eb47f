"""What each operation does to receptive fields: from the fields of its inputs to its own.

Fields holds what the units of one tensor can see, Composer the steps that the rules are made
of, and RULES a rule for each operation of `graph`, under the same name. An operation without a
rule raises.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from mnist_steps import graph
from mnist_steps.errors import MnistStepsError
from mnist_steps.graph import INPUT, Node, Symbolic
from mnist_steps.receptive_field.axes import (
    SAME,
    Adaptive,
    AxisMap,
    Border,
    Broadcast,
    Everything,
    Hull,
    Piece,
    Reach,
    Repeat,
    Resize,
    TransposedWindow,
    Window,
)

# ---- All axes: the fields of one tensor ---------------------------------------------------------

# A tensor's axis is made of factors, each a length and what it counts: an axis of the image
# (0, 1, 2), the images of the batch, or nothing that matters here (channels). Axes of length 1
# have no factors. After `flatten`, one axis has several.
IMAGES, CHANNELS = -1, -2
Factors = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Fields:
    """What the units of one tensor can see.

    dims: the factors of each of the tensor's axes
    products: a unit sees the union of these products of rows and columns; one Reach per image
        axis, with one unit only where the tensor no longer tells places on that axis apart
    hulls: the same without borders, one per image axis
    """

    dims: tuple[Factors, ...]
    products: tuple[tuple[Reach, ...], ...]
    hulls: tuple[Hull, ...]
    note: str = ""

    def dim_of(self, axis: int) -> int | None:
        """The tensor's axis that counts this axis of the image, alone or among others."""
        for dim, factors in enumerate(self.dims):
            if any(counted == axis for _, counted in factors):
                return dim
        return None

    def units(self, axis: int) -> int:
        return len(self.products[0][axis])

    @property
    def is_map(self) -> bool:
        """Whether the tensor is laid out as batch, channels, then the axes of the image."""
        places = [self.dim_of(axis) for axis in range(len(self.hulls))]
        return len(self.dims) == 2 + len(places) and all(
            place in (None, 2 + axis) for axis, place in enumerate(places)
        )

    def with_dim(self, dim: int, factors: Factors) -> "Fields":
        return replace(self, dims=(*self.dims[:dim], factors, *self.dims[dim + 1 :]))


class Composer:
    """Follows a graph node by node: each node's Fields from those of its inputs."""

    def __init__(self, traced: graph.Graph, symbolic: Symbolic) -> None:
        self.symbolic = symbolic
        self.hulls: list[Hull] = []
        # Most images are square and most kernels too: what was computed for the rows holds for
        # the columns. `through` is a Reach seen through a map, `hull_through` the same for Hulls.
        self.through: dict[tuple[int, AxisMap, int], Reach] = {}
        self.hull_through: dict[tuple[int, AxisMap], Hull] = {}
        self.inside: dict[tuple[int, int], bool] = {}
        self.kept: list[Reach] = []  # keeps ids above valid

        _, *sizes = traced.input_shape
        self.axes = len(sizes)
        identities = {size: Reach(np.arange(size)[:, None], np.arange(size)[:, None] + 1)
                      for size in sizes}  # fmt: skip
        image = self._hull([])
        dims: list[Factors] = [((graph.BATCH, IMAGES),), _channels(traced.input_shape[0])]
        dims += [((size, axis),) if size > 1 else () for axis, size in enumerate(sizes)]
        self.fields: dict[str, Fields] = {
            INPUT: Fields(
                dims=tuple(dims),
                products=(tuple(identities[size] for size in sizes),),
                hulls=(image,) * self.axes,
            )
        }

    def _hull(self, looks_at: list[tuple[Hull, AxisMap]]) -> Hull:
        self.hulls.append(Hull(looks_at))
        return self.hulls[-1]

    def follow(self, node: Node) -> Fields | None:
        """The node's fields; None when it does not depend on the image."""
        given = [self.fields[name] for name in node.inputs if name in self.fields]
        if not given:
            return None
        if node.op not in RULES:
            raise self.unknown(node, "without a rule for receptive fields")
        fields = RULES[node.op](self, node, given)
        self.fields[node.name] = fields
        return fields

    def unknown(self, node: Node, why: str) -> MnistStepsError:
        return self.symbolic.unknown(node.name, f"{node.op} {why}")

    # -- steps that the rules below are made of --

    def along(self, fields: Fields, axis: int, axis_map: AxisMap, units: int) -> Fields:
        """Units along one image axis become others that look at them."""
        products = []
        for product in fields.products:
            key = (id(product[axis]), axis_map, units)
            if key not in self.through:
                self.kept.append(product[axis])
                self.through[key] = product[axis].through(axis_map, units)
            products.append((*product[:axis], self.through[key], *product[axis + 1 :]))
        hull = fields.hulls[axis]
        if (id(hull), axis_map) not in self.hull_through:
            self.hull_through[id(hull), axis_map] = self._hull([(hull, axis_map)])
        hull = self.hull_through[id(hull), axis_map]
        return replace(
            fields,
            products=tuple(products),
            hulls=(*fields.hulls[:axis], hull, *fields.hulls[axis + 1 :]),
        )

    def attached(self, node: Node, fields: Fields, dim: int) -> tuple[Fields, int]:
        """Make the tensor's axis `dim` count an axis of the image, alone; say which one."""
        factors = fields.dims[dim]
        if len(factors) == 1 and factors[0][1] >= 0:
            return fields, factors[0][1]
        free = [axis for axis in range(self.axes) if fields.dim_of(axis) is None]
        if not free or any(counted != CHANNELS for _, counted in factors):
            raise self.unknown(node, f"along axis {dim}, which mixes axes of the image,")
        axis = dim - 2 if dim - 2 in free else free[0]
        size = prod(length for length, _ in factors)
        if size > 1:  # all places have seen the same so far, such as after a linear layer
            fields = self.along(fields, axis, Broadcast(), size)
        return fields.with_dim(dim, ((size, axis),)), axis

    def look(self, node: Node, fields: Fields, dim: int, axis_map: AxisMap, units: int) -> Fields:
        """A layer that moves along the tensor's axis `dim`."""
        fields, axis = self.attached(node, fields, dim)
        fields = self.along(fields, axis, axis_map, units)
        return fields.with_dim(dim, ((units, axis),) if units > 1 else ())

    def mixed(self, node: Node, fields: Fields, dims: Sequence[int], pool: bool = False) -> Fields:
        """Each unit looks at the whole of these axes of the tensor; their lengths stay."""
        for dim in dims:
            for size, counted in fields.dims[dim]:
                if counted == IMAGES:
                    raise self.unknown(node, "over the images of a batch")
                if counted >= 0:
                    look: AxisMap = Adaptive(size, 1) if pool else Everything(size)
                    fields = self.along(fields, counted, look, 1)
            fields = fields.with_dim(dim, _channels(_length(fields.dims[dim])))
        return fields

    def united(self, several: Sequence[Fields]) -> Fields:
        """The fields of units that see what any of these see; shapes must agree by now."""
        first = several[0]
        products: list[tuple[Reach, ...]] = []
        for product in dict.fromkeys(one for fields in several for one in fields.products):
            if not any(self._covers(other, product) for other in products):
                products = [one for one in products if not self._covers(product, one)]
                products.append(product)
        hulls = []
        for axis in range(self.axes):
            different = list(dict.fromkeys(fields.hulls[axis] for fields in several))
            hulls.append(
                different[0] if len(different) == 1
                else self._hull([(hull, SAME) for hull in different])
            )  # fmt: skip
        notes = [fields.note for fields in several if fields.note]
        return Fields(first.dims, tuple(products), tuple(hulls), notes[0] if notes else "")

    def _covers(self, larger: tuple[Reach, ...], smaller: tuple[Reach, ...]) -> bool:
        for one, other in zip(larger, smaller, strict=True):
            key = (id(one), id(other))
            if key not in self.inside:
                self.kept += (one, other)
                self.inside[key] = one.covers(other)
            if not self.inside[key]:
                return False
        return True

    def broadcast(self, node: Node, given: Sequence[Fields]) -> Fields:
        """Elementwise on several tensors, by torch's broadcasting rules."""
        shape = (graph.BATCH, *node.output_shape)
        given = [
            replace(one, dims=((),) * (len(shape) - len(one.dims)) + one.dims) for one in given
        ]
        dims: list[Factors] = []
        for dim, size in enumerate(shape):
            choices = {one.dims[dim] for one in given if one.dims[dim]}
            # An axis that counts only channels agrees with anything of its length.
            telling = {factors for factors in choices if any(c != CHANNELS for _, c in factors)}
            if len(telling) > 1 or any(_length(factors) != size for factors in telling):
                raise self.unknown(node, f"of tensors that differ in what axis {dim} counts")
            dims.append(telling.pop() if telling else _channels(size))
        note = ""
        for axis in range(self.axes):
            units = max(one.units(axis) for one in given)
            for position, one in enumerate(given):
                if one.units(axis) < units:
                    given[position] = self.along(one, axis, Broadcast(), units)
                    note = "global by gating" if node.op == "mul" else "global by broadcasting"
        joined = self.united([replace(one, dims=tuple(dims)) for one in given])
        return replace(joined, note=f"{note} ({node.name})") if note else joined


def _length(factors: Factors) -> int:
    return prod(length for length, _ in factors)


def _channels(size: int) -> Factors:
    return ((size, CHANNELS),) if size > 1 else ()


# ---- What each operation does -------------------------------------------------------------------


def _convolution(composer: Composer, node: Node, given: list[Fields]) -> Fields:
    if len(given) > 1:
        raise composer.unknown(node, "with weights that depend on the image")
    settings = node.attributes
    fields = composer.mixed(node, given[0], [1])  # a convolution over mixed-up axes raises below
    mode = settings["padding_mode"]
    for axis, kernel in enumerate(settings["kernel_size"]):
        stride, dilation = settings["stride"][axis], settings["dilation"][axis]
        before = after = settings["padding"]
        if before in ("same", "valid"):
            total = dilation * (kernel - 1) if before == "same" else 0
            before, after = total // 2, total - total // 2
        else:
            before = after = before[axis]
        if mode != "zeros":
            size = _length(fields.dims[2 + axis])
            border = Border(before, after, size, mode)
            fields = composer.look(node, fields, 2 + axis, border, before + size + after)
            before = 0
        window = Window(kernel, stride, before, dilation)
        fields = composer.look(node, fields, 2 + axis, window, node.output_shape[1 + axis])
    return fields.with_dim(1, _channels(node.output_shape[0]))


def _transposed(composer: Composer, node: Node, given: list[Fields]) -> Fields:
    if len(given) > 1:
        raise composer.unknown(node, "with weights that depend on the image")
    fields = composer.mixed(node, given[0], [1])
    for axis, size in enumerate(node.output_shape[1:]):
        names = ("kernel_size", "stride", "padding", "dilation")
        window = TransposedWindow(*(node.attributes[name][axis] for name in names))
        fields = composer.look(node, fields, 2 + axis, window, size)
    return fields.with_dim(1, _channels(node.output_shape[0]))


def _pool(composer: Composer, node: Node, given: list[Fields]) -> Fields:
    fields, settings = given[0], node.attributes
    for axis, kernel in enumerate(settings["kernel_size"]):
        window = Window(
            kernel,
            settings["stride"][axis],
            settings["padding"][axis] if "padding" in settings else 0,
            settings["dilation"][axis] if "dilation" in settings else 1,
        )
        fields = composer.look(node, fields, 2 + axis, window, node.output_shape[1 + axis])
    return fields


def _adaptive_pool(composer: Composer, node: Node, given: list[Fields]) -> Fields:
    fields = given[0]
    for axis, size in enumerate(node.output_shape[1:]):
        before = _length(fields.dims[2 + axis])
        fields = composer.look(node, fields, 2 + axis, Adaptive(before, size), size)
    return fields


def _resize(composer: Composer, node: Node, given: list[Fields]) -> Fields:
    fields, settings = given[0], node.attributes
    mode, align = settings["mode"], settings["align_corners"]
    if mode not in ("nearest", "nearest-exact", "linear", "bilinear", "trilinear", "area"):
        raise composer.unknown(node, f"with mode {mode!r}")
    scale = None if settings["recompute_scale_factor"] else settings["scale_factor"]
    rank = len(node.output_shape) - 1
    for axis, size in enumerate(node.output_shape[1:]):
        before = _length(fields.dims[2 + axis])
        look: AxisMap = Adaptive(before, size)
        if mode != "area":
            own_scale = scale[axis] if isinstance(scale, list) else scale
            look = Resize(before, size, mode, rank, align, own_scale)
        fields = composer.look(node, fields, 2 + axis, look, size)
    return fields


def _pad(composer: Composer, node: Node, given: list[Fields]) -> Fields:
    fields, padding = given[0], node.attributes["padding"]
    mode = {"Reflection": "reflect", "Replication": "replicate", "Circular": "circular"}.get(
        node.op[:-5]
    )
    for position in range(len(padding) // 2):
        before, after = padding[2 * position : 2 * position + 2]
        dim = len(fields.dims) - 1 - position
        if before == after == 0:
            continue
        if all(counted == CHANNELS for _, counted in fields.dims[dim]) and dim < 2:
            fields = fields.with_dim(dim, _channels(node.output_shape[dim - 1]))
            continue
        look: AxisMap = Window(kernel=1, padding=before)
        if mode:
            look = Border(before, after, _length(fields.dims[dim]), mode)
        fields = composer.look(node, fields, dim, look, node.output_shape[dim - 1])
    return fields


def _pointwise(composer: Composer, node: Node, given: list[Fields]) -> Fields:
    return given[0]


def _elementwise(composer: Composer, node: Node, given: list[Fields]) -> Fields:
    return composer.broadcast(node, given)


def _normalize(composer: Composer, node: Node, given: list[Fields]) -> Fields:
    fields, kind = given[0], node.op.rstrip("123d")
    if kind in ("BatchNorm", "InstanceNorm") and node.attributes["track_running_stats"]:
        return fields  # uses the mean and variance noted in training: one constant per channel
    if kind == "BatchNorm":
        raise composer.unknown(node, "without running statistics, over the images of a batch,")
    rank = len(fields.dims)
    if kind in ("LayerNorm", "RMSNorm"):
        dims = range(rank - len(node.attributes["normalized_shape"]), rank)
    else:
        dims = range(1 if kind == "GroupNorm" else 2, rank)
    mixes = [dim for dim in dims if any(counted >= 0 for _, counted in fields.dims[dim])]
    fields = composer.mixed(node, fields, dims)
    return replace(fields, note=f"global by normalization ({node.name})") if mixes else fields


def _softmax(composer: Composer, node: Node, given: list[Fields]) -> Fields:
    fields = given[0]
    dim = node.attributes.get("dim", len(fields.dims) - 3)  # Softmax2d: over the channels
    return composer.mixed(node, fields, [dim])


def _linear(composer: Composer, node: Node, given: list[Fields]) -> Fields:
    if len(given) > 1:
        raise composer.unknown(node, "with weights that depend on the image")
    last = len(given[0].dims) - 1
    fields = composer.mixed(node, given[0], [last])
    return fields.with_dim(last, _channels(node.output_shape[-1]))


def _reduce(composer: Composer, node: Node, given: list[Fields]) -> Fields:
    over = node.attributes["dim"]
    fields = composer.mixed(node, given[0], over, pool=True)
    if node.attributes["keepdim"]:
        return replace(
            fields, dims=tuple(() if dim in over else one for dim, one in enumerate(fields.dims))
        )
    return replace(
        fields, dims=tuple(one for dim, one in enumerate(fields.dims) if dim not in over)
    )


def _reshape(composer: Composer, node: Node, given: list[Fields]) -> Fields:
    """Factors are dealt out to the new axes in order; only channels can be cut."""
    fields = given[0]
    factors = [factor for dim in fields.dims for factor in dim]
    dims: list[Factors] = []
    for size in (graph.BATCH, *node.output_shape):
        taken: list[tuple[int, int]] = []
        while size > 1:
            length, counted = factors.pop(0)
            if length > size and length % size == 0 and counted == CHANNELS:
                factors.insert(0, (length // size, CHANNELS))
                length = size
            if size % length:
                raise composer.unknown(node, "that cuts an axis of the image")
            taken.append((length, counted))
            size //= length
        if len(taken) > 1 and all(counted == CHANNELS for _, counted in taken):
            taken = [(prod(length for length, _ in taken), CHANNELS)]
        dims.append(tuple(taken))
    return replace(fields, dims=tuple(dims))


def _permute(composer: Composer, node: Node, given: list[Fields]) -> Fields:
    return replace(given[0], dims=tuple(given[0].dims[dim] for dim in node.attributes["dims"]))


def _getitem(composer: Composer, node: Node, given: list[Fields]) -> Fields:
    fields, index = given[0], list(node.attributes["index"])
    missing = len(fields.dims) - sum(one not in ("new", "...") for one in index)
    everything = [None, None, None]
    if "..." in index:
        place = index.index("...")
        index[place : place + 1] = [everything] * missing
    else:
        index += [everything] * missing
    new: list[Factors] = []
    dim = 0
    for one in index:
        if one == "new":
            new.append(())
            continue
        size = _length(fields.dims[dim])
        whole = isinstance(one, list) and range(size)[slice(*one)] == range(size)
        if not whole:
            chosen = range(size)[slice(*one)] if isinstance(one, list) else range(size)[one:][:1]
            if all(counted == CHANNELS for _, counted in fields.dims[dim]) and dim != 0:
                fields = fields.with_dim(dim, _channels(len(chosen)))
            elif not chosen:
                raise composer.unknown(node, "that leaves nothing")
            else:
                look = Window(kernel=1, stride=chosen.step, padding=-chosen.start)
                fields = composer.look(node, fields, dim, look, len(chosen))
        if isinstance(one, list):
            new.append(fields.dims[dim])
        dim += 1
    return replace(fields, dims=tuple(new))


def _cat(composer: Composer, node: Node, given: list[Fields]) -> Fields:
    dim = node.attributes["dim"]
    shape = (graph.BATCH, *node.output_shape)
    if len(given) < len(node.inputs):
        raise composer.unknown(node, "with a constant")
    counts_places = dim >= 2 and all(one.is_map for one in given)
    channels = all(counted == CHANNELS for one in given for _, counted in one.dims[dim])
    if channels and not counts_places:
        given = [one.with_dim(dim, _channels(shape[dim])) for one in given]
        return composer.broadcast(node, given)
    pieces, start = [], 0
    for fields in given:
        stop = start + _length(fields.dims[dim])
        fields = composer.look(node, fields, dim, Piece(start, stop), shape[dim])
        pieces.append(fields)
        start = stop
    return composer.broadcast(node, pieces)


def _stack(composer: Composer, node: Node, given: list[Fields]) -> Fields:
    dim = node.attributes["dim"]
    size = _channels(len(node.inputs))
    return composer.broadcast(
        node, [replace(one, dims=(*one.dims[:dim], size, *one.dims[dim:])) for one in given]
    )


def _shuffle(composer: Composer, node: Node, given: list[Fields]) -> Fields:
    fields = given[0]
    up = node.op == "PixelShuffle"
    factor = node.attributes["upscale_factor" if up else "downscale_factor"]
    for dim in (2, 3):
        look: AxisMap = Repeat(factor) if up else Window(factor, factor)
        fields = composer.look(node, fields, dim, look, node.output_shape[dim - 1])
    return fields.with_dim(1, _channels(node.output_shape[0]))


def _constant(composer: Composer, node: Node, given: list[Fields]) -> Fields:
    raise composer.unknown(node, "of the image")  # `follow` does not ask for it


Rule = Callable[[Composer, Node, list[Fields]], Fields]

# '#' as in graph.operations: for one, two and three axes.
RULES: dict[str, Rule] = {
    name: rule
    for names, rule in (
        ("Conv#d", _convolution),
        ("ConvTranspose#d", _transposed),
        ("MaxPool#d AvgPool#d LPPool#d", _pool),
        ("AdaptiveAvgPool#d AdaptiveMaxPool#d", _adaptive_pool),
        ("Upsample UpsamplingNearest2d UpsamplingBilinear2d", _resize),
        ("ZeroPad#d ConstantPad#d ReflectionPad#d ReplicationPad#d CircularPad#d", _pad),
        (
            "Identity identity ReLU ReLU6 LeakyReLU PReLU RReLU ELU SELU CELU GELU SiLU Mish "
            "Sigmoid LogSigmoid Tanh Softplus Softsign Tanhshrink Hardtanh Hardshrink Softshrink "
            "Hardsigmoid Hardswish Threshold Dropout Dropout#d AlphaDropout FeatureAlphaDropout "
            "StochasticDepth exp log log1p log2 sqrt rsqrt square abs neg sin cos erf reciprocal "
            "clamp clamp_min clamp_max LocalResponseNorm ChannelShuffle",
            _pointwise,
        ),
        ("add sub mul div pow maximum minimum expand", _elementwise),
        ("BatchNorm#d InstanceNorm#d LayerNorm RMSNorm GroupNorm", _normalize),
        ("Softmax LogSoftmax Softmin Softmax2d", _softmax),
        ("Linear", _linear),
        ("mean sum amax amin prod std var", _reduce),
        ("reshape Flatten Unflatten", _reshape),
        ("permute", _permute),
        ("getitem", _getitem),
        ("cat", _cat),
        ("stack", _stack),
        ("PixelShuffle PixelUnshuffle", _shuffle),
        (" ".join(graph.CONSTANTS), _constant),
    )
    for spelled in names.split()
    for name in graph.ranks(spelled)
}
