"""What is wrong with a submission, told so that its author can put it right."""

import re
import unicodedata
from dataclasses import dataclass

from mnist_steps.errors import MnistStepsError

LONGEST = 400  # characters of anything that a submission wrote
LONGEST_CAUSE = 80  # characters; what follows tells more of one submission than of a class


@dataclass(frozen=True)
class Finding:
    """One mistake.

    where: 'recipe.toml, epochs'
    what: what was found and what was expected
    why: why it matters
    hint: what to do next
    """

    where: str
    what: str
    why: str
    hint: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}. Why it matters: {self.why}. Hint: {self.hint}."


class SubmissionError(MnistStepsError):
    """A submission that cannot be used; `findings` has one entry for each mistake."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__("\n".join(map(str, findings)))
        self.findings = findings


def cause(finding: Finding) -> str:
    """What findings of several submissions have in common: all but names, numbers and lines."""
    file, _, place = finding.where.partition(", ")
    what = re.sub(r"^(model\.py, line \d+|[\w.]+): ", "", finding.what)
    if file == "recipe.toml":  # there the place is a setting, elsewhere a name of their own
        what = f"{place}: {what}"
    what = re.sub(r"'[^']*'|\"[^\"]*\"", "'…'", what)
    return f"{file}: {re.sub(r'[0-9][0-9.,]*', '#', what)[:LONGEST_CAUSE]}"


def unforeseen(error: Exception) -> Finding:
    """What a submission broke in the grader: its author cannot know how, but has to hand in again.

    The last resort, around each step of each submission, so that none stops a class.
    """
    return Finding(
        "the submission",
        f"it broke the grader ({type(error).__name__}: {one_line(error)})",
        "nothing that is handed in may stop the grading of a class",
        "make the files anew and hand them in again; should that not help, ask your instructor, "
        "who sees this line too",
    )


def shown(value: object) -> str:
    """A value that somebody wrote into a TOML file, safe to print: text and numbers, shortened.

    Tables and lists by their kind only: they may be nested deeper than Python can write out.
    """
    if isinstance(value, (dict, list)):
        return "a table" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and value.bit_length() > 64:  # Python refuses to write out long ones
        return f"a whole number of {value.bit_length()} bits"
    return one_line(repr(value))


def one_line(text: object) -> str:
    """Foreign text, safe to print: one line, of bounded length, without control characters.

    Escape sequences could rewrite a terminal, and marks of writing direction a sentence.
    """
    visible = "".join(
        " " if unicodedata.category(character)[0] in "CZ" else character
        for character in str(text)[: 4 * LONGEST]
    )
    joined = " ".join(visible.split())
    return joined if len(joined) <= LONGEST else joined[: LONGEST - 1] + "…"
