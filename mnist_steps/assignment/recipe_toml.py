"""recipe.toml, read with care: optimizer, schedule and augmentation by torch's names and arguments.

Which arguments a choice has is what torch's class, or ours for a transform, has; which values
they may take stands here, by the argument's name. Last, torch itself is asked whether they go
together.
"""

import dataclasses
import inspect
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from mnist_steps.assignment.findings import Finding, SubmissionError, one_line, shown
from mnist_steps.assignment.rules import Assignment, Bounds
from mnist_steps.assignment.submission import RECIPE
from mnist_steps.recipes import (
    INITIALIZATIONS,
    OPTIMIZERS,
    SCHEDULES,
    TRAIN_PIXELS,
    TRANSFORMS,
    Part,
    Recipe,
    defaults_of,
)

MOST_TRANSFORMS = 8
NEEDED = inspect.Parameter.empty  # an argument without a default


@dataclass(frozen=True)
class OneOf:
    """One of a few words, or yes and no. why: as for Bounds"""

    allowed: tuple[Any, ...]
    why: str

    def admit(self, value: Any) -> bool:
        return any(type(value) is type(one) and value == one for one in self.allowed)

    def __str__(self) -> str:
        named = ["true" if one is True else "false" if one is False else f'"{one}"'
                 for one in self.allowed]  # fmt: skip
        return " or ".join(named)


@dataclass(frozen=True)
class Several:
    """So many numbers in a list. ordered: in pairs, the smaller first"""

    bounds: Bounds
    counts: tuple[int, ...] = (2,)
    ordered: bool = True

    @property
    def why(self) -> str:
        return self.bounds.why

    def admit(self, value: Any) -> bool:
        if not isinstance(value, list) or len(value) not in self.counts:
            return False
        pairs = zip(value[::2], value[1::2], strict=False)
        return all(map(self.bounds.admit, value)) and (
            not self.ordered or all(low <= high for low, high in pairs)
        )

    def __str__(self) -> str:
        few = len(self.counts) < 3
        counts = " or ".join(map(str, self.counts)) if few else f"up to {self.counts[-1]}"
        order = ", the smaller first" if self.ordered else ""
        return f"a list of {counts}, each {self.bounds}{order}"


@dataclass(frozen=True)
class Either:
    """A number, or a list of them."""

    first: Bounds
    second: Several

    @property
    def why(self) -> str:
        return self.first.why

    def admit(self, value: Any) -> bool:
        return self.first.admit(value) or self.second.admit(value)

    def __str__(self) -> str:
        return f"{self.first}, or {self.second}"


Rule = Bounds | OneOf | Several | Either


def _yes_or_no(why: str) -> OneOf:
    return OneOf((True, False), why)


RATE = Bounds(1e-6, 10, "larger steps diverge, smaller ones do not arrive in 15 epochs")
SHARE_KEPT = Bounds(0, 0.999, "it is the share of the last step that is kept")
PROBABILITY = Bounds(0, 1, "it is a probability")
AREA = Bounds(0.01, 1, "it is a share of the image's area")
EPOCHS = Bounds(1, 100, "it counts epochs", whole=True)
FACTOR = Bounds(0, 1, "the learning rate is multiplied by it")
DEGREES = "beyond 180 it would turn around again"
SHEAR = "at 90 the image would be a line"
CHANGE = "it changes the grey values by so much"

