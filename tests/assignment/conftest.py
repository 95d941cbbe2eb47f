"""Fixtures for grading a class."""

import functools

import pytest
from handed_in import grade_class


@pytest.fixture
def grade(tmp_path, trace_without_jail, few_images):
    """Grade tmp_path/class into tmp_path/grades, with real training on few images."""

    (tmp_path / "class").mkdir()
    return functools.partial(grade_class, tmp_path)
