"""The part `find`: the time of the list `passes` over HTTP, by searches and filters, in a workspace of many customers."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from functools import partial

from app.domain.events.events import Category
from app.domain.passes.passes import Membership, Pass, Profile
from app.domain.state.aggregates import Aggregate
from app.domain.values.instants import to_ms
from app.graphql.types.ids import to_global_id
from app.store.mongo.ids import new_id

from .http import Client
from .stock import Stock
from .timing import Processes, Side, timed

FIND = """query Find($filter: PassFilter, $orderBy: PassOrder) {
  passes(filter: $filter, orderBy: $orderBy, first: 20) { nodes { id externalId holder { name email phone } } } }"""
SYLLABLES = (
    "an",
    "be",
    "chri",
    "da",
    "el",
    "fra",
    "gi",
    "ha",
    "jo",
    "ka",
    "li",
    "mo",
    "ni",
    "o",
    "ra",
    "sa",
    "sto",
    "wei",
)
SEGMENT = "seg_bench"
"""Segment of every fiftieth customer."""


class Customers:
    """Generated customers, and questions that find some of them."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._chance = random.Random(15)
        self._names = [self._word(3) for _ in range(2_000)]

    def _word(self, longest: int) -> str:
        return "".join(self._chance.choices(SYLLABLES, k=self._chance.randint(2, longest))) + self._chance.choice(
            "nrst"
        )

    def build(self, stock: Stock, index: int) -> Pass:
        """Return a customer with a name, an address, a telephone number, points and a last event."""
        chance, now = random.Random(index), stock.definitions.versions[-1].at
        first, last = chance.choice(self._names), chance.choice(self._names)
        phone = f"+49 17{chance.randrange(10)} {self.digits(index)}"
        profile = Profile({"name": f"{first} {last}".title(), "email": f"{first}.{index}@mail.example", "phone": phone})
        age_minutes = chance.randrange(500_000)
        seen_ms = to_ms(now - timedelta(minutes=chance.randrange(age_minutes + 1)))
        row = Aggregate(Category.ACTIVITY, 3, Decimal(0), min=None, max=None, first_ms=seen_ms, last_ms=seen_ms)
        created = now - timedelta(minutes=age_minutes)
        return Pass(
            id=new_id("pass"), workspace_id=stock.ctx.workspace.id, external_id=f"customer-{index}",
            initial_profile=profile, profile=profile, installed_at=None, created_at=created, updated_at=created,
            evaluated_until_ms=to_ms(now), revision=stock.definitions.revision, points=Decimal(chance.randrange(1_000)),
            aggregates={("visit", None): row}, write_id=new_id("fid"), searchable=(),
            memberships={} if index % 50 else {SEGMENT: Membership(SEGMENT, 1, 1, {})},
        )  # fmt: skip

    def digits(self, index: int) -> str:
        """Return the telephone number of a customer, without the codes of country and network."""
        return f"{(index * 7_919 + 1_000_003) % 9_000_000 + 1_000_000}"

    def questions(self) -> dict[str, Callable[[], dict[str, object]]]:
        """Return by title what makes the variables of one question."""
        chance = self._chance

        def index() -> int:
            return chance.randrange(self.number)

        def search(text: str, **order: object) -> dict[str, object]:
            return {"filter": {"search": text}, **({"orderBy": order} if order else {})}

        def name() -> str:
            return chance.choice(self._names)

        segment = {"segmentIds": [to_global_id("Segment", SEGMENT)]}
        return {
            "search: a first and a last name": lambda: search(f"{name()} {name()}"),
            "search: one name, ordered by name": lambda: search(name(), field="NAME", direction="ASC"),
            "search: three letters of a name": lambda: search(name()[:3]),
            "search: two letters of a name": lambda: search(name()[:2]),
            "search: two letters, ordered by name": lambda: search(name()[:2], field="NAME", direction="ASC"),
            "search: a telephone number": lambda: search(f"017{chance.randrange(10)} {self.digits(index())}"),
            "search: its last four digits": lambda: search(self.digits(index())[-4:]),
            "search: an e-mail address": lambda: search(f"{name()}.{index()}@mail.example"),
            "search: an external id": lambda: search(f"customer-{index()}"),
            "members of a segment by points": lambda: {
                "filter": {**segment, "pointsMin": 500}, "orderBy": {"field": "POINTS", "direction": "DESC"},
            },
            "newest customers": dict,
            "newest customers with few points": lambda: {"filter": {"pointsMax": 100}},
            "last seen": lambda: {"orderBy": {"field": "LAST_EVENT"}, "filter": {"status": "ACTIVE"}},
        }  # fmt: skip


async def store_customers(stock: Stock, number: int) -> Customers:
    """Store generated customers, and return them."""
    customers = Customers(number)
    for start in range(0, number, 500):
        batch = [customers.build(stock, index) for index in range(start, min(start + 500, number))]
        await stock.ctx.workspace.passes.insert(batch)
    return customers


async def measure_finding(customers: Customers, client: Client, processes: Processes, times: int) -> list[Side]:
    """Measure the seconds of each kind of question. Calls are sent one at a time."""
    sides = list[Side]()
    for title, question in customers.questions().items():
        side = Side(title)
        for run in range(times + 3):
            body = client.body(FIND, question())
            # The first answers include the reading of definitions.
            await timed(side if run >= 3 else Side(title), processes, partial(client.ask, body))
        sides.append(side)
    return sides
