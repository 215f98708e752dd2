"""Templates of messages: a subject, a text and an HTML part, each a Liquid template."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.domain.errors import Code, refuse_if
from app.domain.ids import message_template_id
from app.domain.values.text import encode_canonical, parse_multiline, parse_text

from .reading import Problems
from .texts import MAX_TEMPLATE_CHARACTERS, TextFault, Texts

MAX_SUBJECT_CHARACTERS = 255
"""Characters of the template of a subject."""


@dataclass(frozen=True, slots=True)
class MessageTemplate:
    """What a message says, as Liquid templates. `subject` is for e-mail and push, `html` for e-mail."""

    text: str
    subject: str | None = None
    html: str | None = None

    def to_json(self) -> dict[str, str]:
        """Return the parts that have a value, by name."""
        parts = {"text": self.text, "subject": self.subject, "html": self.html}
        return {name: part for name, part in parts.items() if part is not None}

    def id_in(self, workspace_id: str, pass_id: str | None = None) -> str:
        """Return the id under which a workspace stores the template, for one pass if it may hold personal data."""
        return message_template_id(workspace_id, pass_id or "", encode_canonical(self.to_json()))


def template_from_json(stored: Mapping[str, str]) -> MessageTemplate:
    """Return the template of stored parts."""
    return MessageTemplate(stored["text"], subject=stored.get("subject"), html=stored.get("html"))


def parse_template(body: Mapping[str, object], *path: str, texts: Texts) -> MessageTemplate:
    """Return the template in the fields `template`, `subject` and `html` of an input.

    Raises Refused with all problems. The problem of a part that does not parse names its position.
    """
    problems = Problems()
    message = "Give the text of the message."
    text = problems.require(
        parse_multiline, body, *path, "template", message=message, max_length=MAX_TEMPLATE_CHARACTERS
    )
    subject = problems.read(parse_text, body.get("subject"), *path, "subject", max_length=MAX_SUBJECT_CHARACTERS)
    html = problems.read(parse_multiline, body.get("html"), *path, "html", max_length=MAX_TEMPLATE_CHARACTERS)
    for name, part in (("template", text), ("subject", subject), ("html", html)):
        fault = None if part is None else texts.find_fault(part)
        if fault is not None:
            problems.add(Code.INVALID, describe_fault(fault), *path, name)
    refuse_if(problems.found)
    return MessageTemplate(text or "", subject=subject, html=html)


def describe_fault(fault: TextFault) -> str:
    """Return the message of a fault, after its position in the template if it has one."""
    position = "" if fault.line is None else f"Line {fault.line}, column {fault.column}: "
    return f"{position}{fault.message}"
