"""Who handed in nearly the same: to be looked at by a person, never a mark.

Names are what a copy changes first. So networks are compared without the names of their layers,
and programs without names and layout. Both and reports are compared by the short runs of words
that they consist of, as plagiarism finders do (Schleimer, Wilkerson, Aiken, 2003: Winnowing),
leaving out those that many of the class have: they come from the lessons and the starter.
"""

import io
import itertools
import json
import keyword
import re
import token
import tokenize
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mnist_steps.assignment.submission import Submission
from mnist_steps.graph import INPUT, Graph

RUN_OF_CODE, RUN_OF_PROSE = 12, 6  # words compared at a time
FEWEST_RUNS = 25  # shorter texts are alike by chance
ALIKE = 0.7  # the share of the smaller text's runs that the other has as well
COMMON = 0.2  # runs that more of the class have, and more than two, come from somewhere else


def structure(graph: Graph) -> list[Any]:
    """The network without its names: equal for networks that compute the same, step by step."""
    places = {INPUT: -1} | {node.name: place for place, node in enumerate(graph.nodes)}
    layers: dict[str, int] = {}
    return [
        [
            node.op,
            [places[one] for one in node.inputs],
            node.attributes,
            None if not node.params else layers.setdefault(node.module or node.name, len(layers)),
        ]
        for node in graph.nodes
    ]


@dataclass(frozen=True)
class Alike:
    """names: of two or more; what: what they have in common, in words"""

    names: tuple[str, ...]
    what: str


def find(files: Mapping[str, Submission], graphs: Mapping[str, Graph]) -> list[Alike]:
    """All that is nearly the same in a class, and not simply equal, the most alike first.

    files, graphs: of each one, by name; a graph is missing where there is no network
    """
    same: dict[str, list[str]] = {}
    for name, graph in graphs.items():
        same.setdefault(json.dumps(structure(graph)), []).append(name)
    found = [
        Alike(tuple(names), "the same network, whatever its layers are called")
        for names in same.values()
        if len({files[name].digest for name in names}) > 1
    ]
    # Of equal files one stands for all.
    distinct = {one.digest: (name, one) for name, one in files.items()}.values()
    code = {name: words_of_code(one.model) for name, one in distinct}
    prose = {name: words_of_prose(one.report) for name, one in distinct}
    for what, words, length in (
        ("the code of model.py", code, RUN_OF_CODE),
        ("the text of REPORT.md", prose, RUN_OF_PROSE),
    ):
        for one, other, share in near_copies(words, length):
            found.append(Alike((one, other), f"{what}, {100 * share:.0f} % of the shorter one"))
    return found


def near_copies(texts: Mapping[str, Sequence[str]], length: int) -> list[tuple[str, str, float]]:
    """Pairs whose words are nearly the same, the most alike first.

    texts: the words of each one, by name, as `words_of_code` or `words_of_prose` give them
    length: of the runs, in words
    Returns (name, other name, the share of the smaller one's own runs that both have).
    """
    runs = {name: _runs(words, length) for name, words in texts.items()}
    holders = Counter(itertools.chain.from_iterable(runs.values()))
    most = max(2, COMMON * len(texts))
    own = {name: {run for run in every if holders[run] <= most} for name, every in runs.items()}
    where: dict[tuple[str, ...], list[str]] = {}
    for name, rare in own.items():
        for run in rare:
            where.setdefault(run, []).append(name)
    shared: Counter[tuple[str, str]] = Counter()
    for names in where.values():
        shared.update(itertools.combinations(sorted(names), 2))
    found = []
    for (one, other), count in shared.items():
        smaller = min(len(own[one]), len(own[other]))
        if count >= FEWEST_RUNS and count >= ALIKE * smaller:
            found.append((one, other, count / smaller))
    return sorted(found, key=lambda pair: (-pair[2], pair))


def words_of_code(source: str) -> list[str]:
    """The program's words, with one for every name and none for comments and layout."""
    words = []
    try:
        for one in tokenize.generate_tokens(io.StringIO(source).readline):
            if one.type == token.NAME and not keyword.iskeyword(one.string):
                words.append("name")
            elif one.type in (token.NAME, token.NUMBER, token.OP):
                words.append(one.string)
            elif one.type == token.STRING:
                words.append("text")
    except (tokenize.TokenError, SyntaxError):
        pass  # of a program that is none, the words before its mistake
    return words


def words_of_prose(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _runs(words: Sequence[str], length: int) -> set[tuple[str, ...]]:
    return {tuple(words[place : place + length]) for place in range(len(words) - length + 1)}
