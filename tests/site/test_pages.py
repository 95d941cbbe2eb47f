"""The pages keep their promises: one order, no typed results, honest comparisons, real scripts."""

import ast
import base64
import dataclasses
import functools
import io
import itertools
import re
import runpy
import types
from pathlib import Path
from xml.etree import ElementTree

import jupytext
import numpy as np
import pytest
from PIL import Image
from simulated import made_up

from mnist_steps import data, figures, models, pages, runs, stages
from mnist_steps.errors import MnistStepsError
from mnist_steps.experiments import evidence, study
from mnist_steps.experiments.study import Store, tasks_for
from mnist_steps.pages import home, parts
from mnist_steps.runs import Replay
from site_tools import lab_presets
from site_tools.formulas import Formulas

ROOT = Path(__file__).parents[2]
STAGE_PAGES = [ROOT / "docs" / stage.page for stage in stages.STAGES]
PAGES = sorted(path for path in (ROOT / "docs").rglob("*.py"))
ORDER = [
    "The idea",
    "The change",
    "Predict",
    "What happened",
    "Why",
    "Check yourself",
    "Exercises",
    "The audit",
    "Next",
]
WORDS = 900  # of prose that shows, at most
COLUMNS = 88
HIDDEN = {"hide-input", "fold"}
FOLDED = {"hint", "solution", "audit"}

stage_page = pytest.mark.parametrize("page", STAGE_PAGES, ids=lambda page: page.stem)


def prose(page):
    """The Markdown cells of a page, as one text."""
    cells = re.split(r"^# %%", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    text = "\n".join(cell for cell in cells if cell.startswith(" [markdown]"))
    return re.sub(r"^# ```$.*?^# ```$", "", text, flags=re.MULTILINE | re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Cell:
    kind: str
    source: str
    tags: frozenset


@functools.cache
def sections(page):
    """The cells below each heading of a stage's page, by the heading; '' is what comes before.

    A Markdown cell is cut at its headings.
    """
    found, name = {"": []}, ""
    for cell in jupytext.read(page).cells:
        tags = frozenset(cell.metadata.get("tags", []))
        pieces = re.split(r"^## (.+)$", cell.source, flags=re.MULTILINE)
        if cell.cell_type != "markdown":
            pieces = [cell.source]
        for place, piece in enumerate(pieces):
            if place % 2:
                name = piece.strip()
                found[name] = []
            elif piece.strip():
                found[name].append(Cell(cell.cell_type, piece.strip(), tags))
    return found


def calls(page, name):
    """Calls of a function of the package on a page, such as of 'pages.check'."""
    tree = ast.parse(page.read_text(encoding="utf-8"))
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [node for node in nodes if ast.unparse(node.func) == name]


# --- The order of a stage's page --------------------------------------------------------------


@stage_page
def test_every_stage_page_has_the_same_headings_in_the_same_order(page):
    order = list(ORDER)
    if page.stem >= "08":  # the last of the original's, and those beyond, end with the verdict
        order.insert(-1, "Was it reached?")
    assert [heading for heading in sections(page) if heading] == order


@stage_page
def test_a_stage_page_opens_with_a_question_a_picture_and_what_the_reader_will_be_able_to(page):
    opening = sections(page)[""]
    text = "\n".join(cell.source for cell in opening if cell.kind == "markdown")
    title, below = text.split("\n", 1)
    assert title.startswith("# ") and "?" in title and "You will be able to" in below
    code = [cell for cell in opening if cell.kind == "code"]
    assert any("figures." in cell.source for cell in code), "a picture"
    assert all(cell.tags & HIDDEN for cell in code), "imports and helpers are not the lesson"


@stage_page
def test_the_idea_has_a_formula_a_figure_and_code_that_stands_alone(page):
    idea = sections(page)["The idea"]
    text = "\n\n".join(cell.source for cell in idea if cell.kind == "markdown")
    formulas = Formulas()
    formulas.take(text)
    assert formulas.found, "no formula between dollars"
    code = [cell for cell in idea if cell.kind == "code"]
    assert any(cell.tags & HIDDEN for cell in code), "a figure, its call hidden"
    assert any(stands_alone(cell) for cell in code if not cell.tags), "no code that runs alone"


def stands_alone(cell):
    try:
        exec(cell.source, {"__name__": "__main__"})
    except NameError:
        return False
    return True


@stage_page
def test_code_that_shows_is_no_call_of_a_helper(page):
    for cells in sections(page).values():
        for cell in cells:
            if cell.kind == "code" and not cell.tags:
                helpers = re.findall(r"\b(?:pages|figures)\.\w+\(", cell.source)
                assert not helpers, f"hide or fold the cell with {helpers}"


@stage_page
def test_no_line_of_code_is_wider_than_a_page(page):
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        assert len(line) <= COLUMNS, f"line {number}"


@stage_page
def test_a_stage_page_says_what_it_has_to_say_in_few_words(page):
    shown = [cell.source for cells in sections(page).values() for cell in cells
             if cell.kind == "markdown" and not cell.tags & FOLDED]  # fmt: skip
    computed = [
        part.value
        for call in calls(page, "Text")
        for part in ast.walk(call)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]
    words = sum(map(count_words, shown + computed))
    assert words <= WORDS, f"{words} words"


def count_words(text):
    """Without code, formulas and addresses."""
    text = re.sub(
        r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\]\([^)]*\)|<[^>]*>", " ", text, flags=re.S
    )
    return len(re.findall(r"[A-Za-z][\w'’-]*", text))


