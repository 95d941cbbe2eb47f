"""Small networks, several times as fast on CPUs: whole steps in C, 16 images at a time.

PyTorch's convolutions fill a vector unit with channels, and are made for many of them; most
networks here have 10 to 18. Batches are large, however: where 16 images lie side by side, every
register is full whatever the number of channels. convolution.c and layers.c have the layers,
layout.c gives a network its places in memory, network.c and images.c have a step's parts. Python
hands networks over in network.py, and here a step is put together. Results differ from PyTorch's
by rounding only, and not with the number of threads.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from mnist_steps.augment import SIZE, batch_affine, is_one_map
from mnist_steps.data import Split
from mnist_steps.engine.network import IMAGES, Misfit, Network, call, describe, lay_out
from mnist_steps.errors import MnistStepsError
from mnist_steps.recipes import Normalization, Recipe

EVALUATED = 8 * IMAGES  # at a time: few enough that a layer's output stays in the cache
CLASSES = 10

# With more channels, which only stage 1 has, PyTorch's convolutions are faster.
MOST_CHANNELS = 128

# Of a module, where PyTorch keeps what is called beside it.
HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")

ENGINES = ("auto", "torch", "engine")


@dataclass(frozen=True)
class Choice:
    """engine: 'torch' or 'engine'; line: which way is taken and why, for whoever trains."""

    engine: str
    line: str


def choose(model: nn.Module, recipe: Recipe, wanted: str = "auto", device: str = "cpu") -> Choice:
    """Which way a network trains by a recipe.

    wanted: 'auto' is the engine where it fits and can be had, otherwise PyTorch; 'torch' and
        'engine' insist
    device: its type
    Raises MnistStepsError for another word, and where the engine is insisted on in vain.
    """
    if wanted not in ENGINES:
        raise MnistStepsError(f"found the engine {wanted!r}: expected {', '.join(ENGINES)}.")
    if wanted == "torch":
        return Choice("torch", "computed by PyTorch, as asked")
    try:
        reason = f"the engine is for CPUs, not for {device}" if device != "cpu" else None
        reason = reason or recipe_misfit(recipe) or misfit(model)
    except MnistStepsError as error:
        if wanted == "engine":
            raise
        reason = str(error)
    if reason is None:
        threads = "" if call("has_threads") else ", on one thread: its compiler has no OpenMP"
        return Choice("engine", f"computed by the engine{threads}")
    if wanted == "engine":
        raise MnistStepsError(f"the engine cannot train this: {reason}. Choose torch, or auto.")
    return Choice("torch", f"computed by PyTorch: {reason}")


def recipe_misfit(recipe: Recipe) -> str | None:
    """Why a recipe is not for the engine, in words; None where it is."""
    if recipe.optimizer.name != "SGD" or recipe.optimizer.dampening or recipe.optimizer.maximize:
        return f"the engine does not have the optimizer {recipe.optimizer}"
    if not is_one_map(recipe.augmentation):
        return "its augmentation is not one map of each image"
    if recipe.l1 or recipe.label_smoothing:
        return "its loss has more parts than the engine knows"
    if recipe.batch_size % IMAGES:
        return f"its batches of {recipe.batch_size} images are no multiple of {IMAGES}"
    return None


def misfit(model: nn.Module) -> str | None:
    """Why a network for MNIST is not for this way, in words; None where it is, and gains by it.

    It is for all stages but the first: convolutions of few channels, each perhaps with batch
    normalization, ReLU and pooling, down to one pixel, and log-softmax.
    Raises MnistStepsError when there is no C compiler.
    """
    if not isinstance(model, nn.Sequential) or len(model) < 3:
        return "it is no nn.Sequential of layers"
    *layers, (_, flatten), (_, last) = zip(model._modules, model, strict=True)
    if type(flatten) is not nn.Flatten or type(last) is not nn.LogSoftmax or last.dim != 1:
        return "it does not end with nn.Flatten and nn.LogSoftmax(dim=1)"
    for tensor in model.parameters():
        if tensor.dtype != torch.float32 or tensor.device.type != "cpu" or not tensor.requires_grad:
            return "a parameter is frozen, not on the CPU or not of single precision"
    weights = [weight for _, layer in layers for weight in layer.parameters()]
    if len(set(map(id, weights))) < len(weights):
        return "weights are used twice"
    if any(getattr(one, hooks) for one in model.modules() for hooks in HOOKS):
        return "it has hooks, which the engine would not call"
    numbers: list[float] = [IMAGES, 1, SIZE, SIZE, True]
    for name, layer in layers:
        described = describe(layer)
        if described is None:
            shown = type(layer).__name__ if "\n" in repr(layer) else repr(layer)
            return f"{name}, {shown}, does what the engine cannot"
        if isinstance(layer, nn.Conv2d):
            most = max(layer.in_channels, layer.out_channels)
            if most > MOST_CHANNELS:
                return f"{name} has {most} channels; above {MOST_CHANNELS} PyTorch is faster"
        numbers += described
    try:
        _, output_shape = lay_out(numbers)
    except Misfit as error:
        return f"{layers[error.layer][0]}: {error.problem}"
    if output_shape != (CLASSES, 1, 1):
        return f"it ends with {' × '.join(map(str, output_shape))} numbers, not one for each digit"
    return None


@torch.inference_mode()
def evaluate(model: nn.Module, images: Tensor, normalization: Normalization) -> Tensor:
    """The log-probabilities of a network without a `misfit`, in evaluation mode.

    images: uint8 tensor (N, 1, 28, 28)
    """
    assert isinstance(model, nn.Sequential), "it does not fit"
    *layers, flatten, log_softmax = model.eval()
    images = images.contiguous()
    parts: list[Tensor] = []
    for chosen in torch.arange(len(images), dtype=torch.int32).split(EVALUATED):
        if not parts or len(chosen) != len(parts[-1]):
            network = Network(layers, len(chosen), SIZE, SIZE, training=False)
        network.prepare(images, chosen, None, normalization)
        network.forward()
        parts.append(network.result())
    scores: Tensor = log_softmax(flatten(torch.cat(parts)))
    return scores


def resampled(images: Tensor, maps: Tensor | None) -> Tensor:
    return images if maps is None else batch_affine(images, maps)


class Trainer:
    """Takes training steps with a network and its optimizer, whose state it keeps.

    Both stay as PyTorch knows them, and may be used, saved and loaded between steps, but are not
    to be loaded while a Trainer is in use.

    native: compute in C, for which the network has to fit, whatever batches it can: those of a
        multiple of 16 images; otherwise all go PyTorch's way
    move: how images (N, 1, 28, 28), from 0 to 1, move by their maps on PyTorch's way
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        split: Split,
        normalization: Normalization,
        native: bool = True,
        move: Callable[[Tensor, Tensor | None], Tensor] = resampled,
    ) -> None:
        self.model, self.optimizer, self.split = model, optimizer, split
        self.normalization, self.native, self.move = normalization, native, move
        (self.settings,) = optimizer.param_groups
        self.networks: dict[int, Network] = {}
        if native:
            assert isinstance(model, nn.Sequential), "it does not fit"
            self.layers = list(model)[:-2]
            self.images, self.labels = split.images.contiguous(), split.labels.to(torch.uint8)
            # With no gradient there it does nothing, but notes, as schedules want it, that it
            # stepped.
            optimizer.zero_grad()
            optimizer.step()

    def step(
        self,
        chosen: Tensor,
        maps: Tensor | None,
        mark: Callable[[str], None] = lambda part: None,
    ) -> tuple[float, int]:
        """One step of gradient descent. Returns the loss, and how many images were recognized.

        chosen: int64 tensor (count,), which images
        maps: float32 tensor (count, 2, 3), as in augment.batch_affine; None leaves images alone
        mark: called with a part's name whenever that part is done, for who looks at the clock;
            in C the batch is cut while it is augmented, and forward has loss and accuracy
        """
        if self.native and len(chosen) % IMAGES == 0:
            return self._by_engine(chosen, maps, mark)
        return self._by_pytorch(chosen, maps, mark)

    def _by_engine(
        self, chosen: Tensor, maps: Tensor | None, mark: Callable[[str], None]
    ) -> tuple[float, int]:
        network = self.network(len(chosen))
        chosen = chosen.to(torch.int32)
        network.prepare(self.images, chosen, maps, self.normalization)
        mark("augmentation")

        network.forward()
        loss, correct, gradient = self.judge(network, chosen)
        mark("forward")

        network.backward(gradient)
        mark("backward")

        self.move_weights(network)
        mark("optimizer")
        return loss, correct

    def _by_pytorch(
        self, chosen: Tensor, maps: Tensor | None, mark: Callable[[str], None]
    ) -> tuple[float, int]:
        self.model.train()
        images, labels = self.split.images[chosen].float() / 255, self.split.labels[chosen]
        mark("batch")

        images = self.move(images, maps)
        mark("augmentation")

        log_probabilities = self.forward(self.normalization(images))
        loss = self.loss(log_probabilities, labels, chosen)
        mark("forward")

        self.optimizer.zero_grad()
        loss.backward()
        mark("backward")

        self.move_weights(None)
        mark("optimizer")

        correct = (log_probabilities.argmax(dim=1) == labels).sum()
        result = loss.item(), int(correct.item())
        mark("accuracy")
        return result

    # What a training with something more to it does otherwise:

    def forward(self, images: Tensor) -> Tensor:
        """On PyTorch's way: log-probabilities of normalized images."""
        log_probabilities: Tensor = self.model(images)
        return log_probabilities

    def loss(self, log_probabilities: Tensor, labels: Tensor, chosen: Tensor) -> Tensor:
        return F.nll_loss(log_probabilities, labels)

    def judge(self, network: Network, chosen: Tensor) -> tuple[float, int, Tensor | None]:
        """In C: loss, images recognized, and the loss's gradient, None where `network` has it."""
        return *network.loss(self.labels, chosen), None

    def move_weights(self, network: Network | None) -> None:
        """By their gradients, which are the network's in C, else the optimizer's."""
        if network is None:
            self.optimizer.step()
            return
        rates = ("lr", "momentum", "weight_decay", "nesterov")
        network.update(*(self.settings[name] for name in rates))

    def network(self, count: int) -> Network:
        """With room for so many images."""
        if count not in self.networks:
            self.networks[count] = Network(self.layers, count, SIZE, SIZE, True, self._velocity)
        return self.networks[count]

    def _velocity(self, weight: Tensor) -> Tensor | None:
        """The optimizer's; what it keeps from before the first step is 0."""
        if not self.settings["momentum"]:
            return None
        state = self.optimizer.state[weight]
        if state.get("momentum_buffer") is None:
            state["momentum_buffer"] = torch.zeros_like(weight, memory_format=torch.preserve_format)
        velocity: Tensor = state["momentum_buffer"]
        assert velocity.stride() == weight.stride()
        return velocity
