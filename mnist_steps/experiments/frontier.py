"""What stages 9 and 10 are compared with, on the test images: chosen by nothing, only measured.

A family of networks, all with the layers and the recipe of stages 9 and 10 and other numbers of
channels, shows what a parameter buys.

    mnist-steps study --of frontier --workers 2
"""

from dataclasses import dataclass
from functools import partial

from mnist_steps import stages
from mnist_steps.experiments.arms import Arm, Experiment, network, varied
from mnist_steps.experiments.search import SMALL_DILATED, WIDE_DILATED


def _member(layers: str) -> Arm:
    stage = varied(stages.get(10), partial(network, layers=layers))
    return Arm(f"frontier-{stage.parameters}", layers, stage)


# From the smallest; two of them are stages, whose runs are their own.
FAMILY = (
    _member("2@3 3@3 pool/1 4@3x2 4@3x2 4@3x2 average 10@1"),
    _member("3@3 4@3 pool/1 4@3x2 5@3x2 5@3x2 average 10@1"),
    _member("3@3 5@3 pool/1 5@3x2 6@3x2 6@3x2 average 10@1"),
    _member("4@3 6@3 pool/1 6@3x2 7@3x2 7@3x2 average 10@1"),
    _member("6@3 8@3 pool/1 8@3x2 9@3x2 9@3x2 average 10@1"),
    Arm(None, SMALL_DILATED, stages.get(10)),
    _member("9@3 12@3 pool/1 12@3x2 13@3x2 13@3x2 average 10@1"),
    Arm(None, WIDE_DILATED, stages.get(9)),
    _member("16@3 22@3 pool/1 22@3x2 26@3x2 26@3x2 average 10@1"),
)

FRONTIER = Experiment(
    name="frontier",
    question="What does a parameter buy?",
    arms=tuple(arm for arm in FAMILY if arm.name is not None),
    seeds=5,
)


@dataclass(frozen=True)
class Public:
    """One run that others have published, each test digit judged once.

    source, address: what it is and where; the address is empty where we know none
    parameters: of its network
    best: of its epochs, in percent; final: after the last one, None where no log shows it
    """

    source: str
    address: str
    parameters: int
    best: float
    final: float | None


THREE = "https://github.com/snehanshu-raj/ERA/tree/main/assignment_6"
PUBLISHED = (
    Public("a blog post on small networks", "https://hexhowells.com/posts/neural-golfing.html",
           575, 98.0, None),
    Public("a course assignment", "https://github.com/Shwethaamrutha/TSAI-S6",
           6_260, 99.44, 99.44),
    Public("a course assignment", "https://github.com/namanshrimali/TSAI_EVA", 7_076, 99.55, None),
    Public("a course assignment, first network", THREE, 7_224, 99.35, 99.35),
    Public("a course assignment", "", 7_753, 99.52, 99.52),
    Public("a course assignment, second network", THREE, 7_838, 99.34, 99.34),
    Public("a course assignment, third network", THREE, 7_918, 99.52, 99.50),
)  # fmt: skip
