"""Questions: what will happen, and whether an idea is understood; and what the reader answered.

On the site a script makes forms of them and keeps the answers in the reader's browser. Without a
script, and in notebooks, the answer is folded; a terminal prints all of it.
"""

import hashlib
import html
import re
from collections.abc import Sequence

from mnist_steps import stages
from mnist_steps.markup import Html, typeset

LETTERS = "ABCDEF"


def predict(question: str, choices: Sequence[str], answer: int, explanation: str) -> Html:
    """A question to answer before the results: what will happen?

    answer: the right choice's place in `choices`, computed from what was measured by the page's
        own cell
    explanation: what was measured, and why

    Raises ValueError unless there are three choices and the answer is one of them.
    """
    if len(choices) != 3 or answer not in range(3):
        raise ValueError(f"three choices and one of them: got {len(choices)}, and answer {answer}")
    return _question(
        "prediction",
        question,
        choices,
        answer,
        "What was measured",
        f"<p><strong>{_inline(choices[answer])}.</strong> {_inline(explanation)}</p>",
        [f"Measured: {LETTERS[answer]}. {explanation}"],
    )


def check(question: str, options: Sequence[tuple[str, str]], answer: int) -> Html:
    """A question on an idea, with a reason for every option: why it is right, or why not.

    options: two to six of a choice and its reason; no choice twice
    answer: the right one's place in `options`
    Raises ValueError where a reason is missing or the answer is not one of them.
    """
    choices = [choice for choice, _ in options]
    if not 2 <= len(options) <= len(LETTERS) or len(set(choices)) != len(choices):
        raise ValueError(f"{question!r}: expected two to six different choices, got {choices}")
    if answer not in range(len(options)):
        raise ValueError(f"{question!r}: answer {answer} is none of the {len(options)} choices")
    if unexplained := [choice for choice, reason in options if not reason.strip()]:
        raise ValueError(f"{question!r}: a reason is missing for {unexplained}")
    reasons = "".join(
        f"<li><strong>{'Right' if place == answer else 'No'}:</strong> "
        f'<span class="question-reason">{_inline(reason)}</span></li>'
        for place, (_, reason) in enumerate(options)
    )
    return _question(
        "check",
        question,
        choices,
        answer,
        "The answer, and a reason for each",
        f'<ol type="A">{reasons}</ol>',
        [
            f"{letter} is {'right' if place == answer else 'wrong'}: {reason}"
            for place, (letter, (_, reason)) in enumerate(zip(LETTERS, options, strict=False))
        ],
    )


TITLES = {"prediction": "What will happen?", "check": "Check yourself."}


def _question(
    kind: str,
    question: str,
    choices: Sequence[str],
    answer: int,
    fold: str,
    folded: str,
    below: Sequence[str],
) -> Html:
    """kind: of TITLES; fold, folded: title and markup of the answer; below: it as lines of text."""
    name = hashlib.sha256("\n".join([question, *choices]).encode()).hexdigest()[:12]
    listed = "".join(f"<li>{_inline(choice)}</li>" for choice in choices)
    markup = (
        f'<div class="question" data-question="{name}" data-kind="{kind}" data-answer="{answer}">'
        f'<p class="question-text"><strong>{TITLES[kind]}</strong> {_inline(question)}</p>'
        f'<ol type="A">{listed}</ol>'
        f"<details><summary>{fold}</summary>{folded}</details></div>"
    )
    lines = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False)]
    return Html(markup, "\n".join([f"{TITLES[kind]} {question}", *lines, *below]))


def _inline(text: str) -> str:
    """As markup; between backticks is code. Formulas between dollars stay for the site."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(typeset(text), quote=False))


def progress() -> Html:
    """The stages as a list in which the site's script notes what was read, and answered how.

    The site names each page's questions when it is built. A stage counts as read once all of its
    checks are answered, rightly or not: that is what a browser can know without spying.
    """
    steps = "".join(
        f'<li data-page="{stage.page}"><a href="{stage.page}">{stage.number}. '
        f"{html.escape(stage.title)}</a> <span></span></li>"
        for stage in stages.ORIGINAL
    )
    return Html(
        '<div class="progress" data-progress><p role="status">Without JavaScript nothing is kept; '
        f'each page has its answers in folds.</p><ul role="list">{steps}</ul></div>',
        "The pages of the site ask questions, and keep the answers in the reader's browser.",
    )
