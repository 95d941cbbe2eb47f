"""From an executed notebook to a page: HTML, table of contents and title.

nbconvert does the work, through mkdocs-jupyter, with this folder's own template instead of
theirs, which brings 575 KB of CSS into every page and fetches MathJax from outside. Code gets
the classes that the theme itself gives to code, so that one style sheet colours all of it.
"""

import html
import logging
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from markdown.extensions.toc import nest_toc_tokens
from mkdocs_jupyter import convert
from mkdocs_jupyter.config import settings
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from site_tools.formulas import Formulas

logging.getLogger("mkdocs.mkdocs-jupyter").setLevel(logging.WARNING)

TEMPLATES = Path(__file__).parent / "templates"

HEADING = re.compile(
    r'<h([1-6]) id="([^"]+)">(.*?)<a class="anchor-link"[^>]*>[^<]*</a></h\1>', re.DOTALL
)
CODE = re.compile(
    r'<div class="(highlight[^"]*)">\s*<pre>(?:<span></span>)?(.*?)</pre>\s*</div>', re.DOTALL
)
# A cell's tag, and what its fold is called.
FOLDS = {
    "hint": "Hint",
    "solution": "Solution",
    "audit": "The audit: everything in full, and where it comes from",
}
FIGURE = re.compile(r'<figure class="plot">\s*(<svg\b.*?</svg>)\s*</figure>', re.DOTALL)
FIRST_HEADING = re.compile(r"\s*##+ [^\n]*(?:\n|$)")
COPY_FOR_CLIPBOARD = re.compile(r'<div class="clipboard-copy-txt"[^>]*>.*?</div>\n?', re.DOTALL)


@dataclass(frozen=True)
class Rendered:
    """contents: nested tokens as the `toc` extension of Python-Markdown makes them.

    figures: the SVG of each figure that the content holds, in its order, as it was drawn
    """

    content: str
    contents: list[dict[str, Any]]
    title: str | None
    figures: list[str]


def render(notebook: NotebookNode) -> Rendered:
    """An executed notebook as a page. Its cells' tags decide what is folded or hidden.

    Raises FormulaError.
    """
    # What jupytext makes of the settings at the head of a Markdown page, which MkDocs has read.
    notebook.cells = [cell for cell in notebook.cells if cell.cell_type != "raw"]
    notebook.cells = _with_folds(notebook.cells)
    formulas = Formulas()
    _take_formulas(notebook, formulas)
    # From the cells: nbconvert writes all names in small letters, which no SVG file may do.
    shown = [output.get("data", {}).get("text/html", "") for output in _outputs(notebook)]
    figures = [svg for text in shown for svg in FIGURE.findall(text)]
    settings.templates_dir = str(TEMPLATES)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "page.ipynb")
        nbformat.write(notebook, file)
        content = convert.nb2html(str(file), execute=False, allow_errors=False, no_prompt=True)
    # mkdocs-jupyter appends nbconvert's own style sheet to whatever the template gives.
    content = content[: content.rindex("<!-- end of notebook -->")]
    content = COPY_FOR_CLIPBOARD.sub("", content)
    content = formulas.put_back(CODE.sub(_as_the_theme_writes_code, content))
    return _with_contents(content, figures)


def _take_formulas(notebook: NotebookNode, formulas: Formulas) -> None:
    """Out of text, out of what cells give as text, and out of questions, which are HTML."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = formulas.take(cell.source)
    for output in _outputs(notebook):
        shown = output.get("data", {})
        if "text/markdown" in shown:
            shown["text/markdown"] = formulas.take(shown["text/markdown"])
        if 'class="question"' in shown.get("text/html", ""):
            shown["text/html"] = formulas.take(shown["text/html"])


def _outputs(notebook: NotebookNode) -> Iterator[NotebookNode]:
    return (output for cell in notebook.cells for output in cell.get("outputs", []))


def _as_the_theme_writes_code(found: re.Match[str]) -> str:
    classes = found[1].replace("highlight-ipynb", "highlight").strip()
    return f'<div class="{classes}"><pre><code>{found[2]}</code></pre></div>'


def _with_folds(cells: list[NotebookNode]) -> list[NotebookNode]:
    """Neighbouring cells with the same fold's tag share one; the template needs its two ends.

    A heading at the head of a fold is lifted out of it: contents and links lead to what shows.
    """
    shown: list[NotebookNode] = []
    open_fold = None
    for cell in cells:
        tags = cell.metadata.get("tags", [])
        fold = next((name for name in FOLDS if name in tags), None)
        if fold != open_fold:
            if open_fold:
                shown[-1].metadata["fold_closes"] = True
            heading = FIRST_HEADING.match(cell.source) if cell.cell_type == "markdown" else None
            if fold and heading:
                shown.append(new_markdown_cell(heading[0]))
                cell.source = cell.source[heading.end() :]
            if fold:
                cell.metadata["fold_opens"] = {"kind": fold, "title": FOLDS[fold]}
            open_fold = fold
        shown.append(cell)
    if open_fold:
        shown[-1].metadata["fold_closes"] = True
    return shown


def _with_contents(content: str, figures: list[str]) -> Rendered:
    """Give headings unique ids and the theme's kind of link, and collect them."""
    tokens: list[dict[str, Any]] = []
    taken: set[str] = set()

    def replaced(found: re.Match[str]) -> str:
        level, wanted, inner = int(found[1]), found[2].lower(), found[3]
        name, count = wanted, 1
        while name in taken:
            name, count = f"{wanted}_{count}", count + 1
        taken.add(name)
        tokens.append({"level": level, "id": name, "name": re.sub(r"<[^>]+>", "", inner).strip()})
        link = f'<a class="headerlink" href="#{name}" title="Permanent link">¶</a>'
        return f'<h{level} id="{name}">{inner}{link}</h{level}>'

    content = HEADING.sub(replaced, content)
    title = next((html.unescape(token["name"]) for token in tokens if token["level"] == 1), None)
    return Rendered(content, nest_toc_tokens(tokens), title, figures)
