"""Words of the glossary, explained where they first stand on each page.

`docs/glossary.md` is the one source: a heading holds a word and other names for it, the paragraph
below says what it means. A word becomes a link to that place, which works without a script; with
one, the sentence appears beside the word (docs/javascripts/glossary.js). Words that also mean much
else have a heading with parentheses: they stand in the glossary, and are not marked.
"""

import html
import re
from dataclasses import dataclass

SOURCE = "glossary.md"
# Pages for doing rather than reading, the glossary itself, and a page whose kernel is Linux's.
LEFT_OUT = (
    SOURCE, "playground.md", "compare.md", "lab.md", "contributing.md", "assignment/security.md",
)  # fmt: skip

ENTRY = re.compile(r"^## (.+)\n\n(.+(?:\n.+)*)", re.MULTILINE)
TAG = re.compile(r"(<!--.*?-->|<[^>]*>)", re.DOTALL)
NAME = re.compile(r"<(/?)([a-zA-Z][\w-]*)")
PROSE = {"p", "li", "dd"}
# What is no running text: code, what is a link or a heading already, what a script takes apart.
CLOSED = {
    "a", "button", "code", "details", "figure", "h1", "h2", "h3", "h4", "math", "pre", "script",
    "style", "summary", "svg", "table",
}  # fmt: skip
BLOCK = re.compile(
    r'<(div|p) class="(question|progress|newly|hero|taste|provenance|page-buttons)\b'
)
VOID = {"area", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}


@dataclass(frozen=True)
class Entry:
    """A word. forms: in small letters, its plurals too; anchor: its heading's id."""

    word: str
    forms: tuple[str, ...]
    anchor: str
    meaning: str


def read(text: str) -> list[Entry]:
    """The entries of the glossary, which is Markdown. Raises ValueError for a word given twice."""
    entries: list[Entry] = []
    taken: set[str] = set()
    for heading, meaning in ENTRY.findall(text):
        words = [] if "(" in heading else [one.strip().lower() for one in heading.split(",")]
        forms = tuple(form for word in words for form in (word, plural(word)))
        if twice := taken & set(words):
            raise ValueError(f"{SOURCE} explains {', '.join(sorted(twice))} twice: once is enough.")
        taken |= set(forms)
        entries.append(Entry(heading, forms, anchor_of(heading), " ".join(meaning.split())))
    return entries


def plural(word: str) -> str:
    """Of an English word that is regular."""
    if re.search(r"[^aeiou]y$", word):
        return f"{word[:-1]}ies"
    return f"{word}es" if word.endswith(("s", "x", "ch", "sh")) else f"{word}s"


def anchor_of(heading: str) -> str:
    """The id that the `toc` extension gives a heading."""
    kept = re.sub(r"[^\w\s-]", "", heading.encode("ascii", "ignore").decode()).strip().lower()
    return re.sub(r"[-\s]+", "-", kept)


def marked(page: str, entries: list[Entry], address: str) -> str:
    """A page's HTML with each word, where it first stands in running text, as a link.

    address: of the glossary, relative to the page
    """
    by_form = {form: entry for entry in entries for form in entry.forms}
    if not by_form:
        return page
    longest_first = sorted(by_form, key=len, reverse=True)
    word = re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, longest_first))})(?![\w-])", re.I)
    explained: set[str] = set()

    def link(found: re.Match[str]) -> str:
        entry = by_form[found[0].lower()]
        if entry.anchor in explained:
            return found[0]
        explained.add(entry.anchor)
        return (
            f'<a class="term" href="{address}#{entry.anchor}" '
            f'data-meaning="{html.escape(entry.meaning)}">{found[0]}</a>'
        )

    pieces = TAG.split(page)
    prose, closed = 0, 0
    inside: list[tuple[str, bool, bool]] = []  # open elements: name, prose?, closed?
    for place, piece in enumerate(pieces):
        if place % 2 == 0:
            if prose and not closed:
                pieces[place] = word.sub(link, piece)
            continue
        named = NAME.match(piece)
        if named is None or named[2] in VOID or piece.endswith("/>"):
            continue
        if not named[1]:
            is_prose = named[2] in PROSE
            is_closed = named[2] in CLOSED or BLOCK.match(piece) is not None
            inside.append((named[2], is_prose, is_closed))
            prose, closed = prose + is_prose, closed + is_closed
        elif any(name == named[2] for name, *_ in inside):
            while inside:  # an element that was left open ends with the one around it
                name, was_prose, was_closed = inside.pop()
                prose, closed = prose - was_prose, closed - was_closed
                if name == named[2]:
                    break
    return "".join(pieces)
