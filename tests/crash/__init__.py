"""The crash harness: real processes run under load and are killed at random; then everything is recomputed.

`python -m tests.crash --seconds 600 --seed 7` runs it by hand. `tests/scenarios/test_crashes.py` runs it briefly.
"""