@stage_page
def test_an_exercise_has_its_hint_before_its_solution_and_nothing_of_it_outside(page):
    exercises = exercises_of(page)
    assert len(exercises) >= 3
    for number, cells in enumerate(exercises, start=1):
        assert cells[0].source.startswith(f"**{number}.**")
        kinds = [next(iter(cell.tags & {"hint", "solution"}), "shown") for cell in cells]
        order = [kind for kind, _ in itertools.groupby(kinds)]
        assert order == ["shown", "hint", "solution"], f"exercise {number}: {order}"


@stage_page
def test_one_exercise_is_a_training_that_is_broken_on_purpose(page):
    broken = [cells for cells in exercises_of(page) if "broken" in cells[0].source]
    assert broken, "no exercise speaks of a training that is broken"
    shown = [cell for cells in broken for cell in cells if not cell.tags & FOLDED]
    assert any(cell.kind == "code" for cell in shown), "nothing of it is shown"


def exercises_of(page):
    """The cells of each exercise; a Markdown cell that holds several is cut."""
    found = []
    for cell in sections(page)["Exercises"]:
        pieces = re.split(r"^(?=\*\*\d+\.\*\*)", cell.source, flags=re.MULTILINE)
        for piece in pieces if cell.kind == "markdown" else [cell.source]:
            if re.match(r"\*\*\d+\.\*\*", piece):
                found.append([])
            if piece.strip() and found:
                found[-1].append(dataclasses.replace(cell, source=piece.strip()))
    return found


@stage_page
def test_the_audit_is_folded_and_holds_layers_recipe_claim_and_provenance(page):
    audit = sections(page)["The audit"]
    assert audit and all("audit" in cell.tags for cell in audit)
    code = "\n".join(cell.source for cell in audit if cell.kind == "code")
    for part in ("summar", "pages.recipe(", "pages.results(", "pages.provenance("):
        assert part in code, part
    assert not any("audit" in cell.tags for cell in sections(page)["Next"])


# --- Questions --------------------------------------------------------------------------------


@stage_page
def test_every_stage_page_checks_its_idea_three_times_with_a_reason_for_each_choice(page):
    asked = calls(page, "pages.check")
    assert len(asked) >= 3
    cells = sections(page)["Check yourself"]
    assert sum(cell.source.count("pages.check(") for cell in cells) == len(asked)
    for call in asked:
        options = call.args[1]
        assert isinstance(options, ast.List | ast.Tuple) and len(options.elts) >= 3
        for option in options.elts:
            assert isinstance(option, ast.Tuple) and len(option.elts) == 2, ast.unparse(option)
    answers = {ast.unparse(argument_of(call, "answer", 2)) for call in asked}
    assert len(answers) > 1, "the right one always stands in the same place"


def argument_of(call, name, place):
    named = [keyword.value for keyword in call.keywords if keyword.arg == name]
    return named[0] if named else call.args[place]


@stage_page
def test_every_stage_page_asks_for_a_prediction_whose_answer_is_computed(page):
    (call,) = calls(page, "pages.predict")
    assert any("pages.predict(" in cell.source for cell in sections(page)["Predict"])
    assert not isinstance(argument_of(call, "answer", 2), ast.Constant), "the answer is computed"


