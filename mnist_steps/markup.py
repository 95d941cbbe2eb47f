"""What a page renders and a terminal prints: text with numbers in it, markup, and tables.

The last expression of a page's cell shows itself by `_repr_…_`, a template's by `__html__`; what
has neither is text, and is escaped.
"""

import html
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


class Text(str):
    """Markdown with computed numbers in it: pages render it as prose."""

    def _repr_markdown_(self) -> str:
        return typeset(str(self))


@dataclass(frozen=True)
class Html:
    """Markup for pages, plain text for terminals."""

    markup: str
    text: str

    def _repr_html_(self) -> str:
        return self.markup

    __html__ = _repr_html_

    def __repr__(self) -> str:
        return self.text


def json_script(content: Any, attributes: str = "") -> str:
    """Data that a page's scripts read, in an element that shows nothing.

    attributes: of the element, as markup, with a space before
    """
    # A script's text ends at the first "</script", in whatever string that may be.
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json"{attributes}>{text}</script>'


def link(address: str, words: str) -> Html:
    return Html(f'<a href="{html.escape(address)}">{html.escape(words)}</a>', words)


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str | Html]],
    caption: str,
    words: Sequence[int] = (),
    foot: Sequence[str] = (),
    wide: Sequence[int] = (),
) -> Html:
    """A table whose first column names the rows and whose other columns hold numbers.

    words: further columns that hold words; they are aligned to the left, of class "words"
    foot: lines below the rows
    wide: columns that matter less, which only a wide screen shows; of class "wide"
    Its markup scrolls in a frame of its own, by keyboard too, when the screen is narrow.
    """
    classes = {"words": words, "wide": wide}
    kinds = []
    for column in range(len(headings)):
        names = [name for name, columns in classes.items() if column in columns]
        kinds.append(f' class="{" ".join(names)}"' if names else "")
    head = "".join(
        f'<th scope="col"{kind}>{html.escape(heading)}</th>' if heading else "<td></td>"
        for kind, heading in zip(kinds, headings, strict=True)
    )
    body = "".join(
        f'<tr><th scope="row"{_short(row[0])}>{_markup(row[0])}</th>'
        + "".join(
            f"<td{kind}>{_markup(cell)}</td>" for kind, cell in zip(kinds[1:], row[1:], strict=True)
        )
        + "</tr>"
        for row in rows
    )
    below = "<br>".join(map(html.escape, foot))
    if foot:
        below = f'<tfoot><tr><td colspan="{len(headings)}">{below}</td></tr></tfoot>'
    label = html.escape(caption.partition(".")[0])
    markup = (
        f'<div class="table-scroll" role="group" aria-label="{label}" tabindex="0">'
        f'<table class="layers"><caption>{html.escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>{below}</table></div>"
    )
    return Html(markup, "\n".join([caption, *_lines(headings, rows, words, foot)]))


def _short(name: str | Html) -> str:
    """The class "short" for a row's name that a narrow screen should not break, as "stage 8"."""
    return ' class="short"' if isinstance(name, str) and len(name) <= 11 else ""


def _markup(cell: str | Html) -> str:
    if isinstance(cell, Html):
        return cell.markup
    shown = html.escape(INTERVAL.sub("[\\1,\N{NO-BREAK SPACE}\\2]", typeset(cell)))
    return LONG_NAME.sub("\\g<0><wbr>", shown)


INTERVAL = re.compile(r"\[(\S+), (\S+)\]")
LONG_NAME = re.compile(r"[A-Za-z]{12,}\(")  # of a call, which a phone's line has to break
# Code and formulas first: what these find stays as it is.
SIGNS = re.compile(
    r"(?P<kept>`[^`]+`|\$[^$]+\$)|(?P<minus>(?:^|(?<=[\s(\[]))-(?=\d))|(?<=\d)"
    r"(?:(?P<percent> ?%(?!\w))|(?P<share> of (?=\d)))"
)
SIGN = {
    "minus": "\N{MINUS SIGN}",
    "percent": "\N{NO-BREAK SPACE}%",
    "share": "\N{NO-BREAK SPACE}of\N{NO-BREAK SPACE}",
}


def typeset(words: str) -> str:
    """With minus signs in place of hyphens, a space before each percent sign, and '9 of 10' whole.

    Code between backticks and formulas between dollars stay as they are.
    """
    return SIGNS.sub(lambda found: SIGN.get(found.lastgroup or "", found[0]), words)


def _lines(
    headings: Sequence[str],
    rows: Sequence[Sequence[str | Html]],
    words: Sequence[int],
    foot: Sequence[str],
) -> list[str]:
    """The table as text; with a foot, rules set off the rows."""
    texts = [[str(cell) for cell in row] for row in (headings, *rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    head, *lines = (
        "  ".join(
            cell.ljust(width) if column == 0 or column in words else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in texts
    )
    if not foot:
        return [head, *lines]
    rule = "-" * max(map(len, (head, *lines)))
    return [rule, head, rule, *lines, rule, *foot]


COLOUR = re.compile(r"var\(--figure-\w+, (#\w+)\)")
CREDIT_HEIGHT = 18  # pixels


def standalone(svg: str, credit: str = "") -> str:
    """A figure's SVG as a file of its own: fixed colours and size, and a line of credit below.

    Programs that show slides know neither a page's colours nor its width.
    """
    root = svg[: svg.index(">") + 1]
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', root)
    size = size or re.search(r'width="([\d.]+)" height="([\d.]+)"', root)
    if size is None:
        raise ValueError(f"a figure without a size: {root[:120]}")
    width, height = (float(number) for number in size.groups())
    below = CREDIT_HEIGHT if credit else 0
    kept = re.sub(r'\s(?:viewBox|width|height|style)="[^"]*"', "", root)
    opening = (
        f'{kept[:-1]} viewBox="0 0 {width:g} {height + below:g}" width="{width:g}" '
        f'height="{height + below:g}">'
    )
    inner = COLOUR.sub(r"\1", svg[len(root) : svg.rindex("</svg>")])
    line = (
        f'<text x="0" y="{height + below - 5:g}" font-size="9" fill="#67727e" '
        f'font-family="system-ui, sans-serif">{html.escape(credit)}</text>'
        if credit
        else ""
    )
    return f"{opening}{inner}{line}</svg>\n"
