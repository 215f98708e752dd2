"""The benchmarks: Punchcard beside the bare writes and reads that it cannot avoid, on the same store.

`python -m bench` starts a store, a Redis, an API and a worker of its own in a temporary folder, and prints tables.
docs/benchmarks.md explains the tables.
"""