def asked(number):
    """What the question on a stage's page gives: its cell, with the page's imports, alone."""
    page = STAGE_PAGES[number - 1]
    (cell,) = (cell for cell in sections(page)["Predict"] if "pages.predict(" in cell.source)
    stage, before = stages.get(number), stages.get(max(number - 1, 1))
    names = {"stage": stage, "before": before}
    tree = ast.parse(page.read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    exec(compile(ast.Module(imports, []), str(page), "exec"), names)
    outcomes = []
    names["pages"] = types.SimpleNamespace(
        **vars(pages) | {"predict": lambda *given, **more: outcomes.append((given, more))}
    )
    exec(cell.source, names)
    return outcomes[0]


# Made-up studies: for each seed in turn, test accuracy, training accuracy and loss in all epochs.
MADE_UP = {
    "poor": [(97.0, 20.0, 2.3)],
    "good": [(99.2, 99.25, 0.8)],
    "best": [(99.6, 98.0, 0.05)],
    "mixed": [(99.1, 97.0, 0.2), (99.6, 99.5, 0.1)],
}


@pytest.mark.parametrize("number", range(1, len(STAGE_PAGES) + 1))
def test_the_answer_to_each_question_follows_from_the_study(number, monkeypatch):
    """Of four made-up studies, at least two give other answers."""
    outcomes = study.Store.outcomes
    answers = set()
    for figures_of_seeds in MADE_UP.values():

        def all_alike(store, stage, *arm, made_up=figures_of_seeds, **choices):
            made = outcomes(store, stage, *arm, **choices)
            if stage.number != number:
                return made
            names = ("test_accuracy", "train_accuracy", "train_loss", "one_view_accuracy")
            return [
                dataclasses.replace(
                    one,
                    epochs=one.epochs
                    | {
                        name: [value] * len(one.test_accuracies)
                        for name, value in zip(names, (*values, values[0]), strict=True)
                    },
                )
                for place, one in enumerate(made)
                for values in (made_up[place % len(made_up)],)
            ]

        monkeypatch.setattr(study.Store, "outcomes", all_alike)
        given, more = asked(number)
        monkeypatch.setattr(study.Store, "outcomes", outcomes)
        given += tuple(more[name] for name in ("answer", "explanation")[len(given) - 2 :])
        _, choices, answer, explanation = given
        assert len(choices) == 3 and answer in range(3) and explanation.endswith(".")
        answers.add(answer)
    assert len(answers) > 1


def test_a_prediction_shows_its_answer_folded_and_needs_three_choices():
    shown = pages.predict("<b>?", ("one", "two & a half", "three"), 1, "Because `x`.")
    markup = shown._repr_html_()
    assert "&lt;b&gt;?" in markup and "<li>two &amp; a half</li>" in markup
    assert re.search(r"<details><summary>[^<]+</summary><p><strong>two &amp; a half\.", markup)
    assert "Because <code>x</code>." in markup
    assert "Measured: B. Because `x`." in str(shown)
    signed = pages.predict("-1, 5 %?", ("a", "$x = -1$", "c"), 1, "`x = -1`.").markup
    assert "\N{MINUS SIGN}1, 5\xa0%?" in signed, "as in all prose"
    assert "<li>$x = -1$</li>" in signed and "<code>x = -1</code>" in signed
    with pytest.raises(ValueError, match="three choices"):
        pages.predict("?", ("one", "two"), 0, "")
    with pytest.raises(ValueError, match="answer 3"):
        pages.predict("?", ("one", "two", "three"), 3, "")


def test_a_check_folds_a_reason_for_every_choice_and_prints_them():
    options = [("9", "So many weights, for each of the channels."), ("10", "With the bias.")]
    shown = pages.check("How many parameters?", options, 1)
    fold = re.search(r"<details>(.*)</details>", shown.markup)[1]
    reasons = re.findall(r'<span class="question-reason">(.*?)</span>', fold)
    assert reasons == [reason for _, reason in options]
    assert 'data-answer="1"' in shown.markup
    assert "A is wrong: So many" in str(shown) and "B is right: With the bias." in str(shown)


@pytest.mark.parametrize(
    ("options", "answer", "problem"),
    [
        ([("one", "Because."), ("two", " ")], 0, "a reason is missing for ..two"),
        ([("one", "Because."), ("two", "So.")], 2, "answer 2 is none of the 2 choices"),
        ([("one", "Because."), ("one", "So.")], 0, "different choices"),
        ([("one", "Because.")], 0, "two to six"),
    ],
)
def test_a_check_without_a_reason_or_an_answer_is_refused(options, answer, problem):
    with pytest.raises(ValueError, match=problem):
        pages.check("?", options, answer)


# --- All pages --------------------------------------------------------------------------------


def test_there_is_a_page_for_each_stage():
    for stage in stages.STAGES:
        assert (ROOT / "docs" / stage.page).is_file(), stage.page
    own = {page.stem for page in (ROOT / "docs" / "stages").glob("*.py")}
    assert own == {stage.slug for stage in stages.ORIGINAL}


def test_every_stage_that_a_browser_can_train_leads_to_its_preset_in_the_lab():
    linked = {
        stage.number: re.findall(r"lab\.md#preset=(\w+)", (ROOT / "docs" / stage.page).read_text())
        for stage in stages.STAGES
    }
    first = lab_presets.FIRST_STAGE
    assert linked == {number: [f"{number}"] if number >= first else [] for number in linked}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_result_is_typed_into_prose(page):
    """A number with a decimal point or a thousands separator, or a percentage, is a result.

    The target of the whole tutorial, 99.4 percent, and 99 percent, stage 2's, are no results.
    """
    typed = re.findall(r"\d+[.,]\d+|\d+ ?%", re.sub(r"\(https?:[^)]*\)", "", prose(page)))
    assert [number for number in typed if number not in ("99.4", "4 %", "99 %")] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_piece_of_a_text_is_left_behind(page):
    """Two lines of one string, without parentheses, are two statements: the second says nothing."""
    tree = ast.parse(page.read_text(encoding="utf-8"))
    kinds = ast.FunctionDef | ast.ClassDef
    documented = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    docstrings = {id(node.body[0]) for node in documented}
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and id(node) not in docstrings:
            assert not isinstance(node.value, ast.Constant | ast.JoinedStr), ast.unparse(node)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_page_also_runs_as_a_plain_script(page, tmp_path, monkeypatch):
    """Top to bottom, anywhere. Here the records are believed: another test replays them."""
    monkeypatch.setattr(runs, "check", lambda run, steps=10, images=None: Replay(steps, 0.0, None))
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(page), run_name="__main__")
    assert list(tmp_path.iterdir()) == [], "a page leaves no files behind"


