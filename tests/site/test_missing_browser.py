"""Where there is no browser: CI fails, and at home one line says what was skipped."""

import os
import subprocess
import sys
from pathlib import Path


def run_without_a_browser(folder, ci):
    (folder / "test_pages.py").write_text(
        "def test_one(browser): pass\ndef test_two(browser): pass\ndef test_three(): pass\n"
    )
    surroundings = {
        "PYTHONPATH": str(Path(__file__).parents[1] / "helpers"),
        "CHROMIUM": "/nowhere",
        "CI": ci,
    }
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "browser", "-p", "no:cacheprovider"],
        cwd=folder,
        env=os.environ | surroundings,
        capture_output=True,
        text=True,
    )


def test_a_missing_browser_fails_under_ci(tmp_path):
    done = run_without_a_browser(tmp_path, "true")
    assert done.returncode == 1 and "1 passed, 2 errors" in done.stdout
    assert "no browser to test in: /nowhere does not exist" in done.stdout


def test_a_missing_browser_is_skipped_elsewhere_and_one_line_says_so(tmp_path):
    done = run_without_a_browser(tmp_path, "")
    assert done.returncode == 0 and "1 passed, 2 skipped" in done.stdout
    lines = [line for line in done.stdout.splitlines() if "no browser" in line]
    assert lines == [
        "2 tests were skipped: no browser to test in: /nowhere does not exist "
        "(set CHROMIUM to another)"
    ]
