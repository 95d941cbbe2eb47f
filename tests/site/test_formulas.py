"""LaTeX between dollars becomes MathML; code and prices do not; what is not understood is named."""

from pathlib import Path
from xml.etree import ElementTree

import jupytext
import markdown
import pytest
from nbformat.v4 import new_output

from site_tools import rendering
from site_tools.formulas import FormulaError, Formulas, mathml

ROOT = Path(__file__).parents[2]


def rendered(text):
    formulas = Formulas()
    return formulas.put_back(markdown.markdown(formulas.take(text), extensions=["fenced_code"]))


def test_a_formula_in_a_line_and_one_in_a_box_of_its_own():
    page = rendered("A kernel has $k^2 \\cdot C_{in}$ weights.\n\n$$y = \\frac{a}{b}$$\n\nEnd.")
    assert '<p>A kernel has <math display="inline" alttext="k^2 \\cdot C_{in}">' in page
    assert '<div class="formula" role="group" aria-label="Formula" tabindex="0"><math' in page
    assert "<mfrac><mrow><mi>a</mi>" in page or "<mfrac><mi>a</mi>" in page
    assert "<p><div" not in page and "$" not in page and "<p>End.</p>" in page


def test_what_markdown_would_take_for_emphasis_reaches_the_formula():
    page = rendered("$a_i * b_i * c_i$ and *this*")
    assert "<em>this</em>" in page and page.count("<em>") == 1
    assert 'alttext="a_i * b_i * c_i"' in page


def test_a_box_in_the_midst_of_a_paragraph_stands_between_two():
    page = rendered("before\n$$x\n= y$$\nafter")
    assert page.index("<p>before</p>") < page.index('<div class="formula"') < page.index("<p>after")


@pytest.mark.parametrize(
    "text",
    [
        "`$x$` is code",
        "```\n$x$ and $$y$$\n```",
        "costs $5 and $6",
        "\\$x\\$",
        "a $ b $ c",
        "$ alone",
    ],
)
def test_what_is_no_formula_stays_as_it_is(text):
    formulas = Formulas()
    assert formulas.take(text) == text and formulas.found == []


@pytest.mark.parametrize(
    ("latex", "problem"),
    [
        ("\\frobnicate{x}", r"\$\\frobnicate\{x\}\$ cannot be converted: \\frobnicate"),
        ("x^{2", r"\$x\^\{2\$ cannot be converted: it opens 1 braces and closes 0"),
        ("\\left( x", r"cannot be converted \(\w+"),
    ],
)
def test_a_formula_that_cannot_be_converted_is_named(latex, problem):
    with pytest.raises(FormulaError, match=problem):
        mathml(latex, "inline")


@pytest.mark.parametrize(
    "latex",
    [
        r"\hat{x} = \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}}, \quad y = \gamma \hat{x}",
        r"-\log p_y = -\log \frac{e^{z_y}}{\sum_{k=0}^{9} e^{z_k}}",
        r"\begin{pmatrix} a & b \\ c & d \end{pmatrix} \begin{pmatrix} x \\ y \end{pmatrix}",
        r"\text{parameters} = k^2 \cdot C_{\text{in}} \cdot C_{\text{out}}",
        r"a < b \le c, \; w \leftarrow w - \eta v",
        r"\begin{aligned} v &\leftarrow \mu v + g \\ w &\leftarrow w - \eta v \end{aligned}",
        r"\operatorname{Var}(y) = n \operatorname{Var}(w) \operatorname{E}[x^2]",
    ],
)
def test_formulas_of_the_lessons_are_well_formed(latex):
    element = ElementTree.fromstring(mathml(latex, "block"))
    assert element.tag == "math" and element.get("alttext") == latex
    assert "\\" not in "".join(element.itertext())