def test_results_stand_beside_the_claim_with_the_difference():
    run = runs.load(8)
    text = str(pages.results(run))
    difference = run.final_test_accuracy - 99.44
    assert f"{run.final_test_accuracy:.2f}" in text
    assert f"{difference:+.2f}" in text


def test_a_result_far_from_the_claim_does_not_agree():
    run = runs.load(8)
    poor = dataclasses.replace(run.epochs[-1], test_accuracy=98.0)
    text = str(pages.results(dataclasses.replace(run, epochs=(*run.epochs[:-1], poor))))
    final = next(line for line in text.splitlines() if "final epoch" in line and "98.00" in line)
    assert final.split()[-1] == "no"


@pytest.fixture
def studied(tmp_path):
    """A store with three made-up runs of stage 8, of which one passes."""
    store = Store(tmp_path)
    for task, final in zip(tasks_for(stages.get(8), range(3)), (99.3, 99.4, 99.5), strict=True):
        store.put(made_up(task, [98.0, final, 99.38 if final < 99.5 else final, final]))
    return store


def test_a_study_stands_below_the_run_with_mean_least_and_share_that_passes(studied):
    text = str(pages.results(runs.load(8), studied))
    assert re.search(r"mean ± sd of 3 seeds +99\.40 ± 0\.10 +99\.44 +-0\.04", text)
    assert re.search(r"least of 3 seeds +99\.30", text)
    assert re.search(r"all at 99\.4, share of 3 seeds +33% +yes", text)
    assert "seeds" not in str(pages.results(runs.load(7), studied)), "stage 7 has no runs there"


