"""Markdown as the generated sections write it: tables, blocks and code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table. A cell may hold Markdown; bars and line breaks in it are escaped."""
    lines = [list(header), ["---"] * len(header), *(list(row) for row in rows)]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def code(text: str) -> str:
    """Return the text as inline code; a dash if it is empty."""
    return f"`{text}`" if text else "–"


def block(language: str, text: str) -> str:
    """Return a fenced block of code."""
    return f"```{language}\n{text.rstrip()}\n```"


def capitalized(text: str) -> str:
    """Return the text with a capital at its start."""
    return f"{text[:1].upper()}{text[1:]}"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", r"\|").split())
