"""JavaScript modules in node: what a module gives for what Python hands over."""

import json
import shutil
import subprocess
from pathlib import Path

from browser import missing

SCRIPTS = Path(__file__).parents[2] / "docs" / "javascripts"


def run(code, **given):
    """The result of an async function's body, as plain data.

    code: may use `given`, and `load(name)` for a module by its address under docs/javascripts
    """
    node = shutil.which("node")
    if not node:
        missing("no node to run modules in")
    script = f"""
      const load = (name) => import(new URL(name, "{SCRIPTS.as_uri()}/"));
      let text = "";
      for await (const part of process.stdin) text += part;
      const given = JSON.parse(text);
      const result = await (async () => {{ {code} }})();
      console.log(JSON.stringify(result ?? null));
    """
    done = subprocess.run(
        [node, "--input-type=module", "-e", script],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
