"""LaTeX between dollars becomes MathML; code and prices do not; what is not understood is named."""

from xml.etree import ElementTree

import jupytext
import markdown
import pytest
from nbformat.v4 import new_output

from site_tools import rendering
from site_tools.formulas import FormulaError, Formulas, mathml


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
        ("x^{2", r"\$x\^\{2\$ cannot be converted"),
        ("\\frac{a", r"cannot be converted"),
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
