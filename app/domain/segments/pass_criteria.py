"""Criteria on the pass itself: the fields that they compare, the kinds of their values, and their parser."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from functools import cached_property

from app.domain.errors import Code, InvalidInput, Refused
from app.domain.passes.passes import KINDS, STATUSES
from app.domain.values.conditions import (
    COMPARISONS,
    MEANING,
    ORDERED,
    POSITIVE,
    VALUELESS,
    Operator,
    PathTest,
    Test,
    check_steps,
    make_path_test,
    make_test,
    parse_operand,
    parse_operator,
)
from app.domain.values.decimals import canonical, parse_decimal, read_number
from app.domain.values.instants import parse_instant
from app.domain.values.paths import Steps, split_path
from app.domain.values.spelling import did_you_mean
from app.domain.values.text import parse_text


class Kind(Enum):
    """Kind of the values of a field. Values are compared only with values of their kind."""

    NUMBER = "a number"
    INSTANT = "an instant"
    TEXT = "a text"
    BOOLEAN = "true or false"
    ANY = "a value"


FIELDS: Mapping[str, Kind] = {
    "pointsBalance": Kind.NUMBER,
    "tier": Kind.TEXT,
    "status": Kind.TEXT,
    "kind": Kind.TEXT,
    "createdAt": Kind.INSTANT,
    "installedAt": Kind.INSTANT,
    "updatedAt": Kind.INSTANT,
    "externalId": Kind.TEXT,
}
"""The fields of every pass.

Beside them, criteria compare `fields.<name>`, `metadata.<path>`, `holder.<name>` and `consent.<key>`.
"""
CONSENT = "consent."
"""Beginning of a field that is a consent: true if it is given, false if it was taken back, else absent."""
CHOICES: Mapping[str, Sequence[str]] = {"status": STATUSES, "kind": KINDS}
"""The fields that have one of a few values in every pass."""
ROOTS: Mapping[str, Kind] = {"fields": Kind.ANY, "metadata": Kind.ANY, "holder": Kind.TEXT}
HOLDER = ("name", "email", "phone")
"""The values that are known of a holder."""
RELATIVE_DATE_ADVICE = 'For a time relative to now, use an event criterion with DAYS_SINCE_LAST, or "within".'


@dataclass(frozen=True)
class PassCriterion:
    """Comparison `field operator value` on the pass itself.

    `meaning` is that of the comparison, as the definition was stored with it.
    """

    field: str
    operator: Operator
    value: object
    meaning: int = MEANING

    @cached_property
    def root(self) -> str:
        """The part of the profile that the field lies in: "fields", "metadata" or "holder"; empty for other fields."""
        root, _, rest = self.field.partition(".")
        return root if rest and root in ROOTS else ""

    @property
    def consent_key(self) -> str | None:
        """The key of the consent that the field is; None for other fields."""
        return self.field.removeprefix(CONSENT) if self.field.startswith(CONSENT) else None

    @cached_property
    def steps(self) -> Steps:
        """The path of the value below `root`; empty for other fields."""
        return split_path(self.field.partition(".")[2]) if self.root else ()

    @property
    def kind(self) -> Kind:
        """The kind of the field's values."""
        if self.consent_key is not None:
            return Kind.BOOLEAN
        return ROOTS[self.root] if self.root else FIELDS.get(self.field, Kind.ANY)

    @cached_property
    def test(self) -> Test:
        """The test of one value, for the operator or for the operator that it is the opposite of."""
        if self.kind is Kind.NUMBER:
            return _make_typed_test(self.operator, self.value, read_number)
        if self.kind is Kind.INSTANT:
            return _make_typed_test(self.operator, self.value, _read_instant)
        return make_test(self.operator, self.value)

    @cached_property
    def path_test(self) -> PathTest:
        """The same test of all values of a path below `root`."""
        return make_path_test(self.operator, self.value)

    def to_dict(self) -> dict[str, object]:
        """Return the criterion as the store and the API write it."""
        value = list(self.value) if isinstance(self.value, tuple) else self.value
        return {"pass": {"field": self.field, "operator": self.operator.value, "value": value}}


