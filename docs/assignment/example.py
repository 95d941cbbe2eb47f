# %% [markdown]
# # An example: the stages, graded
#
# Six stages of this site as if they had been handed in, with what the original said
# about them in their reports. The grader does not know that they are ours.
#
# **You will learn** what a grade consists of, what the grader finds in the original's
# reports, and how far a short run can be trusted.
#
# **Know first** [how points are given](rubric.md).

# %% tags=["hide-input"]
import itertools
import json

from mnist_steps import pages, runs, stages
from mnist_steps.assignment import example, plots, trainings
from mnist_steps.assignment.rules import Assignment
from mnist_steps.markup import Text

# %% [markdown]
# ## A submission
#
# `mnist-steps assignment example class` writes them. This is stage 8's report; its
# model and its recipe are what [its page](../stages/08_lr_scheduler.py) shows.

# %% tags=["hide-input"]
print(example.files_of(stages.get(8))["REPORT.md"])

# %% [markdown]
# ## The class
#
# To grade them with the usual three seeds takes hours on two cores. Here each has one:
# the run of its record. That is the same training, up to the constants by which test
# images are normalized.

# %%
assignment = Assignment(seeds=1)
graded = example.grade([stages.get(number) for number in range(3, 9)], assignment)

# %% tags=["hide-input"]
titles = [part.title for part in graded.grades[0].parts]
pages.table(
    ["", *[grade.entry.name[:2].lstrip("0") for grade in graded.grades]],
    [
        *(
            [
                f"{title}, of {graded.grades[0].parts[row].most:g}",
                *(
                    "open"
                    if grade.parts[row].points is None
                    else f"{grade.parts[row].points:g}"
                    for grade in graded.grades
                ),
            ]
            for row, title in enumerate(titles)
        ),
        ["all so far", *(f"{grade.points:g}" for grade in graded.grades)],
        ["status", *(grade.status for grade in graded.grades)],
        [
            "goal reached",
            *(
                "yes" if grade.reaches_target(assignment) else "no"
                for grade in graded.grades
            ),
        ],
    ],
    "Points of stages 3 to 8. The prose of a report is for a person to judge.",
)

# %% tags=["hide-input"]
plots.frontier(
    graded.grades,
    assignment,
    names=[grade.entry.name[:2].lstrip("0") for grade in graded.grades],
)

# %% [markdown]
# Each dot is a submission, named by its stage; the line of steps joins those that no
# other beats with as few parameters.
#
# ## What the grader found
#
# The original's mistakes, found again. A student would get each of them with a reason
# and a hint.

# %% tags=["hide-input"]
found = [(grade, finding) for grade in graded.grades for finding in grade.findings]
pages.table(
    ["submission", "where", "what"],
    [[grade.entry.name, finding.where, finding.what] for grade, finding in found],
    f"{len(found)} findings in {len(graded.grades)} submissions",
    words=[1, 2],
)

# %% [markdown]
# ## What it costs
#
# One run of one submission, all epochs and evaluations, with the number of threads that
# the record names. A class takes this times seeds times students, shared by the
# workers.

# %% tags=["hide-input"]
records = [runs.load(number) for number in range(3, 9)]
pages.table(
    ["stage", "minutes a run", "threads"],
    [
        [
            f"{run.stage.number}",
            f"{sum(run.environment.seconds) / 60:.1f}",
            f"{run.environment.threads}",
        ]
        for run in records
    ],
    f"On {records[0].environment.processor}, shared with other work",
)

# %% [markdown]
# ## A short run, and how far it can be trusted
#
# `grade --screen` ranks a class in a tenth of the time: one seed instead of all, and as
# many epochs as use up the tenth. Without a schedule the short run is the beginning of
# the full one, so the records tell what it would have given. With a schedule, which a
# short run compresses, it has to be made: `tests/benchmarks/bench_screening.py` does,
# for the stages that have one.

# %% tags=["hide-input"]
screening = []
for run in records:
    short = trainings.screening(run.stage.recipe, Assignment().seeds)
    if short.schedule is None:
        screening.append(
            {
                "stage": run.stage.number,
                "epochs": short.epochs,
                "screened": run.epochs[short.epochs - 1].test_accuracy,
                "graded": run.final_test_accuracy,
            }
        )
made = runs.RECORDS / "benchmarks" / "screening.json"
if made.is_file():
    screening += json.loads(made.read_text())["rows"]
left_out = {run.stage.number for run in records} - {row["stage"] for row in screening}
pages.table(
    ["stage", "epochs", "screened", "graded"],
    [
        [
            f"{row['stage']}",
            f"{row['epochs']}",
            f"{row['screened']:.2f}",
            f"{row['graded']:.2f}",
        ]
        for row in screening
    ],
    "Test accuracy in percent after a screening run, and after the full run with the "
    "same seed."
    + "".join(f" Stage {number} was not screened." for number in sorted(left_out)),
)


# %% tags=["hide-input"]
def pairs_in_the_same_order(rows):
    """How many pairs both runs order alike, and how many there are that they could."""
    pairs = [
        (one["screened"] - two["screened"], one["graded"] - two["graded"])
        for one, two in itertools.combinations(rows, 2)
        if one["graded"] != two["graded"]
    ]
    return sum(short * full > 0 for short, full in pairs), len(pairs)


alike, pairs = pairs_in_the_same_order(screening)
good = [row for row in screening if row["graded"] > 99]
alike_good, pairs_good = pairs_in_the_same_order(good)
error = pages.standard_error(sum(row["graded"] for row in good) / len(good))
Text(
    f"Of {pairs} pairs of these networks the short run puts {alike} into the order of "
    f"the full run (Kendall's correlation {2 * alike / pairs - 1:.2f}); of the "
    f"{pairs_good} pairs among those above 99 %, {alike_good} "
    f"({2 * alike_good / pairs_good - 1:.2f}). So few networks with one seed each say "
    "little, and the full order is itself uncertain: one accuracy has a standard error "
    f"of {error:.2f} points by the choice of test images alone. Screening tells what "
    "does not learn from what does. It does not decide between good networks, and it "
    "gives no marks."
)
