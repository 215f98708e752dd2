"""Sections of commands, read from the click commands in app/cli."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

from app.cli.main import main

from .markdown import block, table

LITERAL = "\b"
"""The mark by which click keeps the lines of a paragraph as they are."""
WIDTH = 200


def commands() -> str:
    """Return a section for each command and for each group of commands; the root comes first."""
    root = click.Context(main, info_name="punchcard", terminal_width=WIDTH, max_content_width=WIDTH)
    return "\n\n".join(_section(context) for context in _walk(root))


def _walk(context: click.Context) -> Iterator[click.Context]:
    """Yield the context of a command, then those of the commands in its group."""
    yield context
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            command = context.command.get_command(context, name)
            assert command is not None
            yield from _walk(click.Context(command, info_name=name, parent=context))


def _section(context: click.Context) -> str:
    usage = context.command.get_usage(context).removeprefix("Usage:").strip()
    parts = [f"## {context.command_path}" if context.parent else "## punchcard", block("text", usage)]
    parts += _paragraphs(inspect.cleandoc(context.command.help or ""))
    if isinstance(context.command, click.Group):
        parts.append(_commands(context, context.command))
    options = [_option(context, each) for each in context.command.params if isinstance(each, click.Option)]
    if options:
        parts.append(table(("option", "default", "meaning"), options))
    return "\n\n".join(parts)


def _paragraphs(text: str) -> Iterator[str]:
    """Yield the paragraphs of a help text as Markdown: examples become blocks whose commands a test checks."""
    for paragraph in text.split("\n\n"):
        if not paragraph.startswith(LITERAL):
            yield " ".join(paragraph.split())
            continue
        title, *lines = paragraph.removeprefix(LITERAL).strip("\n").split("\n")
        language = "sh" if title.startswith("Example") else "text"
        yield title
        yield block(language, "\n".join(line.removeprefix("  ") for line in lines))


def _commands(context: click.Context, group: click.Group) -> str:
    rows = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        path = f"{context.command_path} {name}"
        rows.append((f"[`{path}`](#{path.replace(' ', '-')})", command.get_short_help_str(limit=WIDTH)))
    return table(("command", "what it does"), rows)


def _option(context: click.Context, option: click.Option) -> tuple[str, str, str]:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    text, _, bracket = (option.help or "").partition("  [")
    default = re.sub(r"^default:? ", "", bracket.rstrip("]"))
    if not default and option.show_default:
        default = str(option.default)
    if option.multiple and "repeated" not in text:
        text += " May be repeated."
    if isinstance(option.type, click.IntRange):
        text += f" From {option.type.min:,} to {option.type.max:,}."
    return names + _value(context, option), re.sub(r"^([A-Z_]+), default ", r"`\1`, else ", default) or "–", text


def _value(context: click.Context, option: click.Option) -> str:
    if option.is_flag:
        return ""
    if isinstance(option.type, click.Choice):
        return " " + " or ".join(f"`{choice}`" for choice in option.type.choices)
    return " `INTEGER`" if isinstance(option.type, click.IntRange) else f" `{option.make_metavar(context)}`"
