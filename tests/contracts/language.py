"""Extraction of sentences from docstrings, comments and descriptions, for the checks of plain English."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAX_WORDS = 30
RETIRED = re.compile(
    r"\b(courier|ledger|parting|fates?|lanes?|pumps?|strides?|verdicts?|flips?|leavers|whoever|told|tells|foreseen|heirs?|"
    r"settled?|welcome|by which door|judged?|judges|dies|died|set aside|looked at|somebody|nobody|anybody|everybody)\b",
    re.IGNORECASE,
)
"""Words that docs/glossary.md replaces, or that hide the actor of a sentence."""


@dataclass(frozen=True)
class Text:
    """A docstring or a block of comments, with its path and its line."""

    path: str
    line: int
    kind: str
    text: str

    @property
    def where(self) -> str:
        """Path and line, as a message of a check shows them."""
        return f"{self.path}:{self.line}"

    def sentences(self) -> Iterator[str]:
        """Yield the sentences. A code span counts as one word, and a list item starts a new sentence."""
        plain = re.sub(r"```.*?```|``[^`]*``|`[^`]*`", "CODE", self.text, flags=re.DOTALL)
        for block in re.split(r"\n\s*\n|\n\s*(?:[-*>]|\d+\.)\s+|\n\s*\|", plain):
            for sentence in re.split(r"(?<=[.!?:;])\s+(?=[A-Z(`\"'*_])", " ".join(block.split())):
                if sentence:
                    yield sentence


@cache
def texts_of(path: Path) -> tuple[Text, ...]:
    """Return the docstrings and comment blocks of a Python file. Two checks read them, and parsing takes long."""
    return tuple(_find_texts(path))


def _find_texts(path: Path) -> Iterator[Text]:
    source = path.read_text()
    name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            kind = "function" if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) else "class or module"
            if (doc := ast.get_docstring(node)) is not None:
                yield Text(name, getattr(node, "lineno", 1), kind, doc)
        body = getattr(node, "body", None)
        for before, after in pairwise(body if isinstance(body, list) else []):
            value = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else None
            if isinstance(before, (ast.Assign, ast.AnnAssign)) and isinstance(value, str):
                yield Text(name, after.lineno, "attribute", value)
    yield from _comments(name, source)


def _comments(name: str, source: str) -> Iterator[Text]:
    block: list[str] = []
    start = last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        text = re.sub(r"^#:?\s?", "", token.string)
        if re.match(r"(noqa|type:|fmt:|pragma|ruff:|!)", text):
            continue
        if block and token.start[0] != last + 1:
            yield Text(name, start, "comment", "\n".join(block))
            block = []
        start = start if block else token.start[0]
        block.append(text)
        last = token.start[0]
    if block:
        yield Text(name, start, "comment", "\n".join(block))
