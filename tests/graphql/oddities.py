"""Values from which the tests build malformed operations: valid ones, nearly valid ones and invalid ones."""

from __future__ import annotations

import io
from decimal import Decimal
from typing import Any

from starlette.datastructures import UploadFile

from app.domain.values.cursors import encode_cursor


def nest(depth: int, *, keys: bool) -> Any:
    """Return a value of so many nested objects, or lists if `keys` is false."""
    value: Any = 1
    for _ in range(depth):
        value = {"a": value} if keys else [value]
    return value


INTEGERS = (0, 1, -1, 2, 7, 50, 250, 251, 1_001, 2**31 - 1, 2**31, -(2**31), 2**53, 2**63, 10**30)
WORDS = (
    "", " ", "a", "ann", "purchase", "check_in", "USD", "EUR", "till", "$where", "a.b", ".", "..", "a..b", "$",
    "a.$b", "id",
    "../../etc/passwd", "fields.x", "metadata.", "metadata.store", "tier", "createdAt", "read", "admin", "pass_1",
    "rm:pass_1",
    "UGFzczpwYXNzXzE=", "bm9uZQ==", "Event:rm:x", "__proto__", "%00", "{{x}}", "*", "-", "[", "\\", "(", "/a/b",
    "$.a[0].b",
    "$.events[*]", "a\nb: c", "x" * 256, "x" * 5_000, "https://127.0.0.1/hook", "http://127.0.0.1:1/",
    "https://[::1", "//x",
)  # fmt: skip
UNICODE = (
    "\x00", "a\x00b", "\ud800", "\udfff\ud800", "é" * 300, "\ufeffa", "\u2028", "\u202eevil", "\u200b", "e\u0301",
    "👩‍👩‍👧", "𝒳" * 200,
    "\x1b[31m", "ı", "ﬃ", "１２", "١٢", "١.٥", "\uffff", "\U0010ffff",
)  # fmt: skip
INSTANTS = (
    "2026-01-01T00:00:00Z", "2026-13-01", "9999-12-31T23:59:59.999Z", "0001-01-01T00:00:00Z", "2026-02-30T00:00:00Z",
    "2026-01-01T24:00:00Z", "2026-01-01T00:00:60Z", "2026-01-01T00:00:00+99:99", "2026-01-01T00:00:00-23:59",
    "2026-W01-1T00:00:00Z",
    "0000-01-01T00:00:00Z", "+275760-09-13T00:00:00Z", "2026-01-01T00:00:00.123456789Z",
    "2199-12-31T23:59:59.9999999Z",
    "1900-01-01T00:00:00+14:00", "2026-01-01", "00:00", "1767225600000", "P1D",
)  # fmt: skip
DECIMALS = (
    "12.50", "-0", "NaN", "Infinity", "1e400", "1E-400", "9" * 40, "0.000001", "0.0000001", "999999999999999.999999",
    "+5",
    ".5", "5.", "1_000", "0x10", " 1", "1e15", "1e9999999999", "-999999999999999", "1,5",
)  # fmt: skip
ZONES = (
    "UTC", "Mars/Olympus", "Europe/Zurich", "Europe", "localtime", "zone.tab", "tzdata.zi", "+01:00", "Europe/",
    "/etc/localtime",
)  # fmt: skip
CURSORS = (
    encode_cursor("event", 0, ""), encode_cursor("event", -(2**43), "x"), encode_cursor("event", 2**43 - 1, "z"),
    encode_cursor("activity", 0), encode_cursor("activity", 2**43 - 1), encode_cursor("pass", 2**43 - 1, "x"), "AQ",
    "AVtd",
)  # fmt: skip
TEXTS = (*WORDS, *UNICODE, *INSTANTS, *DECIMALS, *ZONES, *CURSORS)
NUMBERS = (
    0, 1, -1, Decimal("12.5"), Decimal("1e308"), Decimal("5e-324"), Decimal("1e400"), Decimal("-0.0"), Decimal("1E-7"),
    10**18, 10**40,
    -(10**15), float("inf"), float("-inf"), float("nan"), True, False, *DECIMALS,
)  # fmt: skip
JSON_VALUES: tuple[Any, ...] = (
    None, [], {}, [[]], [None], {"a": {"b": [1, {"c": None}]}}, {"$gt": 1}, {"": 1}, {"a.b": 1}, {"\x00": 1},
    {"\ud800": 1},
    {"a": "\ud800"}, {"a": float("nan")}, {"a": Decimal("1e400")}, {"a": 10**30}, {"__proto__": {}}, {"k" * 300: 1},
    1, "x",
    nest(20, keys=True), nest(90, keys=True), nest(400, keys=True), nest(400, keys=False), list(range(300)),
    {f"k{n}": n for n in range(300)}, {"items": [{"sku": "a", "n": 1}, {"sku": None}]}, {"a": "x" * 40_000},
)  # fmt: skip
FILES = (
    b"", b"\x00", b"\xff\xfe\x00", b"\xef\xbb\xbf", b"a", b"\n\n\n", b"a,a\n1,2\n", b'"unclosed\n',
    b"\x1f\x8b\x08\x00",
    b"passExternalId,type,amount\nann,purchase,1\n", b"passExternalId,type\n" + b"x" * 70_000, b"a" * 70_000,
    b",,,\n" * 50,
    b'{"passExternalId": "ann", "type": "purchase"}\n', b"[" * 5_000 + b"\n", b'{"a":' * 3_000 + b"\n",
    b"null\n1\n[]\n{}\n",
    "type;été\n".encode("cp1252"), "passExternalId,type\n\ud800,x\n".encode("utf-8", "surrogatepass"),
)  # fmt: skip
PLAUSIBLE: dict[str, tuple[Any, ...]] = {
    "type": ("purchase", "purchase", "refund", "check_in", "field_updated", "field_increment", "tasting", "new.type"),
    "amount": ("12.50", 3, Decimal("0.1")), "currency": ("USD", "EUR"), "points": (5, "-2.5"), "occurredAt": INSTANTS[:1],
    "passExternalId": ("ann", "bob", "cleo"), "externalId": ("1", "2", "3", "4", "ann", "bob"), "source": ("till", "shop"),
    "metadata": ({"store": "north"}, {"wine": {"name": "x"}}, {"gate": 4}), "fieldName": ("tier", "size"),
    "newValue": ("1", "gold"), "occurredAfter": ("2025-01-01T00:00:00Z",), "occurredBefore": ("2027-01-01T00:00:00Z",),
    "timezone": ("UTC", "Europe/Zurich"), "key": ("buyers", "tasting", "other"), "name": ("A name",), "label": ("A label",),
    "types": ("purchase", "check_in"), "scopes": ("read", "write"), "path": ("store", "wine.name", "customer.id"),
    "field": ("amount", "points", "metadata.n"), "first": (1, 3, 50), "last": (2,), "idempotencyKey": ("k", "other"),
    "mapping": ({"fields": {"passExternalId": "id", "type": {"value": "purchase"}}},), "operator": ("EQ", "GTE"),
    "value": ("1", 2), "days": (1, 30),
}  # fmt: skip
"""Values that a client may well write in the field or the argument of that name."""
NAMES = ("a.csv", "", "a.jsonl", "../a", "\x00", "é" * 200, "a.csv\r\nx: y", None)


def create_upload(number: int) -> UploadFile:
    """Return an upload that has one of the FILES as its content, and one of the NAMES."""
    content = FILES[number % len(FILES)]
    return UploadFile(io.BytesIO(content), size=len(content), filename=NAMES[number % len(NAMES)])
