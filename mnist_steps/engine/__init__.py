"""Small networks, several times as fast on CPUs: whole steps in C, 16 images at a time.

PyTorch's convolutions fill a vector unit with channels, and are made for many of them; most
networks here have 10 to 18. Batches are large, however: where 16 images lie side by side, every
register is full whatever the number of channels. layers.c has the layers, network.c a step's five
parts, network.py tells them of a network, and here they are put together. Results differ from
PyTorch's by rounding only, and not with the number of threads.
"""

import ctypes

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from mnist_steps.augment import SIZE, batch_affine
from mnist_steps.data import Split
from mnist_steps.engine.network import IMAGES, Network, call, known
from mnist_steps.recipes import Normalization

EVALUATED = 8 * IMAGES  # at a time: few enough that a layer's output stays in the cache


def keep_memory() -> None:
    """For the whole process: memory that a step frees is kept for the next one.

    Raises MnistStepsError when there is no C compiler.
    """
    call("keep_memory")


def fits(model: nn.Module) -> bool:
    """Whether this way knows all that a network for MNIST does, and is the faster one.

    So it is for stages 2 to 8: convolutions of few channels, each perhaps with batch
    normalization, ReLU and pooling, down to one pixel, and log-softmax.
    Raises MnistStepsError when there is no C compiler.
    """
    if not isinstance(model, nn.Sequential) or len(model) < 3:
        return False
    *layers, flatten, log_softmax = model
    return (
        type(flatten) is nn.Flatten
        and type(log_softmax) is nn.LogSoftmax
        and log_softmax.dim == 1
        and type(layers[0]) is nn.Conv2d
        and layers[0].in_channels == 1
        and all(map(known, layers))
        and all(layer.stride == (1, 1) for layer in layers[1:] if isinstance(layer, nn.Conv2d))
        and all(tensor.device.type == "cpu" for tensor in model.state_dict().values())
        and all(tensor.dtype == torch.float32 and tensor.requires_grad
                for tensor in model.parameters())
        and Network(layers, IMAGES, SIZE, SIZE, training=False).output_shape[1:] == (1, 1)
    )  # fmt: skip


@torch.inference_mode()
def evaluate(model: nn.Module, images: Tensor, normalization: Normalization) -> Tensor:
    """The log-probabilities of a network that `fits`, in evaluation mode.

    images: uint8 tensor (N, 1, 28, 28)
    """
    assert isinstance(model, nn.Sequential), "it does not fit"
    *layers, flatten, log_softmax = model.eval()
    images = images.contiguous()
    parts: list[Tensor] = []
    for chosen in torch.arange(len(images)).split(EVALUATED):
        if not parts or len(chosen) != len(parts[-1]):
            network = Network(layers, len(chosen), SIZE, SIZE, training=False)
        network.prepare(images, chosen, None, normalization)
        network.forward()
        parts.append(network.result())
    scores: Tensor = log_softmax(flatten(torch.cat(parts)))
    return scores


class _Parameter(ctypes.Structure):
    """As in network.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("value", "velocity", "gradient")),
        ("size", ctypes.c_long),
    ]


class Trainer:
    """Takes training steps with a network that `fits` and its optimizer, whose state it keeps.

    Both stay as PyTorch knows them, and may be used, saved and loaded between steps, but are not
    to be loaded while a Trainer is in use.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        split: Split,
        normalization: Normalization,
    ) -> None:
        assert isinstance(model, nn.Sequential), "it does not fit"
        self.model, self.optimizer, self.normalization = model, optimizer, normalization
        self.images, self.labels = split.images.contiguous(), split.labels.contiguous()
        (self.settings,) = optimizer.param_groups
        self.networks: dict[int, tuple[Network, ctypes.Array[_Parameter]]] = {}
        self.correct = ctypes.c_longlong()
        # With no gradient there it does nothing, but notes, as schedules want it, that it stepped.
        optimizer.zero_grad()
        optimizer.step()

    def step(self, chosen: Tensor, maps: Tensor | None) -> tuple[float, int]:
        """One step of gradient descent. Returns the loss, and how many images were recognized.

        chosen, maps: as for Network.prepare; a number of images that is no multiple of 16 goes
            PyTorch's way
        """
        if len(chosen) % IMAGES:
            return self._by_pytorch(chosen, maps)
        network, parameters = self.network(len(chosen))
        network.prepare(self.images, chosen, maps, self.normalization)
        network.forward()
        loss, correct = self.loss(network, chosen)
        network.backward()
        self.update(parameters)
        return loss, correct

    def network(self, count: int) -> tuple[Network, "ctypes.Array[_Parameter]"]:
        """With room for so many images, and its parameters."""
        if count not in self.networks:
            self.model.train()
            network = Network(list(self.model)[:-2], count, SIZE, SIZE, training=True)
            parameters = [
                _Parameter(
                    weight.data_ptr(), self._velocity(weight), gradient.data_ptr(), weight.numel()
                )
                for weight, gradient in zip(network.parameters, network.gradients, strict=True)
            ]
            self.networks[count] = network, (_Parameter * len(parameters))(*parameters)
        return self.networks[count]

    def loss(self, network: Network, chosen: Tensor) -> tuple[float, int]:
        """As `step` returns them; the gradient lies where network.backward looks for it."""
        self.correct.value = 0
        loss = call(
            "loss_and_gradient", network.output, network.turns[0], self.labels, chosen,
            len(chosen), network.output_shape[0], ctypes.byref(self.correct),
        )  # fmt: skip
        return loss, self.correct.value

    def update(self, parameters: "ctypes.Array[_Parameter]") -> None:
        numbers = (self.settings[name] for name in ("lr", "momentum", "weight_decay"))
        call(
            "update", parameters, len(parameters), *map(ctypes.c_double, numbers),
            self.settings["nesterov"],
        )  # fmt: skip

    def _velocity(self, weight: Tensor) -> int | None:
        """Where the optimizer keeps it; what it keeps from before the first step is 0."""
        if not self.settings["momentum"]:
            return None
        state = self.optimizer.state[weight]
        if state.get("momentum_buffer") is None:
            state["momentum_buffer"] = torch.zeros_like(weight, memory_format=torch.preserve_format)
        velocity: Tensor = state["momentum_buffer"]
        assert velocity.stride() == weight.stride()
        return velocity.data_ptr()

    def _by_pytorch(self, chosen: Tensor, maps: Tensor | None) -> tuple[float, int]:
        self.model.train()
        images, labels = self.images[chosen].float() / 255, self.labels[chosen]
        if maps is not None:
            images = batch_affine(images, maps)
        images = (images - self.normalization.mean) / self.normalization.sd
        log_probabilities = self.model(images)
        loss = F.nll_loss(log_probabilities, labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        correct = (log_probabilities.argmax(dim=1) == labels).sum()
        return loss.item(), int(correct.item())
