"""Prove that a built site is whole: every link leads somewhere, nothing comes from outside.

MkDocs checks links between Markdown files only; executed pages and the theme's own files are
neither. So this reads what was written, as a browser would.
"""

import functools
import html
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

TAG = re.compile(r"<([a-zA-Z][\w-]*)((?:[^>\"']|\"[^\"]*\"|'[^']*')*)>")
ATTRIBUTE = re.compile(r"([a-zA-Z_][\w:.-]*)(?:\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+)))?")
# What a script or a comment says is not markup.
NOT_MARKUP = re.compile(r"(<script\b[^>]*>).*?(?=</script>)|<!--.*?-->", re.DOTALL)
STYLE = re.compile(r"<style\b[^>]*>(.*?)</style>", re.DOTALL)
CSS_FETCH = re.compile(
    r"@import\s+(?:url\()?[\"']?([^\"')\s;]+)|url\(\s*[\"']?([^\"')\s]+)", re.IGNORECASE
)
CSS_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
FETCHED = {"src", "srcset", "data", "poster", "background", "xlink:href"}
FETCHED_LINKS = {"stylesheet", "icon", "preload", "preconnect", "dns-prefetch", "modulepreload",
                 "prefetch", "manifest", "apple-touch-icon", "shortcut"}  # fmt: skip


def problems(site: Path, base: str = "/") -> Iterator[str]:
    """What is wrong with a built site, one line each; nothing when all is well.

    base: the path under which the site is served, such as '/project/'
    """
    _tags.cache_clear()  # `mkdocs serve` builds again and again in one process
    _anchors.cache_clear()
    for file in sorted(site.rglob("*.html")):
        name = file.relative_to(site).as_posix()
        for tag, attributes in _tags(file):
            for problem in _problems_of_tag(site, name, tag, attributes, base):
                yield f"{name}: {problem}"
        for style in STYLE.findall(file.read_text(encoding="utf-8")):
            for address in _outside_addresses(style):
                yield f"{name}: a style fetches {address}"
    for file in sorted(site.rglob("*.css")):
        for address in _outside_addresses(file.read_text(encoding="utf-8")):
            yield f"{file.relative_to(site).as_posix()}: fetches {address}"


def _problems_of_tag(
    site: Path, page: str, tag: str, attributes: dict[str, str], base: str
) -> Iterator[str]:
    for name, value in attributes.items():
        fetches = name in FETCHED or (
            name == "href"
            and (
                tag in ("image", "use")
                or (tag == "link" and FETCHED_LINKS & set(attributes.get("rel", "").split()))
            )
        )
        if fetches and _is_outside(value):
            yield f"<{tag} {name}> fetches {value}"
        elif name == "style":
            for address in _outside_addresses(value):
                yield f"a style fetches {address}"
        elif name == "href" and tag == "a" or name == "src":
            if not _leads_somewhere(site, page, value, base):
                yield f"<{tag}> leads nowhere: {value}"
    if tag == "img" and "alt" not in attributes:
        yield f"an image has no alt text: {attributes.get('src', '')[:60]}"
    if (
        tag == "svg"
        and attributes.get("role") == "img"
        and not (attributes.get("aria-label") or attributes.get("aria-labelledby"))
    ):
        yield "a figure has no text in aria-label"


def _is_outside(address: str) -> bool:
    return address.strip().lower().startswith(("http:", "https:", "//"))


def _outside_addresses(style: str) -> list[str]:
    found = CSS_FETCH.findall(CSS_COMMENT.sub("", html.unescape(style)))
    return [address for pair in found for address in pair if _is_outside(address)]


def _leads_somewhere(site: Path, page: str, address: str, base: str) -> bool:
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return True
    path = unquote(parts.path)
    if not path:
        target = page
    elif path.startswith("/"):  # only the page for missing addresses is written so
        if not path.startswith(base):
            return False
        target = path.removeprefix(base)
    else:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(page), path))
    if target.startswith(".."):
        return False
    file = site / target
    if file.is_dir():
        file /= "index.html"
    if not file.is_file():
        return False
    # 'name=value' is no place on the page but a state of it that its script reads.
    if not parts.fragment or "=" in parts.fragment or file.suffix != ".html":
        return True
    return unquote(parts.fragment) in _anchors(file)


@functools.cache
def _tags(file: Path) -> list[tuple[str, dict[str, str]]]:
    text = NOT_MARKUP.sub(lambda found: found[1] or "", file.read_text(encoding="utf-8"))
    return [
        (
            found[1].lower(),
            {
                name.lower(): html.unescape(quoted or single or bare)
                for name, quoted, single, bare in ATTRIBUTE.findall(found[2])
            },
        )
        for found in TAG.finditer(text)
        # Most of a page is spans and paths without anything to check.
        if any(word in found[2] for word in ("href", "src", "id", "style", "data", "name"))
        or found[1] in ("img", "svg", "object", "video")
    ]


@functools.cache
def _anchors(file: Path) -> set[str]:
    return {
        value
        for _, attributes in _tags(file)
        for name, value in attributes.items()
        if name in ("id", "name")
    } | {"__top", ""}
