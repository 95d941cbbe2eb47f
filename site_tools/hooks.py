"""What MkDocs calls while it builds the site, in the order of a build.

An executed page is a Python file in percent format. It is executed when its text changed, or
something that it imports, the package's data and records, the installed libraries or these tools;
otherwise its page comes from the cache. mkdocs-jupyter lets MkDocs see such files as pages, and
converts them. Its own cache and execution are not used: they know nothing of the package's code
and run page after page.
"""

import itertools
import json
import posixpath
import re
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page
from mkdocs.structure.toc import get_toc
from mkdocs.utils import get_relative_url
from mkdocs_jupyter.plugin import NotebookFile

# MkDocs loads this file by its path: the project's folder need not be where Python looks.
sys.path.insert(0, str(Path(__file__).parents[1]))
from mnist_steps.markup import standalone  # noqa: E402
from site_tools import (  # noqa: E402
    checks,
    downloads,
    execution,
    glossary,
    kernels,
    lab_presets,
    made,
    offline,
    playground_assets,
    privacy,
    rendering,
)
from site_tools.dependencies import Imports, digests_of  # noqa: E402
from site_tools.formulas import FormulaError, Formulas  # noqa: E402
from site_tools.rendering import Rendered  # noqa: E402

log = get_plugin_logger("site")

PAGE_LINK = re.compile(r'\b(href|src)="([^"#:?]+)(#[^"]*)?"')
FIGURE = re.compile(r'(<figure class="plot">.*?)</figure>', re.DOTALL)
STEP = re.compile(r'<li data-page="([^"]+)"')
QUESTION = re.compile(r'data-kind="(\w+)"[^>]*? data-question="(\w+)"')
# Browsers break a line at any hyphen; this much has room on a phone.
SHORT_COMMAND = re.compile(r"<code>(?=[^<]*-)([^<\n]{1,28})</code>(?!</pre>)")

# Pages whose own HTML names the site's files, by the folders that these lie in.
OWN_HTML = (playground_assets.PAGE, lab_presets.PAGE)
FOLDERS = ("stylesheets/", "javascripts/", "assets/", "assignment/")

# The executed pages of this build, by their path under docs/.
rendered: dict[str, Rendered] = {}
# Those of other pages, likewise.
formulas: dict[str, Formulas] = {}
serving = False


def on_startup(command: str, dirty: bool) -> None:
    """`mkdocs serve` puts a script of its own into pages, which their policy would refuse."""
    global serving
    serving = command == "serve"
    if not serving:
        signal.signal(signal.SIGINT, _stop)


def _stop(number: int, frame: object) -> NoReturn:
    """Ctrl-C: one line, the status that shells give it, and nothing that goes on running."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second one does not wait for the rest of this
    print("\nmkdocs: stopped.", file=sys.stderr)
    kernels.end_all()
    raise SystemExit(128 + number)  # on its way out, what else was started is ended


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Apply the one setting of the project's address: without it, no link to it appears."""
    repository = (config.extra.get("repository") or "").rstrip("/").removesuffix(".git")
    config.extra["repository"] = repository
    config.extra["offline"] = not serving  # a page that is being written should never be an old one
    if repository:
        config.repo_url = repository
        config.repo_name = "/".join(repository.split("/")[-2:])
        config.edit_uri = "edit/main/docs/"
    # Newer versions of mkdocs-jupyter put a MathJax loader into every page except for version 2,
    # whose loader is in the template that we do not use.
    notebooks = config.plugins["mkdocs-jupyter"].config
    if "mathjax_version" in notebooks:
        notebooks["mathjax_version"] = 2
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Execute each page that has no entry in the cache; raise PluginError when one fails."""
    cache = made.project_of(config) / ".cache" / "pages"
    names = [
        file.src_uri
        for file in files
        # A NotebookFile wraps MkDocs' own, which knows whether it is left out of the site.
        if isinstance(file, NotebookFile) and not file.file.inclusion.is_excluded()
    ]
    imports = Imports(made.project_of(config), config.extra["executed_pages_use"])
    digests = digests_of(Path(config.docs_dir), names, imports)
    entries = {name: cache / f"{digest}.json" for name, digest in digests.items()}
    stale = [name for name, entry in entries.items() if not entry.is_file()]
    outcomes = execution.execute_all(
        [Path(config.docs_dir, name) for name in stale],
        made.project_of(config),
        imports=config.extra.get("executed_pages_import", []),
        then=rendering.render,
    )
    failures = [str(outcome) for outcome in outcomes if isinstance(outcome, execution.PageError)]
    for name, outcome in zip(stale, outcomes, strict=True):
        if not isinstance(outcome, execution.PageError):
            log.info(f"executed {name}")
            _write(entries[name], json.dumps(asdict(outcome)))
    if failures:
        raise PluginError("\n\n".join(failures))

    for unused in set(cache.glob("*.json")) - set(entries.values()):
        unused.unlink()
    rendered.clear()
    for name, entry in entries.items():
        rendered[name] = Rendered(**json.loads(entry.read_text(encoding="utf-8")))
    return files


def on_pre_page(page: Page, config: MkDocsConfig, files: Files) -> Page:
    """Let an executed page show what its execution gave, in place of Markdown."""
    if page.file.src_uri in rendered:
        page.render = lambda config, files: _show(page, rendered[page.file.src_uri])  # type: ignore[method-assign]
    return page


def _show(page: Page, result: Rendered) -> None:
    page.content = result.content
    page.toc = get_toc(result.contents)  # type: ignore[arg-type]
    if result.title and "title" not in vars(page):  # mkdocs.yml may name a page otherwise
        page.title = result.title


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str | None:
    """Take the formulas out of a Markdown page; raise PluginError when one cannot be converted."""
    source = page.file.src_uri
    if source in rendered:  # its formulas are there already
        return None
    formulas[source] = Formulas()
    try:
        return formulas[source].take(markdown)
    except FormulaError as error:
        raise PluginError(f"{source}: {error}") from error


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put formulas back, finish what was executed, and explain words where they first stand."""
    source = page.file.src_uri
    if source in rendered:
        html = _executed(html, page, config, files)
    else:
        try:
            html = formulas[source].put_back(html)
        except FormulaError as error:
            raise PluginError(f"{source}: {error}") from error
    if source in OWN_HTML:  # MkDocs points only what is Markdown at files
        for folder in FOLDERS:
            html = html.replace(f'="{folder}', f'="{get_relative_url(folder, page.url)}')
    html = SHORT_COMMAND.sub(r'<code class="whole">\1</code>', html)
    words = files.get_file_from_path(glossary.SOURCE)
    if words is None or source in glossary.LEFT_OUT:
        return html
    return glossary.marked(
        html, glossary.read(words.content_string), words.url_relative_to(page.file)
    )


