"""Punchcard records events on passes, keeps aggregates and segments exact, and publishes an activity feed.

`app/flow.py` is the table of the stages. `docs/explanation/how-events-flow.md` follows an event through the packages.
"""