def test_a_verdict_says_what_one_view_says_and_what_nine_say(tmp_path):
    store, own = Store(tmp_path), stages.get(9)
    for task in tasks_for(own, range(5)):
        made = made_up(task, [98.0, 99.4, 99.45, 99.5 - 0.05 * task.seed])
        store.put(made)
    text = str(pages.verdicts(own, store))
    assert re.search(r"one view +not judged so yet", text)
    assert re.search(r"mean of 9 views +at it or above on average +99\.400 .*3 of 5 +3 of 5", text)
    for outcome in store.outcomes(own):
        final = outcome.test_accuracies[-1] - 0.1
        noted = {"one_view_accuracy": [None] * 12 + [99.3, 99.3, final],
                 "one_view_loss": [None] * 12 + [0.03] * 3}  # fmt: skip
        store.put(dataclasses.replace(outcome, epochs=outcome.epochs | noted))
    text = str(pages.verdicts(own, store))
    assert re.search(r"one view +not reached +99\.300 .*1 of 5 +0 of 5", text)
    poor = evidence.verdict([[99.0]] * 5)
    assert parts._where(poor, 9) == "below it on average"
    assert "reached" not in parts._where(evidence.verdict([[99.5]] * 5), 9)


def test_the_home_page_answers_with_the_verdict_of_the_last_stage(studied, tmp_path):
    outcomes = studied.outcomes(stages.get(8))
    answer, evidence = home.answer_of(study.verdict_of(outcomes))
    assert pages.hero(studied).text.endswith(f"{answer} {evidence}")
    assert "2 of them end at 99.4 % or above, 1 hold it" in evidence
    assert "not known yet" in pages.hero(Store(tmp_path / "empty")).text
    for final, said in ((99.1, "Not on average."), (99.5, "Yes, on average.")):
        made = [dataclasses.replace(one, epochs={"test_accuracy": [final]}) for one in outcomes]
        assert home.answer_of(study.verdict_of(made))[0] == said
    sure = study.verdict_of([*made, *made])
    assert home.answer_of(sure)[0] == "Yes, on average, and over the whole interval."


def test_a_network_with_other_parameters_than_claimed_fails_the_page():
    run = runs.load(8)
    other = dataclasses.replace(run.stage, model=models.PointwiseNet)
    with pytest.raises(MnistStepsError, match="has 6,874 parameters, the original 7,884"):
        pages.results(dataclasses.replace(run, stage=other))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_is_held_to_is_what_it_says(page):
    text = " ".join(page.read_text(encoding="utf-8").replace("\n#", "\n").split())
    statements = re.findall(r'pages\.hold_to\(\s*"([^"]+)"', text)
    assert len(statements) == text.count("pages.hold_to(")
    for statement in statements:
        assert text.count(statement) == 2, statement


def test_a_statement_that_does_not_hold_fails_the_page():
    pages.hold_to("The budget is met", True)
    with pytest.raises(MnistStepsError, match="the page says 'The budget is met'"):
        pages.hold_to("The budget is met", False)


def test_the_wrong_fields_of_the_original_are_marked():
    table = str(pages.field_claims(stages.get(3)))
    assert re.search(r"conv9 +30 +28 +differs", table)
    assert table.count("differs") == 2, "once in the row, once in the caption"
    assert "differs" not in str(pages.field_claims(stages.get(8)))


def test_the_standard_error_is_the_binomial_one():
    assert pages.standard_error(99.4) == pytest.approx(0.0772, abs=1e-4)


def test_a_recipe_table_shows_all_its_parts():
    table = str(pages.recipe(stages.get(8)))
    assert re.search(r"schedule +OneCycle\(max_lr=0.01\)", table)
    assert re.search(r"batch size +64", table)


def test_a_changed_recipe_is_shown_by_its_changed_rows_alone():
    shown = pages.recipe_change(stages.get(7), stages.get(8))
    assert re.search(r"schedule +constant learning rate +OneCycle\(max_lr=0.01\)", str(shown))
    changed = len(re.findall("<tr><th", shown.markup))
    rows = parts.describe_recipe(stages.get(8).recipe)
    assert "batch size" not in str(shown) and changed == 1
    assert f"The other {len(rows) - changed} of its {len(rows)} parts" in str(shown)
    assert "stays as it was" in str(pages.recipe_change(stages.get(1), stages.get(2)))


