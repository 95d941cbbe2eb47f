"""One table for pages, terminals and the grader: what is markup stays, all else is escaped."""

import json

from mnist_steps import markup


def test_a_cell_of_text_is_escaped_and_a_cell_of_markup_is_not():
    name = markup.link('a"b.py', "A & B")
    table = markup.table(["<i>", "count"], [[name, "<b>"]], "Caption <u>. More")
    shown = table.markup
    assert '<th scope="row"><a href="a&quot;b.py">A &amp; B</a></th><td>&lt;b&gt;</td>' in shown
    assert "&lt;i&gt;" in shown and "Caption &lt;u&gt;. More" in shown
    assert table.text.splitlines() == ["Caption <u>. More", "<i>    count", "A & B    <b>"]


def test_columns_of_words_are_aligned_to_the_left_and_numbers_to_the_right():
    table = markup.table(["", "kind", "count"], [["a", "x", "1"], ["b", "long", "10"]], "", (1,))
    assert table.text.splitlines()[1:] == ["   kind  count", "a  x         1", "b  long     10"]
    assert '<td class="words">long</td><td>10</td>' in table.markup


def test_a_foot_stands_below_a_rule_and_spans_all_columns():
    table = markup.table(["a", "b"], [["1", "2"]], "", foot=["x < y", "z"])
    assert table.text.splitlines()[1:] == ["----", "a  b", "----", "1  2", "----", "x < y", "z"]
    assert '<tfoot><tr><td colspan="2">x &lt; y<br>z</td></tr></tfoot>' in table.markup


def test_a_table_without_rows_has_its_headings():
    assert markup.table(["a", "b"], [], "None").text == "None\na  b"


def test_templates_take_markup_as_it_is():
    assert markup.link("#", "x").__html__() == '<a href="#">x</a>'


def test_a_line_breaks_within_a_long_call_and_not_within_a_share():
    table = markup.table(["", "value"], [["9 of 10", "RandomResizedCrop(smallest=0.85)"]], "")
    assert '<th scope="row" class="short">9\xa0of\xa010</th>' in table.markup
    assert "<td>RandomResizedCrop(<wbr>smallest=0.85)</td>" in table.markup
    assert table.text.splitlines()[2] == "9 of 10  RandomResizedCrop(smallest=0.85)"
    assert markup.typeset("8 of them, part of 3") == "8 of them, part of 3"


def test_code_and_formulas_have_their_own_signs():
    kept = "`x[2, -1] % 10 % 3` and $x = -1$, $$a \\le -2$$"
    assert markup.typeset(f"{kept} but -1") == f"{kept} but \N{MINUS SIGN}1"


def test_a_number_has_its_minus_sign_and_keeps_its_percent_sign():
    prose = markup.Text("from -0.3 to (-1.2), 25% and 99.4 %; step-1 stays")
    assert prose._repr_markdown_() == "from −0.3 to (−1.2), 25\xa0% and 99.4\xa0%; step-1 stays"
    table = markup.table(["", "effect"], [["a", "-0.1 [-0.2, +0.3]"]], "")
    assert "<td>−0.1 [−0.2,\xa0+0.3]</td>" in table.markup
    assert "-0.1 [-0.2, +0.3]" in table.text, "a terminal may not have the signs"


def test_data_for_scripts_cannot_end_its_element_and_reads_back_as_it_was():
    content = {"words": "</script><!--<script>é"}
    shown = markup.json_script(content, ' id="here"')
    head, tail = '<script type="application/json" id="here">', "</script>"
    inside = shown.removeprefix(head).removesuffix(tail)
    assert shown == head + inside + tail and "<" not in inside
    assert json.loads(inside) == content
