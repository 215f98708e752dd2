"""The kill harness: real processes under load, killed at random, and everything recomputed afterwards.

`python -m tests.crash --seconds 600 --seed 7` runs it by hand; `tests/scenarios/test_crashes.py` runs it for a short while.
"""