def test_newly_right_digits_are_those_that_most_runs_before_misread_and_few_after(tmp_path):
    store = Store(tmp_path)
    for number, wrong in ((7, [{1, 2, 3}, {1, 2}, {1}]), (8, [{9}, {3, 9}, {1}])):
        for task, positions in zip(tasks_for(stages.get(number), range(3)), wrong, strict=True):
            made = made_up(task, [99.0, 100 - len(positions) / 100])
            wrong_as = {position: 0 for position in positions}
            store.put(dataclasses.replace(made, wrong=wrong_as))
    shown = pages.newly(stages.get(7), stages.get(8), store)
    assert "Newly right: 2 test digits: 1, 2" in shown.text, (
        "3/3 and 2/3 before; 3 stays below half"
    )
    assert "Newly wrong: 1 that were right before: 9" in shown.text
    assert "3/3 →&nbsp;1/3" in shown.markup and "0/3 →&nbsp;2/3" in shown.markup
    labels = data.mnist().test.labels
    for position in (1, 2, 9):
        assert f'alt="Test digit {position}, a {labels[position]}"' in shown.markup
    picture = re.search(r'src="data:image/png;base64,([^"]+)" alt="Test digit 9', shown.markup)[1]
    ink = np.array(Image.open(io.BytesIO(base64.b64decode(picture))))[..., 1]
    assert (ink == data.mnist().test.images[9, 0].numpy()).all()


def test_without_a_study_nobody_can_say_which_digits_are_new(tmp_path):
    with pytest.raises(
        MnistStepsError, match="stage 7 has no study .* mnist-steps study --stages 7"
    ):
        pages.newly(stages.get(7), stages.get(8), Store(tmp_path))


def test_a_model_difference_shows_removed_and_added_layers_alone_and_folds_when_long():
    shown = pages.model_difference(stages.get(6), stages.get(7))
    assert re.search(r"^-.*conv5=nn.Conv2d\(10, 12", shown.text, flags=re.MULTILINE)
    assert re.search(r"^\+.*conv5=nn.Conv2d\(10, 14", shown.text, flags=re.MULTILINE)
    assert "class" not in shown.text and "Stage" not in shown.text and "pool1" not in shown.text
    assert "<details" not in shown.markup
    long = pages.model_difference(stages.get(5), stages.get(6))
    lines = long.text.count("\n") + 1
    assert f"<summary>The {lines} lines that differ</summary>" in long.markup


def test_markup_in_tables_is_escaped():
    markup = pages.table(["<b>"], [["<script>"]], "a & b")._repr_html_()
    assert "<script>" not in markup and "&lt;script&gt;" in markup and "a &amp; b" in markup


def test_the_source_on_a_page_is_the_packages_own():
    assert str(pages.source(models.CapacityNet)).startswith("class CapacityNet(nn.Sequential):")


@pytest.mark.parametrize("make", [figures.curves, figures.mistakes, figures.confusion])
def test_figures_follow_the_theme_and_carry_a_text(make):
    figure = make(runs.load(8))
    markup = figure._repr_html_()
    assert 'role="img"' in markup and 'aria-label="' in markup
    assert len(figure.alt) > 40
    assert "var(--figure-" in markup
    for colour in figures.PALETTE.values():
        assert colour not in re.sub(r"var\([^)]*\)", "", markup), "a colour that ignores the theme"


def test_two_figures_on_a_page_do_not_share_names():
    one, other = figures.curves(runs.load(8)), figures.confusion(runs.load(8))
    names = [set(re.findall(r'id="(p\w{8,})"', figure.svg)) for figure in (one, other)]
    assert names[0] and not names[0] & names[1]


@pytest.mark.parametrize("kind", ["of Matplotlib", "fluid"])
def test_a_figure_is_saved_as_a_file_with_its_own_colours_and_size_and_a_line_of_credit(
    tmp_path, kind
):
    figure = figures.curves(runs.load(8)) if kind != "fluid" else figures.seeds([stages.get(8)])
    figure.save(tmp_path / "figure.svg", credit="Steps & more")
    text = (tmp_path / "figure.svg").read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)
    assert "var(" not in text and figures.PALETTE["test"] in text
    assert [line.text for line in root.iter("{http://www.w3.org/2000/svg}text")][
        -1
    ] == "Steps & more"
    width, height = (float(root.get(name)) for name in ("width", "height"))
    assert root.get("viewBox").split()[2:] == [f"{width:g}", f"{height:g}"]
    figure.save(tmp_path / "plain.svg")
    plain = ElementTree.fromstring((tmp_path / "plain.svg").read_text(encoding="utf-8"))
    assert float(plain.get("height")) < height


def test_mistakes_are_those_digits_that_the_run_got_wrong():
    run = runs.load(8)
    figure = figures.mistakes(run)
    wrong = round(10_000 * (1 - run.final_test_accuracy / 100))
    assert f"of {wrong} misclassified" in figure.alt
