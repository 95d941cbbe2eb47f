"""Predict first: a question before the results, and what the reader predicted of all stages."""

import hashlib
import html
from collections.abc import Sequence

from mnist_steps import stages
from mnist_steps.markup import Html


def predict(question: str, choices: Sequence[str], answer: int, explanation: str) -> Html:
    """A question to answer before the results: what will happen?

    answer: the right choice's place in `choices`, computed from the run by the page's own cell
    explanation: what was measured, and why

    On the site, a script makes a form of it, and keeps the reader's answer in the browser.
    Everywhere else the answer is folded. Raises ValueError unless there are three choices and the
    answer is one of them.
    """
    if len(choices) != 3 or answer not in range(3):
        raise ValueError(f"three choices and one of them: got {len(choices)}, and answer {answer}")
    name = hashlib.sha256("\n".join([question, *choices]).encode()).hexdigest()[:12]
    listed = "".join(f"<li>{html.escape(choice)}</li>" for choice in choices)
    markup = (
        f'<div class="predict" data-predict="{name}" data-answer="{answer}">'
        '<p class="predict-question"><strong>What will happen?</strong> '
        f"{html.escape(question)}</p>"
        f'<ol type="A">{listed}</ol>'
        f"<details><summary>What was measured</summary><p><strong>{html.escape(choices[answer])}."
        f"</strong> {html.escape(explanation)}</p></details></div>"
    )
    lines = [f"{letter}. {choice}" for letter, choice in zip("ABC", choices, strict=True)]
    return Html(
        markup,
        "\n".join(
            [f"What will happen? {question}", *lines, f"Measured: {'ABC'[answer]}. {explanation}"]
        ),
    )


def predictions() -> Html:
    """The stages as a list in which the site's script notes what the reader predicted of each."""
    steps = "".join(
        f'<li><a href="{stage.page}">{stage.number}. {html.escape(stage.title)}</a> '
        "<span></span></li>"
        for stage in stages.ORIGINAL
    )
    text = "The pages of the site ask for a prediction before they show a result."
    return Html(
        f'<div class="predictions" data-predictions><p role="status">Without JavaScript nothing is '
        f'kept; each page shows its answer in a fold.</p><ul role="list">{steps}</ul></div>',
        text,
    )
