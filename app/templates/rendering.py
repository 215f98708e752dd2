"""Liquid templates: texts that show values, without clock, files, chance or unbounded work.

python-liquid bounds loops, output and the sizes of variables, but not the work of a filter, a range or a long condition.
So this module counts steps itself, offers its own filters, and refuses tags that are too long. Equal templates and values
give equal texts or equal faults on every machine: nothing depends on time, on the depth of the stack, or on a locale.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from liquid import BoundTemplate, Environment, Mode, RenderContext
from liquid.ast import Node
from liquid.builtin import content, illegal, output
from liquid.builtin.expressions.filtered import Filter
from liquid.builtin.expressions.primitive import IntegerLiteral, RangeLiteral
from liquid.builtin.tags import (
    assign_tag,
    capture_tag,
    case_tag,
    comment_tag,
    echo_tag,
    for_tag,
    if_tag,
    inline_comment_tag,
    unless_tag,
)
from liquid.exceptions import LiquidError, LiquidSyntaxError, OutputStreamLimitError
from liquid.expression import Expression
from liquid.token import Token
from liquid.undefined import FalsyStrictUndefined, Undefined

from app.domain.rules.texts import MAX_STEPS, MAX_TEMPLATE_CHARACTERS, MAX_TEXT_BYTES, TextFault, has_markup

from .filters import FILTERS, TooMuchWork

MAX_TAG_CHARACTERS = 500
"""Characters of one output or tag. It bounds the recursion of conditions, and the work of one step."""
MAX_RANGE = 1_000
"""Numbers in one range, such as (1..10)."""
MAX_PARSED = 500
"""Parsed templates that a process keeps. The densest one takes 0.4 MB, a usual one 2 KB."""
_TAG_CHARACTERS_PER_STEP = 64
_VALUE_CHARACTERS_PER_STEP = 256
_OPENING = re.compile(r"\{[{%]")


class _Context(RenderContext):
    """Context of one rendering, which counts its steps."""

    def __init__(self, template: BoundTemplate, **options: Any) -> None:
        self.steps_left = MAX_STEPS
        self._node_steps = getattr(template, "node_steps", 1)
        super().__init__(template, **options)

    @property
    def disabled_tags(self) -> list[str]:
        """No tags. Each node reads this once when it is rendered (python-liquid 2.3.6), so the step is counted here."""
        self.charge(self._node_steps)
        return []

    @disabled_tags.setter
    def disabled_tags(self, value: list[str]) -> None:
        pass

    def charge(self, steps: int) -> None:
        """Count steps. Raises TooMuchWork when too many are taken."""
        self.steps_left -= steps
        if self.steps_left < 0:
            raise TooMuchWork(f"The template takes more than {MAX_STEPS:,} steps; shorten its loops.", token=None)

    def get(self, path: list[object], **options: Any) -> object:
        """Return the value at a path, and count a step for each part of a long value."""
        found = super().get(path, **options)
        self.charge(_size_steps(found))
        return found

    def filter(self, name: str, token: Token | None) -> Callable[..., object]:
        """Return a filter that counts its steps and whose result is bounded."""
        apply = super().filter(name, token)

        def counted(value: object, *args: object, **options: object) -> object:
            self.charge(1 + _size_steps(value) + sum(map(_size_steps, args)))
            result = apply(value, *args, **options)
            if isinstance(result, str) and len(result) > MAX_TEXT_BYTES:
                raise TooMuchWork(f"The filter '{name}' returns more than {MAX_TEXT_BYTES:,} characters.", token=token)
            return result

        return counted


class _Template(BoundTemplate):
    context_class = _Context
    node_steps = 1


def _size_steps(value: object) -> int:
    if isinstance(value, Undefined):
        return 0
    return len(value) // _VALUE_CHARACTERS_PER_STEP if isinstance(value, (str, list, tuple, Mapping)) else 0


class _Liquid(Environment):
    """Environment with the tags and filters that depend on nothing but values."""

    template_class = _Template
    output_stream_limit = MAX_TEXT_BYTES
    loop_iteration_limit = MAX_STEPS
    local_namespace_limit = 10 * MAX_TEXT_BYTES

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        """Add the tags and filters."""
        for tag in _TAGS:
            self.add_tag(tag)
        for name, apply in FILTERS.items():
            self.add_filter(name, apply)

    def error(self, exc: Any, msg: str | None = None, token: Token | None = None) -> None:
        """Raise the error, with the position of its tag if it has none, as for a tag that ends too early."""
        if isinstance(exc, LiquidError) and (exc.token is None or exc.token.start_index < 0):
            exc.token = token
        super().error(exc, msg, token)


_TAGS = (
    content.Literal, output.Output, illegal.Illegal, if_tag.IfTag, unless_tag.UnlessTag, case_tag.CaseTag, for_tag.ForTag,
    for_tag.BreakTag, for_tag.ContinueTag, assign_tag.AssignTag, capture_tag.CaptureTag, comment_tag.CommentTag,
    inline_comment_tag.InlineCommentTag, echo_tag.EchoTag,
)  # fmt: skip


class LiquidTexts:
    """Renderer of Liquid templates; see `app.domain.rules.texts.Texts`."""

    def find_fault(self, template: str) -> TextFault | None:
        """Return why the template does not parse, with its position; None if it does."""
        parsed = _parse(template)
        return parsed if isinstance(parsed, TextFault) else None

    def render(self, template: str, values: Mapping[str, object]) -> str | TextFault:
        """Return the text of a template, or why it cannot be rendered. Never raises."""
        if not has_markup(template):
            return template
        parsed = _parse(template)
        if isinstance(parsed, TextFault):
            return parsed
        try:
            return parsed.render(values)
        except OutputStreamLimitError:
            return TextFault(f"The text is longer than {MAX_TEXT_BYTES:,} bytes.")
        except LiquidError as error:
            return _fault(error, template)
        except Exception as error:  # noqa: BLE001 - values of any shape meet operators of any kind
            return TextFault(f"The template cannot be rendered with these values ({type(error).__name__}).")


@lru_cache(maxsize=MAX_PARSED)
def _parse(template: str) -> BoundTemplate | TextFault:
    fault, longest = _check_tags(template)
    if fault is not None:
        return fault
    try:
        parsed = _ENVIRONMENT.from_string(template)
        for expression in _iter_expressions(parsed.nodes):
            if isinstance(expression, RangeLiteral):
                _check_range(expression)
            elif isinstance(expression, Filter) and expression.name not in FILTERS:
                message = f"There is no filter '{expression.name}'. Use one of {', '.join(sorted(FILTERS))}."
                raise LiquidSyntaxError(message, token=expression.token)
    except LiquidError as error:
        return _fault(error, template)
    assert isinstance(parsed, _Template)
    parsed.node_steps = 1 + longest // _TAG_CHARACTERS_PER_STEP
    return parsed


def _check_tags(template: str) -> tuple[TextFault | None, int]:
    """Return what is wrong with the outputs and tags as such, and the length of the longest one.

    The lexer of python-liquid takes cubic time for openings that are never closed, so it never sees them.
    """
    if len(template) > MAX_TEMPLATE_CHARACTERS:
        message = f"The template has {len(template):,} characters; give at most {MAX_TEMPLATE_CHARACTERS:,}."
        return TextFault(message), 0
    position = longest = 0
    while (opening := _OPENING.search(template, position)) is not None:
        start, closing = opening.start(), "}}" if opening.group() == "{{" else "%}"
        end = template.find(closing, opening.end())
        if end < 0:
            return _fault_at(f"'{opening.group()}' is not closed; add '{closing}'.", template, start), 0
        position = end + len(closing)
        longest = max(longest, position - start)
        if longest > MAX_TAG_CHARACTERS:
            message = f"This tag has more than {MAX_TAG_CHARACTERS} characters; split it, for example with 'assign'."
            return _fault_at(message, template, start), 0
    return None, longest


def _check_range(expression: RangeLiteral) -> None:
    bounds = expression.start, expression.stop
    numbers = [int(each.value) for each in bounds if isinstance(each, IntegerLiteral)]
    if len(numbers) < len(bounds) or numbers[1] - numbers[0] >= MAX_RANGE:
        message = f"Give a range two whole numbers that lie less than {MAX_RANGE:,} apart, for example (1..10)."
        raise LiquidSyntaxError(message, token=expression.token)


def _iter_expressions(nodes: Iterable[Node]) -> Iterator[Expression | Filter]:
    for node in nodes:
        for expression in node.expressions():
            yield from _iter_parts(expression)
        yield from _iter_expressions(node.children(_NO_CONTEXT))


def _iter_parts(expression: Expression) -> Iterator[Expression | Filter]:
    yield expression
    yield from getattr(expression, "filters", None) or ()
    for part in expression.children():
        yield from _iter_parts(part)


def _fault(error: LiquidError, template: str) -> TextFault:
    message = str(error.args[0]) if error.args else type(error).__name__
    message = message[:1].upper() + message[1:]
    if not message.endswith("."):
        message += "."
    token = error.token
    if token is None or token.start_index < 0:
        return TextFault(message)
    # Tokens inside a tag may be counted from the start of its expression.
    start = token.start_index if token.source == template else template.find(token.source) + token.start_index
    return _fault_at(message, template, max(0, min(start, len(template))))


def _fault_at(message: str, template: str, position: int) -> TextFault:
    before = template[:position]
    return TextFault(message, before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1)


_ENVIRONMENT = _Liquid(tolerance=Mode.STRICT, undefined=FalsyStrictUndefined, strict_filters=True)
_NO_CONTEXT = RenderContext(BoundTemplate(_ENVIRONMENT, []))
"""Context for listing the parts of a template, which reads no values."""