RULES: dict[str, Rule] = {
    "lr": RATE,
    "max_lr": RATE,
    "min_lr": Bounds(0, 10, "it is the smallest learning rate"),
    "momentum": SHARE_KEPT,
    "dampening": SHARE_KEPT,
    "base_momentum": SHARE_KEPT,
    "max_momentum": SHARE_KEPT,
    "betas": Several(SHARE_KEPT, ordered=False),
    "weight_decay": Bounds(0, 1, "each step takes this share, times the rate, from each weight"),
    "nesterov": _yes_or_no("it is on or off"),
    "amsgrad": _yes_or_no("it is on or off"),
    "cycle_momentum": _yes_or_no("the momentum moves or stays"),
    "three_phase": _yes_or_no("it is on or off"),
    "pct_start": PROBABILITY,
    "anneal_strategy": OneOf(("cos", "linear"), "torch knows these two"),
    "div_factor": Bounds(1, 1e6, "the first rate is the peak divided by it"),
    "final_div_factor": Bounds(1, 1e12, "the last rate is the first divided by it"),
    "step_size": EPOCHS,
    "milestones": Several(EPOCHS, counts=tuple(range(1, 21)), ordered=False),
    "gamma": FACTOR,
    "factor": FACTOR,
    "patience": Bounds(0, 100, "it counts epochs", whole=True),
    "cooldown": Bounds(0, 100, "it counts epochs", whole=True),
    "mode": OneOf(("min",), "what is watched is the training loss, which falls"),
    "threshold": Bounds(0, 1, "it is what counts as better"),
    "threshold_mode": OneOf(("rel", "abs"), "torch knows these two"),
    "degrees": Either(Bounds(0, 180, DEGREES), Several(Bounds(-180, 180, DEGREES))),
    "share": Bounds(0, 0.5, "beyond a half the digit leaves the image"),
    "translate": Several(Bounds(0, 0.5, "beyond a half the digit leaves the image"), ordered=False),
    "scale": Several(Bounds(0.01, 10, "it is the least and the most")),
    "shear": Either(Bounds(0, 80, SHEAR), Several(Bounds(-80, 80, SHEAR), counts=(2, 4))),
    "fill": Bounds(0, 255, "it is a grey value, as of images before ToTensor"),
    "size": Bounds(1, 28, "the image has 28 × 28 pixels", whole=True),
    "probability": PROBABILITY,
    "p": PROBABILITY,
    "smallest": AREA,
    "largest": AREA,
    "brightness": Either(Bounds(0, 1, CHANGE), Several(Bounds(0, 10, CHANGE))),
    "contrast": Either(Bounds(0, 1, CHANGE), Several(Bounds(0, 10, CHANGE))),
    "ratio": Several(Bounds(0.1, 10, "it is height to width")),
    "value": Bounds(0, 1, "pixels go from 0 to 1"),
}

# Other names for the same, as torch and torchvision have them.
ALIASES = {"OneCycleLR": "OneCycle"}

# Why arguments that torch has are not taken.
NOT_TAKEN = {
    "saturation": "a grey image has none",
    "hue": "a grey image has none",
    "total_steps": "the grader spreads the schedule over all steps of all epochs",
    "epochs": "the grader spreads the schedule over all steps of all epochs",
    "steps_per_epoch": "the grader spreads the schedule over all steps of all epochs",
    "interpolation": "the grader computes between pixels bilinearly",
}

UNREAD = "a setting that nobody reads would change nothing, silently"


def parse(text: str, assignment: Assignment) -> Recipe:
    """The recipe that recipe.toml describes; normalization and loss are the same for all.

    Raises SubmissionError with one finding for each mistake.
    """
    try:
        found = tomllib.loads(text.removeprefix("\ufeff"))
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise SubmissionError(
            [
                Finding(
                    RECIPE,
                    f"this is not TOML ({one_line(error)})",
                    "a recipe that cannot be read cannot be trained",
                    'text needs quotes, decimals a point: name = "SGD", lr = 0.01',
                )
            ]
        ) from error
    reader = _Reader(found)
    recipe = reader.read(assignment)
    if reader.findings or recipe is None:
        raise SubmissionError(reader.findings)
    return recipe


