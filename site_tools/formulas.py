"""Formulas: LaTeX between dollars becomes MathML, which browsers lay out without any script.

`$…$` stands in a line, `$$…$$` on lines of its own. A formula is taken out of the Markdown before
that is rendered, for `_` and `*` mean something there, and put back as MathML afterwards. What
stands in code stays as it is; in text, `\\$` is a dollar.
"""

import html
import itertools
import re
from collections.abc import Iterable
from xml.etree import ElementTree

from latex2mathml.converter import convert

# Code first: what one of these finds is not looked into again.
PIECES = re.compile(
    r"^[ \t]*(?P<fence>`{3,}|~{3,}).*?^[ \t]*(?P=fence)`*[ \t]*$"  # a block of code
    r"|(?P<ticks>`+)(?!`).*?(?<!`)(?P=ticks)(?!`)"  # code in a line
    r"|<(?P<tag>code|pre|script|svg)\b.*?</(?P=tag)>"
    r"|\\\$"
    r"|^(?P<indent>[ \t]*)\$\$(?P<alone>(?:(?!\n\s*\n).)+?)\$\$[ \t]*$"
    r"|\$\$(?P<block>[^$\n]+)\$\$"
    r"|\$(?P<inline>(?=\S)(?:[^$\\\n]|\\.|\n(?!\s*\n))+?(?<=\S))\$(?!\d)",
    re.MULTILINE | re.DOTALL,
)
# What stands for a formula while Markdown is rendered: characters that nobody writes.
OPENS, CLOSES = "\ue000", "\ue001"
PLACE = re.compile(rf"<p>\s*{OPENS}(\d+){CLOSES}\s*</p>|{OPENS}(\d+){CLOSES}")
HEADING = re.compile(rf"<(h[1-6])\b(?:(?!</h[1-6]>).)*{OPENS}", re.DOTALL)
THIN = "0.167em"  # of TeX's spaces
# An environment that the library does not know, in terms of one that it does.
ALIGNED = {r"\begin{aligned}": r"\begin{array}{rl}", r"\end{aligned}": r"\end{array}"}


class FormulaError(Exception):
    """A formula that cannot be converted: the message names it."""


class Formulas:
    """The formulas of one page, taken out of its Markdown and put back into its HTML."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def take(self, text: str) -> str:
        """Markdown with a placeholder for each formula. Raises FormulaError."""

        def replaced(found: re.Match[str]) -> str:
            alone, inline = found["alone"], found["inline"]
            if found["block"] is not None:
                raise FormulaError(
                    f"the formula {found[0]} stands beside words: `$$` needs lines of its own, "
                    "`$` may stand in a line."
                )
            if alone is not None:
                self.found.append(_boxed(alone))
            elif inline is not None:
                self.found.append(mathml(inline, "inline"))
            else:
                return found[0]
            place = f"{OPENS}{len(self.found) - 1}{CLOSES}"
            # A paragraph of its own, in a list or an admonition too.
            return place if alone is None else f"\n{found['indent']}{place}\n"

        return PIECES.sub(replaced, text)

    def put_back(self, page: str) -> str:
        """Rendered HTML with its formulas. Raises FormulaError for one in a heading."""
        if HEADING.search(page):
            raise FormulaError("a heading holds a formula: contents and search cannot show it.")
        return PLACE.sub(lambda found: self.found[int(found[1] or found[2])], page)


def mathml(latex: str, display: str) -> str:
    """LaTeX as a `math` element; display: 'inline' or 'block'.

    Its `alttext` is the LaTeX itself, for what reads formulas aloud without knowing MathML.
    Raises FormulaError when a command is unknown or a brace is missing.
    """
    latex = " ".join(html.unescape(latex).split())
    opened, closed = (len(re.findall(rf"(?<!\\)\{brace}", latex)) for brace in "{}")
    if opened != closed:  # the library would guess
        raise FormulaError(
            f"the formula ${latex}$ cannot be converted: it opens {opened} braces and closes "
            f"{closed}."
        )
    source = latex
    for name, known in ALIGNED.items():
        source = source.replace(name, known)
    try:
        element = ElementTree.fromstring(convert(source, xmlns="", display=display))
    except Exception as error:  # the library has no error of its own for all of them
        raise FormulaError(
            f"the formula ${latex}$ cannot be converted ({str(error) or type(error).__name__}): "
            "write it in other LaTeX."
        ) from error
    unknown = [text for text in _texts(element) if "\\" in text]
    if unknown:
        raise FormulaError(
            f"the formula ${latex}$ cannot be converted: {', '.join(unknown)} is not known. Write "
            "it in other LaTeX."
        )
    for row in list(element.iter()):
        _space_out(row)
    element.set("alttext", latex)
    return ElementTree.tostring(element, encoding="unicode")


def _space_out(row: ElementTree.Element) -> None:
    """Set a function's name off from what it is applied to, as TeX does: not 'log10'."""
    for place, (name, applied) in reversed(list(enumerate(itertools.pairwise(list(row)), start=1))):
        if name.tag == "mi" and len(name.text or "") > 1 and applied.tag not in ("mo", "mspace"):
            row.insert(place, ElementTree.Element("mspace", width=THIN))


def _texts(element: ElementTree.Element) -> Iterable[str]:
    return (text.strip() for one in element.iter() for text in (one.text, one.tail) if text)


def _boxed(latex: str) -> str:
    """A formula in a box that scrolls by itself where the screen is narrow, by keyboard too."""
    return (
        '<div class="formula" role="group" aria-label="Formula" tabindex="0">'
        f"{mathml(latex, 'block')}</div>"
    )
