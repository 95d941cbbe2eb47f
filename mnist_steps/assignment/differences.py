"""What the graded network leaves out of the one that was handed in, told before it counts.

The network is built anew from the operations that `forward` performs in evaluation, with fresh
weights. What would make the two compute different functions is refused; what only changes where
training starts, or is not used at all, is noted. docs/assignment/rubric.md says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mnist_steps.assignment.findings import Finding
from mnist_steps.assignment.submission import MODEL
from mnist_steps.graph.besides import Besides

SHOWN = 3  # places of one kind


@dataclass(frozen=True)
class _Rule:
    """refused: else it is noted; what: with {where} and {more}"""

    refused: bool
    what: str
    why: str
    hint: str


RULES = {
    "hook": _Rule(
        True, "a hook at {where}", "hooks are not part of the network that is built anew",
        "do in forward what it does, or remove it",
    ),
    "parametrization": _Rule(
        True, "a parametrization such as weight_norm or spectral_norm: {where}",
        "the graded layer would learn its weights directly, which is another training",
        "use the plain layer, perhaps with batch normalization behind it",
    ),
    "training": _Rule(
        True, "forward computes something else while training than in evaluation{more}",
        "the network is built anew from what it does in evaluation",
        "let forward do the same in both; dropout and batch normalization as layers are known",
    ),
    "frozen": _Rule(
        False, "frozen here, but in the graded network all weights learn: {where}",
        "only the operations are taken over",
        "remove requires_grad = False, and see whether it is as good",
    ),
    "initialization": _Rule(
        False, "weights of your own, while the graded network starts afresh: {where}",
        "only the operations are taken over, no values",
        "leave the start to torch, or write initialization = \"kaiming\" into recipe.toml",
    ),
    "unused": _Rule(
        False, "unused, so neither graded nor counted: {where}",
        "only what forward reaches is part of the network",
        "delete it, or use it",
    ),
    "scores": _Rule(
        False, "the network returns raw scores: log-softmax is appended for you",
        "the loss takes logarithms of probabilities",
        "nothing has to change; F.log_softmax(x, dim=1) at the end of forward says the same",
    ),
}  # fmt: skip


def told(besides: Sequence[Besides]) -> tuple[list[Finding], list[Finding]]:
    """What stops the network, and what its author should know, each kind once."""
    refused: list[Finding] = []
    noted: list[Finding] = []
    for kind, rule in RULES.items():
        found = [(where, more) for one, where, more in besides if one == kind]
        if not found:
            continue
        places = [f"{where or 'the network itself'} ({more})" if kind == "unused" else where
                  for where, more in found]  # fmt: skip
        more = f"; {len(places) - SHOWN} more" if len(places) > SHOWN else ""
        what = rule.what.format(
            where="; ".join(one or "the network itself" for one in places[:SHOWN]) + more,
            more=f": {found[0][1]}" if found[0][1] else "",
        )
        finding = Finding(MODEL, what.rstrip("."), rule.why, rule.hint)
        (refused if rule.refused else noted).append(finding)
    return refused, noted
