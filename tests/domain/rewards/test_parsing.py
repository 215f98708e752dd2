"""Terms of rewards: what is refused, with which code and at which path, and that they read back as they were written."""

from __future__ import annotations

from typing import Any

import pytest

from app.domain.errors import Refused
from app.domain.rewards.codes import ALPHABET, make_code
from app.domain.rewards.parsing import parse_reward
from app.domain.rewards.rewards import Reward
from app.domain.rewards.writing import reward_to_dict

FULL: dict[str, Any] = {
    "pointsCost": "100",
    "criteria": {"segment": {"id": "seg_1"}},
    "limits": {"perPass": {"count": 1, "calendar": "DAY"}, "total": 1000, "perRequest": 2},
    "active": {"from": "2026-01-01T00:00:00Z", "to": "2027-01-01T00:00:00Z"},
    "timezone": "Europe/Berlin",
    "code": {"pattern": "COFFEE-######"},
    "metadata": {"sku": "C1"},
}


def parse(**changes: Any) -> Reward:
    return parse_reward({**FULL, **changes}, "EUR", "UTC")


def test_terms_read_back_as_they_were_written() -> None:
    terms = parse()
    assert parse_reward(reward_to_dict(terms), "XXX", "UTC", stored_meaning=1) == terms


def test_everything_but_the_key_may_be_left_out() -> None:
    assert parse_reward({}, "EUR", "Europe/Paris") == Reward(timezone="Europe/Paris")


@pytest.mark.parametrize(
    ("changes", "code", "path"),
    [
        ({"pointsCost": "-1"}, "OUT_OF_RANGE", "pointsCost"),
        ({"limits": {"total": 0}}, "OUT_OF_RANGE", "limits.total"),
        ({"limits": {"total": 1_000_001}}, "OUT_OF_RANGE", "limits.total"),
        ({"limits": {"perRequest": 1_001}}, "OUT_OF_RANGE", "limits.perRequest"),
        ({"limits": {"perPass": {"calendar": "DAY"}}}, "REQUIRED", "limits.perPass.count"),
        ({"limits": {"perPass": {"count": 101, "calendar": "DAY"}}}, "OUT_OF_RANGE", "limits.perPass.count"),
        ({"active": {"from": "2027-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}}, "OUT_OF_RANGE", "active"),
        ({"code": {"pattern": "FREE-#####"}}, "INVALID", "code.pattern"),
        ({"code": {"pattern": "FREE ######"}}, "INVALID", "code.pattern"),
        ({"code": {"pattern": "ä######"}}, "INVALID", "code.pattern"),
        ({"code": {"pattern": "#" * 41}}, "TOO_LONG", "code.pattern"),
        ({"timezone": "Mars"}, "UNKNOWN", "timezone"),
        ({"metadata": {"a": "x" * 5_000}}, "TOO_LONG", "metadata"),
    ],
)
def test_wrong_term_is_refused_at_its_path(changes: dict[str, Any], code: str, path: str) -> None:
    with pytest.raises(Refused) as refused:
        parse(**changes)
    assert [(problem.code, ".".join(problem.field)) for problem in refused.value.problems] == [(code, path)]


def test_code_follows_from_secret_redemption_and_attempt() -> None:
    code = make_code("A-######-B", b"secret", "red_1", 0)
    assert code == make_code("A-######-B", b"secret", "red_1", 0)
    assert code.startswith("A-")
    assert code.endswith("-B")
    assert set(code[2:8]) <= set(ALPHABET)
    others = {
        make_code("A-######-B", *each)
        for each in ((b"other", "red_1", 0), (b"secret", "red_2", 0), (b"secret", "red_1", 1))
    }
    assert len({code, *others}) == 4
