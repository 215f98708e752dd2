"""Orders of passes are kept within bounds, and no workspace loses its own for another one."""

from __future__ import annotations

import gc
from dataclasses import dataclass

from app.store.kept_orders import LEAST_SIZE, MAX_KEPT_PASSES, MAX_ORDERS, KeptOrders


@dataclass
class Order:
    size: int


def test_order_is_kept_for_its_time() -> None:
    clock = 10.0
    kept = KeptOrders(lambda: clock)
    order = kept.keep("ws", "a", Order(5), 60.0)
    assert kept.get("ws", "a") is order
    assert kept.get("ws", "b") is None
    assert kept.get("other", "a") is None
    clock = 70.0
    assert kept.get("ws", "a") is None
    kept.shrink()
    assert not kept._workspaces


def test_workspace_with_many_orders_loses_its_oldest_and_no_other_workspace_does() -> None:
    kept = KeptOrders(lambda: 0.0)
    kept.keep("small", "a", Order(5), 60.0)
    for number in range(MAX_ORDERS + 2):
        kept.keep("large", number, Order(5), 60.0)
    assert [kept.get("large", number) is None for number in range(4)] == [True, True, False, False]
    assert kept.get("small", "a") is not None
    large = kept.keep("large", "big", Order(1), 60.0)
    large.size = MAX_KEPT_PASSES - 2 * LEAST_SIZE
    kept.shrink()
    assert kept.get("small", "a") is not None
    assert kept.get("large", "big") is large
    assert sum(kept.get("large", number) is not None for number in range(MAX_ORDERS + 2)) == 1
    large.size = MAX_KEPT_PASSES
    kept.shrink()
    assert kept.get("large", "big") is None, "an order that is too large is used once"
    assert kept.get("small", "a") is not None


def test_readers_of_one_order_share_a_lock_that_goes_when_they_have_ended() -> None:
    kept = KeptOrders()
    lock = kept.lock("ws", "a")
    assert kept.lock("ws", "a") is lock
    assert kept.lock("ws", "b") is not lock
    del lock
    gc.collect()
    assert not kept._locks
