"""What comes out of a grading: pages for people, tables and files for programs, commands."""

import csv
import dataclasses
import json
import re
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest
from handed_in import (
    CRASHING,
    QUICK,
    RULES,
    believing_in_a_jail,
    by_name,
    cells,
    with_few_images,
    without_a_jail,
    write_folder,
)

from mnist_steps import stages
from mnist_steps.assignment import (
    checking,
    example,
    feedback,
    findings,
    gradebook,
    grading,
    outputs,
    recipe_toml,
    rubric,
    rules,
    trainings,
)
from mnist_steps.assignment.gradebook import Table
from mnist_steps.assignment.rubric import Manual
from mnist_steps.assignment.rules import Assignment
from mnist_steps.errors import MnistStepsError
from mnist_steps.experiments import executors


@pytest.fixture(autouse=True)
def a_jail_that_is_not_needed(monkeypatch):
    """The jail has tests of its own."""
    believing_in_a_jail(monkeypatch)


# ---- What people read ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A graded class with hostile names and reports, and everything written."""
    place = tmp_path_factory.mktemp("class")
    hostile = QUICK | {
        "REPORT.md": QUICK["REPORT.md"].replace("| 3 | 25 |", "| <script>alert(1)</script> | 3 |")
    }
    write_folder(place / "class" / "good", QUICK)
    write_folder(place / "class" / "<img src=x onerror=alert(1)>", hostile)
    write_folder(place / "class" / "=HYPERLINK(1)", CRASHING)
    (place / "class" / "nothing").mkdir()
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as executor:
        for stand_in in (without_a_jail, with_few_images, believing_in_a_jail):
            stand_in(patch)
        graded = grading.grade(
            place / "class", place / "grades", RULES, executor, executor,
            grading.Settings(progress=False),
        )  # fmt: skip
    outputs.write(graded, place / "grades")
    return graded, place / "grades"


def pages_of(out):
    return [out / "index.html", *out.glob("students/*/feedback.html")]


