"""What the home page shows: the answer, a pad to draw on, three doors, and every stage's seeds."""

from mnist_steps import figures, stages
from mnist_steps.experiments.evidence import Verdict
from mnist_steps.experiments.study import OURS, Store, verdict_of
from mnist_steps.markup import Html
from mnist_steps.stages import TARGET

# What is behind each door, and the pages that it leads to.
DOORS = (
    ("Read", "Eight stages, one idea each.", {"stages/01_setup.py": "Begin with the first"}),
    (
        "Play",
        "Networks that run and learn in your browser.",
        {"playground.md": "Look inside one", "lab.md": "Train your own"},
    ),
    (
        "Teach",
        "An assignment whose grader trains and explains.",
        {"assignment/instructors.md": "Plan a course"},
    ),
)

PAD = """\
<div class="taste" id="taste" data-files="assets/playground/">
<div class="taste-draw">
<canvas id="taste-pad" width="280" height="280" role="img" aria-label="Drawing area for mouse, \
finger or pen. With the keyboard, take an example digit in the playground."></canvas>
<p id="taste-hint" aria-hidden="true">Draw a digit here</p>
</div>
<ul id="taste-bars" aria-label="Probability of each digit"><li>0</li><li>1</li><li>2</li><li>3</li>\
<li>4</li><li>5</li><li>6</li><li>7</li><li>8</li><li>9</li></ul>
<p class="taste-last"><span id="taste-verdict" role="status">Nothing drawn yet.</span> \
<button class="md-button" type="button" id="taste-clear" hidden>Clear</button></p>
</div>"""


def hero(store: Store = OURS) -> Html:
    """What the eight stages are about, whether they get there, three doors, and the drawing pad."""
    first, last = stages.ORIGINAL[0], stages.ORIGINAL[-1]
    promise = (
        f"Eight steps take a network that reads handwritten digits from {first.parameters:,} "
        f"parameters to {last.parameters:,}. Each step teaches one idea, and how sure one can be "
        "of it."
    )
    found = verdict_of(store.outcomes(last))
    question = f"Does it still read {TARGET} % of the test digits?"
    answer, evidence = ("That is not known yet.", "") if found is None else answer_of(found)
    doors = "".join(
        f"<li><strong>{name}</strong> <span>{words}</span> "
        + " ".join(f'<a href="{page}">{label}</a>' for page, label in links.items())
        + "</li>"
        for name, words, links in DOORS
    )
    markup = (
        f'<div class="hero"><div class="hero-words"><p class="hero-promise">{promise}</p>'
        f'<p class="hero-answer">{question} <strong>{answer}</strong> {evidence}</p>'
        f'<ul class="doors" role="list">{doors}</ul></div>{PAD}</div>'
    )
    return Html(markup, f"{promise}\n{question} {answer} {evidence}")


def answer_of(found: Verdict) -> tuple[str, str]:
    """The answer in a few words, and what it rests on."""
    answer = "Not on average." if not found.reached else "Yes, on average."
    if found.beyond_doubt:
        answer = "Yes, on average, and over the whole interval."
    interval = found.interval
    sure = f" (95 % interval {interval:.3f})" if interval else ""
    return answer, (
        f"Over {found.runs} trainings the mean is {found.mean:.3f} %{sure}; {found.end} of them "
        f"end at {found.target} % or above, {found.hold} hold it in each of their last three "
        "epochs."
    )


def every_seed(store: Store = OURS) -> Html:
    """Accuracy beside size: every seed of every stage, by one view of each digit or by nine.

    A switch that needs no script shows one of two figures.
    """
    shown = [stage for stage in stages.STAGES if store.outcomes(stage)]
    choices = ((1, "once, as it is"), (9, "by the mean of nine shifts, in stages that have them"))
    switches = "".join(
        f'<label><input type="radio" name="ladder-views" value="{views}"'
        f"{' checked' if views == 1 else ''}> {words}</label>"
        for views, words in choices
    )
    drawn = {
        views: figures.seeds(shown, views=views, sizes=True, store=store) for views, _ in choices
    }
    panels = "".join(
        f'<div class="ladder-{views}">{figure._repr_html_()}</div>'
        for views, figure in drawn.items()
    )
    markup = (
        f'<div class="ladder"><fieldset><legend>Each test digit is judged</legend>{switches}'
        f"</fieldset>{panels}</div>"
    )
    return Html(markup, drawn[1].alt)
