"""A word of the glossary is explained where it first stands in a page's running text."""

import re
from pathlib import Path

import pytest

from site_tools import glossary

ROOT = Path(__file__).parents[2]
SOURCE = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
ENTRIES = glossary.read(
    "# Glossary\n\nWords.\n\n## Kernel, filter\n\nA small grid\nof weights.\n\n"
    "## Receptive field\n\nWhat a unit sees.\n\n## Run (of a stage)\n\nOne training.\n"
)


def marked(page):
    return glossary.marked(page, ENTRIES, "../glossary/")


def test_a_word_is_marked_once_where_it_first_stands_in_whatever_form():
    page = marked("<p>Two <em>Kernels</em> and a kernel.</p><p>Another kernel.</p>")
    (link,) = re.findall(r"<a [^>]*>[^<]*</a>", page)
    assert link == (
        '<a class="term" href="../glossary/#kernel-filter" '
        'data-meaning="A small grid of weights.">Kernels</a>'
    )


@pytest.mark.parametrize(
    "page",
    [
        "<h2>The kernel</h2>",
        "<p><code>kernel</code> <a href='x'>kernel</a></p>",
        "<pre>kernel</pre>",
        "<details><summary>Hint</summary><p>kernel</p></details>",
        '<div class="question"><p>Which kernel?</p><ol><li>kernel</li></ol></div>',
        "<table><tr><td><p>kernel</p></td></tr></table>",
        '<p title="kernel">microkernel, kernel_size, a-kernel</p>',
        "kernel",
        "<p>One run.</p>",
    ],
)
def test_what_is_no_running_text_is_left_alone(page):
    assert marked(page) == page


def test_a_word_that_stands_in_a_fold_first_is_marked_in_the_text_after_it():
    page = marked("<details><p>a kernel</p></details><ul><li>a kernel</li></ul>")
    assert page.startswith("<details><p>a kernel</p></details><ul><li>a <a class=")


def test_an_element_left_open_does_not_end_the_marking():
    page = marked("<div><p>one<br>two<img alt='x'></div><p>kernel</p>")
    assert 'class="term"' in page


@pytest.mark.parametrize(
    ("word", "more"),
    [("seed", "seeds"), ("batch", "batches"), ("probability", "probabilities"), ("relu", "relus")],
)
def test_a_plural_is_marked_like_its_word(word, more):
    entries = glossary.read(f"## {word}\n\nOne.\n")
    assert f">{more}</a>" in glossary.marked(f"<p>Two {more}.</p>", entries, "g/")


def test_a_word_explained_twice_is_refused():
    with pytest.raises(ValueError, match="explains field twice"):
        glossary.read("## Field\n\nOne.\n\n## Receptive field, field\n\nTwo.\n")


def test_the_glossary_is_in_order_and_each_word_has_one_or_two_sentences():
    entries = glossary.read(SOURCE)
    headings = re.findall(r"^## (.+)$", SOURCE, flags=re.MULTILINE)
    assert [entry.word for entry in entries] == headings, "a heading without its paragraph"
    assert headings == sorted(headings, key=lambda one: re.split(r"[,(]", one.lower())[0].strip())
    for entry in entries:
        sentences = re.findall(r"[.](?= [A-Z]|$)", entry.meaning)
        assert 1 <= len(sentences) <= 2 and entry.meaning.endswith("."), entry.word


def test_an_entry_s_address_is_its_heading_s_id():
    from markdown import markdown

    page = markdown(SOURCE, extensions=["toc", "md_in_html"])
    ids = re.findall(r'<h2 id="([^"]+)"', page)
    assert [entry.anchor for entry in glossary.read(SOURCE)] == ids