def _executed(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point an executed page's links at pages, as MkDocs does for Markdown; add its buttons."""
    source = page.file.src_uri

    def resolved(found: re.Match[str]) -> str:
        attribute, address, fragment = found[1], found[2], found[3] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), address))
        target = files.get_file_from_path(path)
        if target is not None:
            return f'{attribute}="{target.url_relative_to(page.file)}{fragment}"'
        if path.endswith((".py", ".md")):
            raise PluginError(f"{source}: a link leads nowhere: {address}")
        return found[0]

    html = STEP.sub(lambda found: f"{found[0]}{_questions_of(found[1])}", html)
    html = _with_figures_to_take(PAGE_LINK.sub(resolved, html), source)
    if page.is_homepage:
        return html
    return html.replace("</h1>", f"</h1>\n{_buttons(source, config)}", 1)


def _with_figures_to_take(html: str, source: str) -> str:
    """A small link below each figure, to a file of it."""
    stem = posixpath.basename(posixpath.splitext(source)[0])
    numbers = itertools.count(1)

    def linked(found: re.Match[str]) -> str:
        number = next(numbers)
        link = (
            f'<a href="figures/{number}.svg" download="{stem}-{number}.svg" '
            f'aria-label="Figure {number} as an SVG file">SVG</a>'
        )
        return f'{found[1]}<figcaption class="take">{link}</figcaption></figure>'

    return FIGURE.sub(linked, html)


def _questions_of(source: str) -> str:
    """The names of a page's questions, for the list of what was answered."""
    found = QUESTION.findall(rendered[source].content) if source in rendered else []
    checks, predictions = (
        " ".join(name for kind, name in found if kind == wanted)
        for wanted in ("check", "prediction")
    )
    return f' data-checks="{checks}" data-predictions="{predictions}"'


def _buttons(source: str, config: MkDocsConfig) -> str:
    stem = posixpath.splitext(source)[0]
    name = posixpath.basename(stem) + ".ipynb"
    buttons = [f'<a class="md-button" href="{name}" download>Download notebook</a>']
    colab = downloads.colab_address(config.extra["repository"], stem)
    if colab:
        buttons.append(f'<a class="md-button" href="{colab}">Open in Colab</a>')
    return f'<p class="page-buttons">{" ".join(buttons)}</p>'


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> None:
    """Write what an executed page links to beside it: its notebook, and its figures as files."""
    if page.file.src_uri not in rendered:
        return
    folder = Path(page.file.abs_dest_path).parent
    where = config.site_url or config.extra["repository"]
    credit = " · ".join(str(part) for part in (config.site_name, page.title, where) if part)
    for number, figure in enumerate(rendered[page.file.src_uri].figures, start=1):
        _write(folder / "figures" / f"{number}.svg", standalone(figure, credit))
    if not page.is_homepage:
        source = Path(config.docs_dir, page.file.src_uri)
        notebook = downloads.notebook_of(source, config.extra["repository"])
        _write(folder / f"{source.stem}.ipynb", notebook)


def on_post_build(config: MkDocsConfig) -> None:
    """Make the site private, searchable from a folder and readable offline; prove it whole."""
    if not serving:
        privacy.restrict(Path(config.site_dir))
    index = Path(config.site_dir, "search", "search_index.json")
    if index.is_file():  # pages opened from a folder may run a script, but not read a file
        _write(index.with_suffix(".js"), f"var __index = {index.read_text(encoding='utf-8')};\n")
    if not serving:
        offline.write_worker(Path(config.site_dir))
    base = urlsplit(config.site_url or "").path.rstrip("/") + "/"
    found = list(checks.problems(Path(config.site_dir), base))
    if found:
        raise PluginError("the built site is not whole:\n  " + "\n  ".join(found))


def _write(file: Path, text: str) -> None:
    """Under a temporary name first: a build that is stopped leaves no half-written entry."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(file)
