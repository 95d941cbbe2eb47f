"""The playground's files: exported networks, example digits, and all of it for a folder on disk.

The files come from the records; made.py says when they are made.
"""

import base64
import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from site_tools import made, packing

PAGE = "playground.md"
SCRIPTS = "javascripts/playground"
TASTE = "javascripts/taste/taste.js"
DATA = "assets/playground"

# Stages 1 and 2 are too heavy to answer at every stroke, and to be fetched for it.
STAGES = (3, 4, 5, 6, 7, 8, 9, 10, 11)
DEFAULT_STAGE = 8
ONE_IN = 100  # training digits: what only so few have is a reason for doubt
JUDGED = 2_000  # training digits whose scores are looked at
MISREAD = 4  # how many of the digits that the default stage reads wrongly are offered

SOURCE = re.compile(r"^<!-- source: ([\w-]+\.js) (\w+) -->$", re.MULTILINE)


# --- What MkDocs calls ----------------------------------------------------------------------


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the exported networks and the examples to the site, and folder.js with all of them."""
    data = made.kept(
        made.cache_of(config, "playground"),
        "site_tools.playground_assets",
        "the playground's networks",
    )
    for path in sorted(data.rglob("*")):
        if path.is_file():
            address = f"{DATA}/{path.relative_to(data).as_posix()}"
            files.append(File.generated(config, address, abs_src_path=str(path)))
    packed = pack(Path(config.docs_dir, SCRIPTS, "playground.js"), data)
    files.append(File.generated(config, f"{SCRIPTS}/folder.js", content=packed))
    taste = pack(Path(config.docs_dir, TASTE), data, f"stage-{DEFAULT_STAGE}/*")
    files.append(File.generated(config, f"{posixpath.dirname(TASTE)}/folder.js", content=taste))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str | None:
    """Show a function of the scripts where the page asks for it: `<!-- source: file name -->`."""
    if page.file.src_uri != PAGE:
        return None
    scripts = Path(config.docs_dir, SCRIPTS)
    return SOURCE.sub(
        lambda found: f"```javascript\n{function_source(scripts / found[1], found[2])}\n```",
        markdown,
    )


# --- The data ------------------------------------------------------------------------------


def write_data(folder: Path) -> None:
    """Write stage-N/model.json and weights.bin for each stage, and playground.json."""
    from mnist_steps import runs
    from mnist_steps.pages import export

    chosen = []
    for number in STAGES:
        description = export.export(number, folder / f"stage-{number}")
        chosen.append(
            {
                "number": number,
                "title": description["title"],
                "parameters": sum(layer["params"] for layer in description["layers"]),
                # As the playground judges a drawing: once.
                "test_accuracy": runs.load(number).epochs[-1].by_one_view,
                "leastEvidence": least_evidence(number),
            }
        )
    content = {
        "default": DEFAULT_STAGE,
        "stages": chosen,
        "presets": _presets(),
        "usual": usual(),
    }
    (folder / "playground.json").write_text(json.dumps(content, indent=1), encoding="utf-8")


def usual() -> dict[str, float]:
    """What training digits are like, for doubt.js: how much ink is rare, in full pixels."""
    from mnist_steps import data

    ink = data.mnist().full_train.images.float().flatten(1).sum(dim=1) / 255
    return {
        "oneIn": ONE_IN,
        "leastInk": round(ink.quantile(1 / ONE_IN).item(), 1),
        "mostInk": round(ink.quantile(1 - 1 / ONE_IN).item(), 1),
    }


def least_evidence(number: int) -> float:
    """What all but one in ONE_IN training digits reach: the logarithm of the sum of e^score."""
    import torch

    from mnist_steps import data, runs

    run = runs.load(number)
    network = torch.nn.Sequential(*list(run.build().children())[:-1])  # without the log-softmax
    images = data.mnist().full_train.images[:JUDGED].float() / 255
    with torch.inference_mode():
        parts = [network(run.stage.recipe.normalize_test(some)) for some in images.split(500)]
    evidence = torch.cat(parts).logsumexp(dim=1)
    return round(evidence.quantile(1 / ONE_IN).item(), 3)


def _presets() -> list[dict[str, Any]]:
    """The first 0 to 9 that the default stage is sure of, then its surest mistakes."""
    from mnist_steps import data, runs

    test = data.mnist().test
    run = runs.load(DEFAULT_STAGE)
    read = run.predictions.long()
    right = read == test.labels
    sure = right & (run.confidences > 0.99)
    first = [int((sure & (test.labels == digit)).nonzero()[0]) for digit in range(10)]
    wrong = (~right).nonzero().flatten()
    surest = wrong[run.confidences[wrong].argsort(descending=True)[:MISREAD]].tolist()

    def preset(index: int) -> dict[str, Any]:
        label, answer = int(test.labels[index]), int(read[index])
        note = f"a {label}"
        if answer != label:
            note += f" that stage {DEFAULT_STAGE} reads as {answer}"
        pixels = base64.b64encode(test.images[index].numpy().tobytes()).decode()
        return {"index": index, "label": label, "note": note, "pixels": pixels}

    return [preset(index) for index in (*first, *surest)]


# --- The page's parts -----------------------------------------------------------------------


def pack(entry: Path, data: Path, wanted: str = "**/*") -> str:
    """A module and the files that it may read, as one classic script; files.js says why."""
    files = {
        path.relative_to(data).as_posix(): base64.b64encode(path.read_bytes()).decode()
        for path in sorted(data.glob(wanted))
        if path.is_file()
    }
    return packing.pack(entry, files)


def function_source(script: Path, name: str) -> str:
    """An exported function with the comment above it. Raises PluginError when there is none."""
    code = script.read_text(encoding="utf-8")
    found = re.search(
        rf"^/\*\*(?:(?!\*/).)*?\*/\nexport (?:async )?function {name}\(.*?^}}",
        code,
        re.DOTALL | re.MULTILINE,
    )
    if not found:
        raise PluginError(f"{PAGE}: {script.name} has no function {name}")
    return found[0].replace("\nexport ", "\n")


if __name__ == "__main__":
    made.write(write_data)
