"""Fields of Query that summarize the events of all customers."""

from __future__ import annotations

import strawberry

from .histograms import EventHistogram, event_histogram
from .summaries import EventSummary, event_summary
from .top_passes import TopPasses, top_passes


@strawberry.type
class SummaryQueries:
    """Fields of Query that summarize the events of all customers."""

    event_summary: EventSummary = strawberry.field(resolver=event_summary)
    top_passes: TopPasses = strawberry.field(resolver=top_passes)
    event_histogram: EventHistogram = strawberry.field(resolver=event_histogram)
