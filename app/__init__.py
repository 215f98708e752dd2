"""Punchcard records events on passes, keeps aggregates and segments exact, and publishes an activity feed.

`app/flow.py` lists the stages. `docs/explanation/how-events-flow.md` follows an event through the packages.
"""