class _Reader:
    """Reads a recipe's parts and collects what is wrong, so that all of it is told at once."""

    def __init__(self, found: dict[str, Any]) -> None:
        self.found = found
        self.findings: list[Finding] = []

    def read(self, assignment: Assignment) -> Recipe | None:
        rules: dict[str, Rule] = {
            "batch_size": Bounds(
                8, 2048, "it sets how many weight updates one epoch has", whole=True
            ),
            "epochs": Bounds(
                1, assignment.epochs, "the assignment limits how long a network may learn",
                whole=True,
            ),
            "initialization": OneOf(INITIALIZATIONS, "without it layers start as torch's do"),
            "l1": Bounds(0, 0.1, "it pulls every weight to 0"),
            "label_smoothing": Bounds(0, 0.5, "it is the share of a label that all digits get"),
        }  # fmt: skip
        known = [*rules, "optimizer", "schedule", "augmentation"]
        for name in sorted(set(self.found) - set(known)):
            self.complain(
                one_line(name),
                f"there is no such setting; there are {', '.join(known)}",
                UNREAD,
                "check the spelling, or delete the line",
            )
        defaults = dict.fromkeys(rules) | {"batch_size": NEEDED, "epochs": NEEDED}
        settings = self.values("", self.found, rules, defaults)
        optimizer = self.part("optimizer", self.found.get("optimizer"), OPTIMIZERS)
        schedule = None
        if "schedule" in self.found:
            schedule = self.part("schedule", self.found["schedule"], SCHEDULES)
        transforms = self.transforms(self.found.get("augmentation", []))
        if not self.findings:
            self.ask_torch(optimizer, schedule)
        if self.findings:
            return None
        return Recipe(
            **settings,
            optimizer=optimizer,
            schedule=schedule,
            augmentation=tuple(transforms),
            # Unlike the stages, which repeat the original's two pairs of constants.
            normalize_train=TRAIN_PIXELS,
            normalize_test=TRAIN_PIXELS,
        )

    def transforms(self, found: Any) -> list[Any]:
        if not isinstance(found, list) or len(found) > MOST_TRANSFORMS:
            self.complain(
                "augmentation",
                f"expected at most {MOST_TRANSFORMS} tables",
                "each one is a transform, applied in their order",
                'begin each one with [[augmentation]] and name = "RandomRotation"',
            )
            return []
        transforms = [
            self.part(f"augmentation {position}", _as_ours(one), TRANSFORMS)
            for position, one in enumerate(found, start=1)
        ]
        for position, one in enumerate(transforms, start=1):
            smallest, largest = getattr(one, "smallest", 0), getattr(one, "largest", 1)
            if smallest > largest:
                self.complain(
                    f"augmentation {position}",
                    f"smallest is {smallest}, more than largest, {largest}",
                    "areas are drawn between the two",
                    "exchange them",
                )
        return transforms

    def part(self, where: str, found: Any, choices: dict[str, type]) -> Any:
        """An optimizer, schedule or transform; None when something is wrong with it."""
        name = found.get("name") if isinstance(found, dict) else None
        kind = ALIASES.get(name, name) if isinstance(name, str) else None
        if not isinstance(name, str) or kind not in choices:
            self.complain(
                where,
                f"found {shown(name)} as its name, expected one of {', '.join(choices)}",
                "the grader trains with these, which are the same for everybody",
                f'write name = "{next(iter(choices))}"',
            )
            return None
        make: Callable[..., Any] = choices[kind]
        if choices is TRANSFORMS:
            defaults = {
                field.name: NEEDED if field.default is dataclasses.MISSING else field.default
                for field in dataclasses.fields(choices[kind])
            }
        else:
            defaults = defaults_of(kind)
            make = lambda **given: Part.of(kind, **given)  # noqa: E731
        rules = {
            argument: RULES[argument] for argument in defaults
            if argument in RULES and argument not in NOT_TAKEN
        }  # fmt: skip
        for extra in sorted(set(found) - set(rules) - {"name"}):
            reason = NOT_TAKEN.get(extra)
            self.complain(
                f"{where}, {one_line(extra)}",
                f"{name} does not take it here: {reason}" if reason else
                f"{name} has no such setting here; it has {', '.join(rules)}",
                UNREAD,
                "delete the line" if reason else "check the spelling, or delete the line",
            )  # fmt: skip
        before = len(self.findings)
        values = self.values(f"{where}, ", found, rules, defaults)
        return make(**values) if len(self.findings) == before else None

    def values(
        self, where: str, table: dict[str, Any], rules: dict[str, Rule], defaults: dict[str, Any]
    ) -> dict[str, Any]:
        """What the table says for the rules' names, lists as tuples."""
        given: dict[str, Any] = {}
        for name, rule in rules.items():
            value = table.get(name)
            if name in table and rule.admit(value):
                given[name] = tuple(value) if isinstance(value, list) else value
            elif name in table or defaults[name] is NEEDED:
                found = f"found {shown(value)}" if name in table else "it is missing"
                self.complain(
                    f"{where}{name}",
                    f"{found}, expected {rule}",
                    rule.why,
                    f"write {name} = and a value such as expected",
                )
        return given

    def ask_torch(self, optimizer: Part, schedule: Part | None) -> None:
        """Whether torch takes the arguments together, such as nesterov without momentum."""
        where = "optimizer"
        try:
            made = optimizer.make([torch.zeros(1, requires_grad=True)])
            where = "schedule"
            if schedule is not None:
                total = {"total_steps": 100} if schedule.name == "OneCycle" else {}
                schedule.make(made, **total)
        except (ValueError, TypeError) as error:
            self.complain(
                where,
                f"torch refuses it: {one_line(error)}",
                "the grader trains by torch's own class",
                "see what torch's documentation says about this argument",
            )

    def complain(self, where: str, what: str, why: str, hint: str) -> None:
        self.findings.append(Finding(f"{RECIPE}, {where}", what, why, hint))


def _as_ours(found: Any) -> Any:
    """torchvision's RandomResizedCrop(28, scale=(a, b)) by our names; all else as it is."""
    if not isinstance(found, dict) or found.get("name") != "RandomResizedCrop":
        return found
    scale, size = found.get("scale"), found.get("size", 28)
    if not isinstance(scale, list) or len(scale) != 2 or size not in (28, [28, 28]):
        return found
    kept = {key: value for key, value in found.items() if key not in ("scale", "size")}
    return kept | {"smallest": scale[0], "largest": scale[1]}
