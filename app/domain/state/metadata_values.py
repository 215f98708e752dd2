"""Values of the metadata as coordinates of groups: texts, numbers, and true or false, each as JSON text.

Equal numbers have one text, so 10 and 10.0 are one group. The text "10" is another one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal

from app.domain.values.decimals import canonical
from app.domain.values.json_values import keep_numbers
from app.domain.values.paths import Steps, iter_values


def texts_at(metadata: object, steps: Steps) -> Sequence[str | None]:
    """Return the different values at a path, sorted; one None if there is none. Objects are no values."""
    found = {text for value in iter_values(metadata, steps) if (text := _text_of(value)) is not None}
    return sorted(found) or [None]


def value_of(text: str | None) -> object:
    """Return the value of a text of `texts_at`."""
    return None if text is None else keep_numbers(json.loads(text, parse_float=Decimal))


def _text_of(value: object) -> str | None:
    match value:
        case bool() | str():
            return json.dumps(value, ensure_ascii=False)
        case float():
            return canonical(Decimal(repr(value)))
        case int() | Decimal():
            return canonical(Decimal(value))
    return None