def test_the_name_of_a_function_stands_apart_from_what_it_is_applied_to():
    assert '<mi>log</mi><mspace width="0.167em" /><mn>10</mn>' in mathml(r"\log 10", "inline")
    assert "mspace" not in mathml(r"\log (x y)", "inline")


def test_a_box_beside_words_is_refused():
    with pytest.raises(FormulaError, match="needs lines of its own"):
        rendered("So $$x$$ it is.")


def test_a_heading_without_a_formula_is_demanded():
    with pytest.raises(FormulaError, match="a heading holds a formula"):
        rendered("# The *value* of $x$")


def test_a_page_has_its_formulas_in_text_in_what_cells_say_and_in_questions():
    notebook = jupytext.reads(
        "# %% [markdown]\n# So $a_1$.\n\n# %%\n1\n\n# %%\n2", fmt="py:percent"
    )
    text, said, asked = notebook.cells
    said.outputs = [output({"text/markdown": "Then $b_2$."})]
    asked.outputs = [output({"text/html": '<div class="question"><p>Why $c_3 &lt; 4$?</p></div>'})]
    page = rendering.render(notebook).content
    for latex in ("a_1", "b_2", "c_3 &lt; 4"):
        assert f'alttext="{latex}"' in page
    assert "$" not in page


def output(shown):
    return new_output("execute_result", data=shown | {"text/plain": ""}, execution_count=1)


# --- In a browser -----------------------------------------------------------------------------


@pytest.fixture
def page(browser):
    styles = (ROOT / "docs" / "stylesheets" / "extra.css").read_text(encoding="utf-8")
    page = browser.new_page(viewport={"width": 360, "height": 700})
    long = " + ".join(f"a_{{{i}}} x^{i}" for i in range(20))
    body = rendered(f"In a line: $x_1^2 = \\frac{{a}}{{b}}$.\n\n$$y = {long}$$\n")
    page.set_content(
        f'<!doctype html><style>{styles}</style><body class="md-typeset" '
        f'data-md-color-scheme="default">{body}'
    )
    yield page
    page.close()


def test_a_browser_lays_a_formula_out_as_mathematics(page):
    boxes = page.evaluate(
        """() => ["mfrac > :first-child", "mfrac > :last-child", "msubsup > :nth-child(1)",
                  "msubsup > :nth-child(2)", "msubsup > :nth-child(3)"]
          .map((one) => document.querySelector(`p ${one}`).getBoundingClientRect().toJSON())"""
    )
    above, below, base, under, over = boxes
    assert above["bottom"] <= below["top"] + 1, "numerator above denominator"
    assert over["top"] < base["top"] and under["bottom"] > base["bottom"]
    sizes = page.eval_on_selector_all(
        "p msubsup > *", "all => all.map((one) => parseFloat(getComputedStyle(one).fontSize))"
    )
    assert sizes[2] < sizes[0], "an exponent is smaller"


def test_a_formula_that_is_too_wide_scrolls_in_its_own_box(page):
    box, document = page.evaluate(
        """() => [document.querySelector(".formula"), document.documentElement]
          .map(({ scrollWidth, clientWidth }) => [scrollWidth, clientWidth])"""
    )
    assert box[0] > box[1] and document[0] == document[1] == 360
    page.focus(".formula")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('.formula').scrollLeft > 0")
    start = page.evaluate(
        """() => { const box = document.querySelector(".formula"); box.scrollLeft = 0;
          return box.querySelector("math > *").getBoundingClientRect().left
            - box.getBoundingClientRect().left; }"""
    )
    assert start >= 0, "its beginning can be scrolled to"


@pytest.mark.parametrize("scheme", ["default", "slate"])
def test_a_formula_has_the_colour_of_the_text_around_it(page, scheme):
    page.evaluate("(name) => (document.body.dataset.mdColorScheme = name)", scheme)
    formula, text = page.evaluate(
        "() => ['math', 'p'].map((one) => getComputedStyle(document.querySelector(one)).color)"
    )
    assert formula == text
