"""The files that this project writes, described from real ones: a key, its type, what it means."""

import html
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from mnist_steps.errors import MnistStepsError
from mnist_steps.markup import Html, table

TYPES = {bool: "true or false", int: "whole number", float: "number", str: "text",
         type(None): "nothing", list: "list", dict: "object"}  # fmt: skip


def describe(sample: Any, meanings: Mapping[str, str], caption: str) -> Html:
    """A table of a file's keys, in the file's order.

    sample: what a real file holds, as JSON gives it, or a dictionary of tensors
    meanings: by key, such as 'epochs[].train_loss', what it means. What lies inside of a key is
        described when one of the keys lies there
    Raises MnistStepsError when the file has a key without a meaning, or a meaning has no key.
    """
    found = dict(_keys(sample, meanings))
    unknown, gone = found.keys() - meanings.keys(), meanings.keys() - found.keys()
    if unknown or gone:
        raise MnistStepsError(
            f"{caption}: no meaning is given for {', '.join(sorted(unknown)) or 'none'}; "
            f"no key is there for {', '.join(sorted(gone)) or 'none'}. Put the page right."
        )
    rows: list[list[str | Html]] = [
        [_named(key, kind), meanings[key]] for key, kind in found.items()
    ]
    return table(["key", "meaning"], rows, caption, words=(1,))


def _keys(content: Any, meanings: Mapping[str, str], path: str = "") -> Iterator[tuple[str, str]]:
    """Each key that is described with what it holds; of a list, those of its first element."""
    for name, value in content.items():
        key = f"{path}.{name}" if path else name
        yield key, _kind(value)
        inner, within = (value[0], f"{key}[]") if _is_list_of_objects(value) else (value, key)
        if isinstance(inner, dict) and any(one.startswith(f"{within}.") for one in meanings):
            yield from _keys(inner, meanings, within)


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], dict)


def _named(key: str, kind: str) -> Html:
    return Html(f"<code>{html.escape(key)}</code><br>{html.escape(kind)}", f"{key} ({kind})")


def _kind(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if _is_list_of_objects(value):
        return "list of objects"
    if isinstance(value, list | tuple) and value:
        return f"list of {_kind(value[0])}s"
    return TYPES.get(type(value), type(value).__name__)
