"""What the reference shows of the command line, of the changelog and of the citation.

Commands and options are asked of the command itself, in a process of its own, so that a change
shows at once while pages are being written. The package's names are read by mkdocstrings.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from site_tools.made import project_of

COMMANDS, COMMANDS_PLACE = "reference/commands.md", "<!-- the commands -->"
CITATION, CITATION_PLACE = "cite.md", "<!-- the citation -->"


# --- What MkDocs calls ----------------------------------------------------------------------


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The changelog lies where people and tools look for it, and is a page too."""
    text = (project_of(config) / "CHANGELOG.md").read_text(encoding="utf-8")
    page = File.generated(config, "changelog.md", content=text)
    page.edit_uri = None
    files.append(page)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str | None:
    """Put the commands, or the citation, where a page asks for them."""
    if page.file.src_uri == COMMANDS:
        return markdown.replace(COMMANDS_PLACE, _commands(project_of(config)))
    if page.file.src_uri == CITATION:
        file = project_of(config) / "CITATION.cff"
        citation = yaml.safe_load(file.read_text(encoding="utf-8"))
        address = config.extra["repository"] or config.site_url or ""
        return markdown.replace(CITATION_PLACE, citation_as_markdown(citation, address))
    return None


# --- The citation ---------------------------------------------------------------------------


def citation_as_markdown(citation: dict[str, Any], address: str) -> str:
    """A sentence and an entry for BibTeX; without an address, neither has one."""
    authors = " and ".join(author["name"] for author in citation["authors"])
    title, version, released = citation["title"], citation["version"], citation["date-released"]
    entry = {
        "author": f"{{{authors}}}",
        "title": f"{{{title}}}",
        "version": version,
        "year": released.year,
        "url": address,
    }
    fields = "".join(f"  {name:<7} = {{{value}}},\n" for name, value in entry.items() if value)
    sentence = f"{authors}. *{title}*. Version {version}, {released.year}."
    if address:
        sentence += f" <{address}>"
    return f"{sentence}\n\n```bibtex\n@software{{mnist_steps,\n{fields}}}\n```"


# --- The command line -----------------------------------------------------------------------


def _commands(project: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "site_tools.reference"],
        cwd=project,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    if done.returncode:
        raise PluginError(f"{COMMANDS}: the command cannot be asked:\n{done.stderr}")
    return done.stdout


def commands_as_markdown() -> str:
    """Each command with its usage, what it does, and what it takes, as typer describes them."""
    import typer
    from typer.cli import get_docs_for_click

    from mnist_steps.commands.main import app

    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="mnist-steps")
    described = get_docs_for_click(obj=command, ctx=context, name="mnist-steps")
    # The list of what follows anyway, cut short; and what every command has.
    described = re.sub(r"\*\*Commands\*\*:\n\n(\* .*\n)+", "", described)
    described = described.replace("* `--help`: Show this message and exit.\n", "")
    described = re.sub(r"\*\*Options\*\*:\n\n(?!\*)", "", described)
    return described[described.index("\n## ") :].strip()


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    print(commands_as_markdown())
