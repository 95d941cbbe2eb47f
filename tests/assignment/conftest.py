"""Fixtures for grading a class."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from handed_in import RULES

from mnist_steps.assignment import grading


@pytest.fixture
def grade(tmp_path, trace_without_jail, few_images):
    """Grade tmp_path/class into tmp_path/grades, with real training on few images."""

    def run(assignment=RULES, manual=None, **settings):
        with ThreadPoolExecutor(1) as executor:
            return grading.grade(
                tmp_path / "class", tmp_path / "grades", assignment, executor, executor,
                grading.Settings(progress=False, **settings), manual,
            )  # fmt: skip

    (tmp_path / "class").mkdir()
    return run