def _make_typed_test(operator: Operator, operand: object, read: Callable[[object], object]) -> Test:
    """Return the test of a number or an instant. Operands that are none equal nothing and have no order."""
    operator = POSITIVE.get(operator, operator)
    if operator is Operator.EXISTS:
        return lambda _: True
    operands = [read(each) for each in (operand if isinstance(operand, tuple) else (operand,))]
    known = frozenset(each for each in operands if each is not None)
    if operator not in ORDERED:
        return lambda value: operator is not Operator.CONTAINS and value in known
    compare, bound = COMPARISONS[operator], operands[0]
    return lambda value: bound is not None and compare(value, bound)


def _read_instant(value: object) -> datetime | None:
    try:
        return parse_instant(value)
    except Refused:
        return None


def parse_pass_criterion(
    body: Mapping[str, object], path: tuple[str, ...], *, stored_meaning: int | None = None
) -> PassCriterion:
    """Return the criterion of {field, operator, value}. Raises InvalidInput.

    A stored criterion has the meaning that it was stored with. It was checked then, and later rules do not apply to it.
    """
    name = parse_text(body.get("field"), *path, "field", max_length=200)
    root, _, rest = name.partition(".")
    if name not in FIELDS and not ((root in ROOTS or name.startswith(CONSENT)) and rest):
        advice = "Give fields.<name>, metadata.<path>, holder.<name>, consent.<key>, or one of "
        advice += f"{', '.join(sorted(FIELDS))}.{did_you_mean(name, FIELDS)}"
        raise InvalidInput(Code.UNKNOWN, advice, *path, "field")
    operator = parse_operator(body.get("operator", "EQ"), *path, "operator")
    value = body.get("value")
    if stored_meaning is not None:
        operand = parse_operand(value, operator, *path, "value", is_stored=True)
        return PassCriterion(name, operator, operand, meaning=stored_meaning)
    if FIELDS.get(name) in (Kind.NUMBER, Kind.INSTANT) and operator is Operator.CONTAINS:
        message = f"{name} is {FIELDS[name].value}, and only texts contain something; give another operator."
        raise InvalidInput(Code.UNSUPPORTED, message, *path, "operator")
    if name == "pointsBalance":
        value = _write_numbers(value, operator, *path, "value")
    found = PassCriterion(name, operator, parse_operand(value, operator, *path, "value"))
    if found.root:
        check_steps(found.steps, *path, "field")
    if root == "holder" and rest not in HOLDER:
        raise InvalidInput(Code.UNKNOWN, f"A holder has no '{rest}'; give one of {', '.join(HOLDER)}.", *path, "field")
    _check_kind(found, path)
    return found


def _write_numbers(raw: object, operator: Operator, *at: str) -> object:
    """Return exact numbers in the form in which they are stored: whole ones as integers, others as text."""
    if isinstance(raw, (list, tuple)):
        return [_write_numbers(each, operator, *at, str(index)) for index, each in enumerate(raw)]
    if raw is None or operator in VALUELESS:
        return None
    number = parse_decimal(raw, *at)
    return int(number) if number == number.to_integral_value() else canonical(number)


def _check_kind(found: PassCriterion, path: tuple[str, ...]) -> None:
    """Raise InvalidInput if the value does not fit the kind of the field, so that the criterion would never hold."""
    kind = found.kind
    operands = found.value if isinstance(found.value, tuple) else (found.value,)
    for index, operand in enumerate(operands):
        at = (*path, "value", str(index)) if isinstance(found.value, tuple) else (*path, "value")
        if found.operator in VALUELESS or _fits(operand, found):
            continue
        if kind is Kind.INSTANT:
            message = f"'{operand}' is not an instant of the years 1900 to 2199. Give RFC 3339: 2026-01-31T09:30:00Z."
            raise InvalidInput(Code.INVALID, f"{message} {RELATIVE_DATE_ADVICE}", *at)
        if found.field in CHOICES:
            choices = ", ".join(CHOICES[found.field])
            raise InvalidInput(Code.UNKNOWN, f"No pass has the {found.field} '{operand}'; give one of {choices}.", *at)
        raise InvalidInput(Code.INVALID, f"{found.field} is {kind.value}; compare it with {kind.value}.", *at)


def _fits(operand: object, found: PassCriterion) -> bool:
    if found.field in CHOICES and found.operator not in ORDERED | {Operator.CONTAINS}:
        return operand in CHOICES[found.field]
    match found.kind:
        case Kind.NUMBER:
            return isinstance(read_number(operand), Decimal)
        case Kind.INSTANT:
            return _read_instant(operand) is not None
        case Kind.TEXT:
            return isinstance(operand, str)
        case Kind.BOOLEAN:
            return isinstance(operand, bool)
    return True
