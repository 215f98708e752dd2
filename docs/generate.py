"""Generator of the pages in docs/reference. Run `.venv/bin/python docs/generate.py`, with `--check` to compare only.

Each page is a template in docs/reference_pages/templates. The code fills in its values, tables and examples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import click

from reference_pages import activity_producers, codes, payload_schema, payloads
from reference_pages.commands import commands
from reference_pages.settings import settings
from reference_pages.template import Section, fill

FOLDER = Path(__file__).parent / "reference"
SECTIONS: Mapping[str, Section] = {
    "settings": settings,
    "commands": commands,
    "top_level_errors": codes.top_level_errors,
    "document_status": codes.document_status,
    "user_errors": codes.user_errors,
    "outcomes": codes.outcomes,
    "throttled_example": codes.throttled_example,
    "problems_example": codes.problems_example,
    "preflight_headers": codes.preflight_headers,
    "members": payloads.members,
    "example": payloads.example,
    "signature_example": payloads.signature_example,
    "example_secret": payloads.example_secret,
    "activity_types": payloads.activity_types,
    "activity_producers": activity_producers.producers,
    "message_types": payloads.message_types,
}
"""The function that each name in a placeholder calls."""

TEMPLATES = ("settings.md", "cli.md", "errors-and-codes.md", "limits.md", "webhook-payloads.md", "activity-types.md")
PAGES: Mapping[str, Callable[[], str]] = {
    **{name: partial(fill, name, SECTIONS) for name in TEMPLATES},
    payload_schema.FILE: payload_schema.document,
}
"""The file name of each page, and the function that returns its text."""


def outdated() -> list[str]:
    """Return the names of pages that are missing or differ from the code."""
    paths = {name: FOLDER / name for name in PAGES}
    return [name for name, path in paths.items() if not path.exists() or path.read_text() != PAGES[name]()]


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; exit with status 1 if a page differs from the code.")
def main(check: bool) -> None:
    """Write the pages in docs/reference."""
    names = outdated()
    if check and names:
        raise click.ClickException(f"Pages differ from the code: {', '.join(names)}. Run docs/generate.py.")
    FOLDER.mkdir(exist_ok=True)
    for name in names:
        (FOLDER / name).write_text(PAGES[name]())
    click.echo(f"{len(names)} of {len(PAGES)} pages differed from the code{' and were written' if names else ''}.")


if __name__ == "__main__":
    main()
