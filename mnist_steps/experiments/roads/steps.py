"""Training steps with a guest in them: masks, rounded weights, or a teacher.

The same steps as everywhere, by the engine where the network fits and by PyTorch elsewhere, with
one thing added at its place: weights are rounded before the network computes and put back before
they move; the loss hears a teacher too; pruned weights are set to zero again once they have moved.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor, nn

from mnist_steps import engine
from mnist_steps.data import Split
from mnist_steps.engine.network import Network
from mnist_steps.experiments.roads.distillation import Teaching
from mnist_steps.experiments.roads.quantization import convolutions, rounded
from mnist_steps.recipes import Recipe, make_schedule
from mnist_steps.training import Resumable, train_epoch_in_steps


@dataclass(frozen=True)
class Guest:
    """What a road adds to training steps; by default nothing.

    masks: by the names of weights, 1 where a weight stays and 0 where it was pruned
    bits: round the weights of convolutions to so many while the network computes
    teaching: what the loss hears besides the labels
    bfloat16: compute convolutions in 16 bits, by PyTorch; weights and their steps stay in 32
    """

    masks: Mapping[str, Tensor] = field(default_factory=dict)
    bits: int | None = None
    teaching: Teaching | None = None
    bfloat16: bool = False


class Trainer(engine.Trainer):
    """Steps with a guest. native: as for `engine.Trainer`"""

    def __init__(self, model: nn.Sequential, *args: Any, guest: Guest, **options: Any) -> None:
        super().__init__(model, *args, **options)
        self.guest, self.scoring = guest, nn.Sequential(*list(model)[:-1])  # without log-softmax
        named = dict(model.named_parameters())
        self.masked = [(named[name], mask) for name, mask in guest.masks.items()]
        self.rounded = [layer.weight for layer in convolutions(model)] if guest.bits else []

    def step(self, *batch: Any, **options: Any) -> tuple[float, int]:
        self.exact = [weight.detach().clone() for weight in self.rounded]
        with torch.no_grad():
            for weight in self.rounded:
                assert self.guest.bits is not None
                weight.copy_(rounded(weight, self.guest.bits))
        return super().step(*batch, **options)

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.guest.bfloat16):
            scores = self.scoring(images)
        return scores.float().log_softmax(dim=1)

    def loss(self, log_probabilities: Tensor, labels: Tensor, chosen: Tensor) -> Tensor:
        if self.guest.teaching is None:
            return super().loss(log_probabilities, labels, chosen)
        return self.guest.teaching.loss(log_probabilities, labels, chosen)

    def judge(self, network: Network, chosen: Tensor) -> tuple[float, int, Tensor | None]:
        if self.guest.teaching is None:
            return super().judge(network, chosen)
        scores = network.result().flatten(1).requires_grad_()
        labels = self.split.labels[chosen]
        loss = self.loss(scores.log_softmax(dim=1), labels, chosen)
        (gradient,) = torch.autograd.grad(loss, scores)
        recognized = int((scores.argmax(dim=1) == labels).sum().item())
        return loss.item(), recognized, gradient[..., None, None]

    @torch.no_grad()
    def move_weights(self, network: Network | None) -> None:
        # Straight through: the gradients of the rounded weights move the exact ones.
        for weight, exact in zip(self.rounded, self.exact, strict=True):
            weight.copy_(exact)
        super().move_weights(network)
        for weight, mask in self.masked:
            weight.mul_(mask)


class Schooling(Resumable):
    """A training under way, with a guest.

    model: trained as it is, in place
    by: 'engine' or 'torch'
    """

    def __init__(
        self, model: nn.Sequential, recipe: Recipe, seed: int, split: Split, by: str,
        guest: Guest | None = None,
    ) -> None:  # fmt: skip
        self.model: nn.Sequential = model
        self.recipe, self.split, self.by = recipe, split, by
        self.guest = guest or Guest()
        model.to(memory_format=torch.channels_last)
        self.generator = Generator().manual_seed(seed)
        self.optimizer = recipe.optimizer.make(model.parameters())
        steps = recipe.steps_per_epoch(len(split))
        self.schedule = make_schedule(recipe, self.optimizer, steps)
        self.losses: list[float] = []

    def run_epoch(self) -> None:
        trainer = Trainer(
            self.model, self.optimizer, self.split, self.recipe.normalize_train,
            native=self.by == "engine", guest=self.guest,
        )  # fmt: skip
        trained = train_epoch_in_steps(trainer, self.recipe, self.schedule, self.generator)
        self.losses.append(round(trained.losses.mean().item(), 6))

    def state(self) -> dict[str, Any]:
        return super().state() | {"losses": self.losses}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.losses = list(state["losses"])
