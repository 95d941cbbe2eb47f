"""Distillation: a small network learns from what a large one says, not from labels alone.

A label says "this is a 4"; the teacher says "a 4, and a little like a 9". Both are given their
weight in the loss. A temperature above 1 makes the teacher's lesser answers louder:

    loss = (1 - share) · (-log p[label]) + share · T² · KL(teacher at T, student at T)

Source: G. Hinton, O. Vinyals, J. Dean, Distilling the Knowledge in a Neural Network (2015),
arXiv:1503.02531.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_steps.recipes import Normalization


@dataclass(frozen=True)
class Teaching:
    """answers: the teacher's log-probabilities for all training images, float tensor (N, 10)

    share: of the loss that the teacher has, from 0 to 1; temperature: from 1
    """

    answers: Tensor
    share: float
    temperature: float

    def loss(self, log_probabilities: Tensor, labels: Tensor, chosen: Tensor) -> Tensor:
        """log_probabilities: the student's, (N, 10); chosen: which training images these are"""
        hot = self.temperature
        teacher = (self.answers[chosen] / hot).log_softmax(dim=1)
        student = (log_probabilities / hot).log_softmax(dim=1)
        apart = F.kl_div(student, teacher, reduction="batchmean", log_target=True)
        return (1 - self.share) * F.nll_loss(
            log_probabilities, labels
        ) + self.share * hot**2 * apart


@torch.inference_mode()
def answers(teacher: nn.Module, images: Tensor, normalization: Normalization) -> Tensor:
    """What a teacher says of images as they lie, not augmented: asked once, for all epochs.

    images: uint8 tensor (N, 1, 28, 28). Computed in bfloat16 where the processor has it, which is
    several times as fast for a large network.
    """
    teacher.eval()
    said = []
    for batch in images.split(500):
        with torch.autocast("cpu", torch.bfloat16):
            scores = teacher(normalization(batch.float() / 255))
        said.append(scores.float().log_softmax(dim=1))
    return torch.cat(said)
