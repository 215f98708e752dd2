"""Fields of Query that answer questions about customers."""

from __future__ import annotations

import strawberry

from .customer_values import RecencyFrequencyMonetary, recency_frequency_monetary
from .funnels import FunnelResult, funnel
from .retention import Retention, retention
from .returns import ReturnRate, return_rate


@strawberry.type
class CustomerInsightQueries:
    """Fields of Query that answer questions about customers."""

    return_rate: ReturnRate = strawberry.field(resolver=return_rate)
    retention: Retention = strawberry.field(resolver=retention)
    recency_frequency_monetary: RecencyFrequencyMonetary = strawberry.field(resolver=recency_frequency_monetary)
    funnel: FunnelResult = strawberry.field(resolver=funnel)