class Tags(HTMLParser):
    """What a browser would see in a page: (name, attributes) of every tag."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def test_pages_hold_no_markup_of_submissions_and_ask_nobody_for_anything(written):
    graded, out = written
    assert len(pages_of(out)) == 5
    for page in pages_of(out):
        text = page.read_text()
        assert "default-src 'none'" in text
        for tag, attributes in Tags(text).found:
            assert tag not in ("script", "img", "iframe", "link", "object", "form"), page
            assert not any(name.startswith("on") for name in attributes), page
            for name in ("href", "src", "xlink:href"):
                assert attributes.get(name, "#").startswith(("#", "students/")), page
        assert not re.search(r"url\((?!#)", text), "styles load nothing either"
    told = "".join(page.read_text() for page in pages_of(out))
    assert "&lt;script&gt;" in told and "&lt;img src=x" in told, "shown, but as text"


def test_no_template_takes_text_for_markup():
    for name in feedback.TEMPLATES.list_templates():
        source, *_ = feedback.TEMPLATES.loader.get_source(feedback.TEMPLATES, name)
        assert not re.search(r"\|\s*safe|autoescape", source), name
        assert feedback.TEMPLATES.from_string("{{ x }}").render(x="<b>") == "&lt;b&gt;"


def test_feedback_names_no_seed_and_nobody_else(written):
    graded, out = written
    for one in graded.grades:
        text = (out / "students" / one.entry.folder / "feedback.html").read_text()
        for seed in graded.seeds:
            assert str(seed) not in text
        for other in graded.grades:
            if other is not one and other.entry.name == "=HYPERLINK(1)":
                assert "HYPERLINK" not in text
    described = json.loads(
        (out / "students" / by_name(graded)["good"].entry.folder / "grade.json").read_text()
    )
    assert described["format"] == 1 and described["seeds"] == list(graded.seeds)
    assert described["sandbox"]["level"] == "bubblewrap" and described["versions"]["torch"]
    assert re.fullmatch("[0-9a-f]{64}", described["digest"])


def test_the_class_page_says_why_and_what_needs_a_person_stands_first(written):
    rows = [row for row in cells((written[1] / "index.html").read_text()) if len(row) == 7][1:]
    assert [row[1] for row in rows] == ["returned for repair"] * 2 + ["passed"] * 2
    assert rows[0][0] == "nothing" and rows[0][2] == "model.py: the file is missing"
    assert "model.py, line 1: ValueError" in rows[1][2]
    assert {row[2] for row in rows[2:]} == {"", "2 to put right"}


def test_totals_are_of_what_could_be_graded(written, grade, tmp_path):
    told = (written[1] / "index.html").read_text()
    assert "Of 2 that could be graded, 2 passed and 0 did not; 0 reached the goal" in told
    assert "The prose of 2 waits for a person." in told
    assert "Histogram of 2 marks" in told, "no zero of a submission that was returned"
    write_folder(tmp_path / "class" / "crashing", CRASHING)
    assert "None could be graded yet." in feedback.class_page(grade())


def test_a_fail_is_explained_by_the_part_that_lost_most(grade, tmp_path):
    write_folder(tmp_path / "class" / "good", QUICK)
    (failed,) = grade(
        dataclasses.replace(RULES, accuracy=99.9, accuracy_from=99.8, pass_mark=90)
    ).grades
    assert failed.status == "fail"
    assert failed.cause.startswith("Accuracy, 0 of 30: ")


def test_mistakes_are_grouped_by_their_cause():
    def of(where, what):
        return findings.cause(findings.Finding(where, what, "the same reason", "hint"))

    name = "model.py, line {}: NameError: name {!r} is not defined"
    assert of("model.py", name.format(3, "x")) == of("model.py", name.format(14, "device"))
    kernel = "{}: kernel_size of Conv2d is {}, outside of what is allowed"
    assert of("model.py", kernel.format("conv1", 99)) == of("model.py", kernel.format("b.c", 100))
    assert of("model.py", name.format(3, "x")) != of("model.py", kernel.format("a", 99))
    assert of("recipe.toml, epochs", "found 16") == of("recipe.toml, epochs", "found 99")
    assert of("recipe.toml, epochs", "found 16") != of("recipe.toml, batch_size", "found 16")
    written = "the section '### {}' is not written yet"
    assert of("REPORT.md, Step 1", written.format("Target")) == of(
        "REPORT.md, Step 2: more", written.format("Results")
    )


def test_near_copies_are_found_and_what_all_have_is_not_one(grade, tmp_path):
    """Layers and variables renamed, comments added, a few words of the report exchanged."""
    folder, stage = tmp_path / "class", example.files_of(stages.get(8))
    for number in range(3, 7):  # stage 7 has stage 8's network
        write_folder(folder / f"honest {number}", example.files_of(stages.get(number)))
    story = " ".join(f"word{one % 97} of sentence{one}" for one in range(120))
    original = stage | {"REPORT.md": stage["REPORT.md"] + story}
    copy = stage["model.py"].replace("conv", "layer").replace("batch_norm", "norm")
    retold = story.replace("word5 ", "other ").replace("sentence77", "clause77")
    write_folder(folder / "original", original)
    write_folder(folder / "copy", {
        "model.py": f"# all mine\n{copy}", "recipe.toml": stage["recipe.toml"] + "# mine\n",
        "REPORT.md": "# My report\n" + stage["REPORT.md"] + retold,
    })  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainings, "perform", lambda task: 1 / 0)  # nothing has to be trained
        found = grade(dataclasses.replace(RULES, macs=20_000_000)).alike
    assert all(set(one.names) == {"original", "copy"} for one in found), found
    told = [one.what.partition(",")[0] for one in found]
    assert told == ["the same network", "the code of model.py", "the text of REPORT.md"]


def test_the_class_page_counts_statuses_and_mistakes(written):
    text = (written[1] / "index.html").read_text()
    assert "4 submissions" in text and "could not be trained" in text
    assert "A table of another network says nothing about this one" in text
    assert text.count('role="img"') == 2, "marks and the frontier"


def test_a_person_gives_the_points_for_prose(grade, tmp_path):
    write_folder(tmp_path / "class" / "good", QUICK)
    graded, out = grade(), tmp_path / "grades"
    outputs.write(graded, out)
    assert graded.grades[0].waiting == 8
    file = out / "manual.csv"
    assert gradebook.read_manual(out, RULES) == {}
    table = gradebook.read_table(file)
    table.rows[0][2:] = ["6,5", "well argued"]
    file.write_text(table.text())
    manual = gradebook.read_manual(out, RULES)
    assert list(manual.values()) == [Manual(6.5, "well argued")]
    again = grade(manual=manual)
    assert again.grades[0].points == graded.grades[0].points + 6.5
    assert again.grades[0].waiting == 0
    outputs.write(again, out)
    assert gradebook.read_manual(out, RULES) == manual, "what a person wrote stays"
    table.rows[0][2] = "9"
    file.write_text(table.text())
    with pytest.raises(MnistStepsError, match="expected a number from 0 to 8"):
        gradebook.read_manual(out, RULES)


# ---- What programs read --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"), ("+1+1", "'+1+1"), ("-cmd", "'-cmd"), ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"), ("  =1", "'  =1"), ("＝1", "'＝1"), ("\r=1", "'\r=1"), ("|x", "'|x"),
        ("-3.5", "-3.5"), ("+49", "+49"), ("99.4 %", "99.4 %"), ("Zoë O'Neil", "Zoë O'Neil"),
        ("", ""), ("a=b", "a=b"),
    ],
)  # fmt: skip
def test_a_cell_cannot_become_a_formula(cell, written):
    assert gradebook.neutral(cell) == written


def graded_class(names, points=80.0):
    """Grades without any work behind them."""
    when = datetime(2030, 1, 1, tzinfo=UTC)
    parts = (rubric.Part("contract", "Contract", points, 100, "because"),)
    grades = tuple(
        grading.Grade(grading.Entry(name, f"{name}-1", Path(name), when), "pass", parts)
        for name in names
    )
    return grading.Grading(grades, Assignment(), (1,), {"level": "bubblewrap"}, {})


def test_a_roster_with_formulas_is_joined_and_neutralised(tmp_path):
    roster = tmp_path / "roster.csv"
    roster.write_text('id,name\nzoe,"=HYPERLINK(""x"")"\nmax,+1-1\nAbsent,y\n', "utf-8")
    table = gradebook.read_table(roster)
    graded = graded_class(["Zoe", "max", "stranger"])
    matched = gradebook.match_rows(table, "roster.csv", graded.grades)
    assert [one and one.entry.name for one in matched.grades] == ["Zoe", "max", None]
    assert matched.notes == ["roster.csv: stranger has no row"]
    rows = list(csv.reader(gradebook.grades_table(graded, table, matched).text().splitlines()))
    assert rows[1][:4] == ["zoe", '\'=HYPERLINK("x")', "Zoe", "pass"]
    assert rows[3][:4] == ["Absent", "y", "", "missing"]
    assert rows[4][2] == "stranger"


def test_who_fits_twice_is_matched_with_nobody():
    graded = graded_class(["Zoe", "max"])
    twice = Table(["id"], [["zoe"], ["ZOE"], ["max"]])
    matched = gradebook.match_rows(twice, "r", graded.grades)
    assert [one and one.entry.name for one in matched.grades] == [None, None, "max"]
    assert matched.notes == ["r: Zoe has 2 rows"]
    same = graded_class(["Zoe", "zoe"])
    matched = gradebook.match_rows(Table(["id"], [["zoe"]]), "r", same.grades)
    assert matched.grades == [None] and "fits several submissions" in matched.notes[0]


def test_a_canvas_export_is_filled_in_its_column_only():
    canvas = Table(
        ["Student", "ID", "SIS Login ID", "Section", "MNIST (1234)", "Essay (99)"],
        [
            ["    Points Possible", "", "", "", "50", "10"],
            ["Doe, Jane", "4711", "jd", "A", "", "7"],
            ["Roe, Rob", "4712", "rr", "A", "12", "8"],
        ],
    )
    graded = graded_class(["doejane_LATE_4711_8899_work"])
    filled, notes = gradebook.fill(canvas, "canvas.csv", "MNIST", graded)
    assert filled.rows[1] == ["Doe, Jane", "4711", "jd", "A", "40", "7"], "80 of 100, scaled to 50"
    assert [filled.rows[0], filled.rows[2]] == [canvas.rows[0], canvas.rows[2]]
    assert notes == []
    with pytest.raises(MnistStepsError, match="has no column 'Poetry'"):
        gradebook.fill(canvas, "canvas.csv", "Poetry", graded)


def test_a_moodle_worksheet_is_filled_and_unfinished_marks_are_not():
    header = ["Identifier", "Full name", "Status", "Grade", "Maximum grade"]
    rows = [["Participant 55", "Jane Doe", "", "", "20,00"], ["Participant 56", "R", "", "3", "20"]]
    graded = graded_class(["Jane Doe_55_assignsubmission_file", "R_56_assignsubmission_file"])
    waiting = rubric.Part("prose", "Report: prose", None, 8, "later")
    second = dataclasses.replace(graded.grades[1], parts=(*graded.grades[1].parts, waiting))
    graded = dataclasses.replace(graded, grades=(graded.grades[0], second))
    filled, notes = gradebook.fill(Table(header, rows), "moodle.csv", None, graded)
    assert [row[3] for row in filled.rows] == ["16", "3"]
    assert len(notes) == 1 and "waits for a person" in notes[0]


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"a,b\n1,2,3\n", b'a,b\n"1,2\n'],
    ids="empty utf16 wide open".split(),
)
def test_what_is_no_table_is_one_line(tmp_path, content):
    (tmp_path / "roster.csv").write_bytes(content)
    with pytest.raises(MnistStepsError, match="roster.csv") as refusal:
        gradebook.read_table(tmp_path / "roster.csv")
    assert len(str(refusal.value).splitlines()) == 1


def test_gradescope_gets_a_score_that_is_the_sum_of_its_tests(written):
    graded, out = written
    good = by_name(graded)["good"]
    results = json.loads((out / "students" / good.entry.folder / "results.json").read_text())
    assert results["score"] == good.points
    assert sum(test["score"] for test in results["tests"]) == pytest.approx(good.points)
    assert all(test["score"] <= test["max_score"] for test in results["tests"])
    nothing = by_name(graded)["nothing"]
    assert not (out / "students" / nothing.entry.folder / "results.json").exists()


@pytest.fixture
def graded_by_command(grade, tmp_path, monkeypatch, assignment_command):
    """`assignment grade` on tmp_path/class, with threads in place of processes."""
    monkeypatch.setattr(executors, "Processes", lambda workers: ThreadPoolExecutor(1))
    (tmp_path / "rules.toml").write_text("accuracy = 60\naccuracy_from = 5\nseeds = 2\n")
    write_folder(tmp_path / "class" / "zoe", QUICK)

    def run(*options):
        return assignment_command(
            "grade", tmp_path / "class", "--out", tmp_path / "grades", "--assignment",
            tmp_path / "rules.toml", *options,
        )  # fmt: skip

    return run


def test_the_command_grades_joins_and_fills(graded_by_command, tmp_path):
    (tmp_path / "roster.csv").write_text("login,name\nzoe,Zoe\n")
    (tmp_path / "moodle.csv").write_text("Identifier,Grade\nzoe,\n")
    status, out, _ = graded_by_command(
        "--roster", tmp_path / "roster.csv", "--fill", tmp_path / "moodle.csv", "--json"
    )
    described = json.loads(out)
    assert status == 0 and described["grades"][0]["name"] == "zoe"
    assert "waits for a person" in described["notes"][-1]
    assert (tmp_path / "grades" / "filled-moodle.csv").is_file()
    assert "zoe,Zoe,zoe," in (tmp_path / "grades" / "grades.csv").read_text("utf-8-sig")
    status, out, err = graded_by_command()
    assert status == 0 and "manual.csv" in out and "index.html" in out
    assert "networks like that of stage 8 are computed by " in err


def test_the_command_ends_with_1_for_our_failures_and_2_for_bad_input(
    graded_by_command, tmp_path, monkeypatch
):
    (tmp_path / "roster.csv").write_text("login,name\nzoe,Zoe\n")
    for options in (
        ["--workers", "1", "--scheduler", "tcp://x:1"],
        ["--seeds", "a"],
        ["--seeds", "1,1"],
        ["--roster", tmp_path / "nowhere.csv"],
        ["--roster", tmp_path / "roster.csv", "--key", "mail"],
        ["--fill", tmp_path / "roster.csv"],
    ):
        status, out, err = graded_by_command(*options)
        assert (status, out, len(err.splitlines())) == (2, "", 1), options
    assert not (tmp_path / "grades").exists()
    monkeypatch.setattr(trainings, "start", lambda *given: 1 / 0)
    status, _, err = graded_by_command()
    assert status == 1 and "Run the same command again" in err


def test_a_term_goes_as_the_instructors_page_says(
    grade, tmp_path, monkeypatch, mnist_steps_command
):
    """Its commands, as written, with few images."""
    monkeypatch.setattr(executors, "Processes", lambda workers: ThreadPoolExecutor(1))
    page = Path(__file__).parents[2] / "docs" / "assignment" / "instructors.md"
    told = page.read_text().partition("## A term in practice")[2]
    commands = "".join(re.findall(r"```sh\n(.*?)```", told, flags=re.DOTALL))
    lines = commands.replace("\\\n", "").splitlines()
    assert len(lines) > 12
    place = tmp_path / "term"
    place.mkdir()
    monkeypatch.chdir(place)
    statuses = []
    for line in lines:
        if line.startswith("mnist-steps "):
            statuses.append(mnist_steps_command(*shlex.split(line)[1:])[0])
        else:
            subprocess.run(line, shell=True, check=True)
    assert statuses == [0, 1, 0, 0, 0, 0]
    filled = gradebook.read_table(place / "grades" / "filled-canvas.csv")
    marks = [float(row[4]) for row in filled.rows]
    assert marks[0] == 50 and all(0 < mark < 50 for mark in marks[1:])
    assert "clearly argued" in (place / "grades" / "manual.csv").read_text()
    class_page = (place / "grades" / "index.html").read_text()
    assert "nearly the same from doejane_4711_990_mnist, roerob_LATE_4712_991_mnist" in class_page


def test_the_example_writes_submissions_that_are_within_the_rules(tmp_path, assignment_command):
    status, _, _ = assignment_command("example", tmp_path / "class")
    found = grading.find(tmp_path / "class")
    assert status == 0 and len(found) == 6
    for entry in found:
        files = grading.load(entry)
        recipe = recipe_toml.parse(files.recipe, Assignment())
        assert recipe.epochs == 15 and "def build_model" in files.model


def test_a_full_check_judges_as_grading_does(
    tmp_path, trace_without_jail, few_images, assignment_command
):
    folder = write_folder(tmp_path / "mine", QUICK)
    (folder / "assignment.toml").write_text("accuracy = 60\naccuracy_from = 5\nseeds = 2\n")
    status, out, _ = assignment_command("check", folder, "--full", "--json")
    described = json.loads(out)["full"]
    assert status == 0 and len(described["runs"]) == 2
    checked = checking.check(folder, rules.load(folder / "assignment.toml"))
    parts = checking.judge(checked, described["runs"], rules.load(folder / "assignment.toml"))
    assert described["parts"] == [vars(part) for part in parts]
