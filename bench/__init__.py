"""The benchmarks: Punchcard beside the bare writes and reads that it cannot avoid, on the same store.

`python -m bench` starts a store, a Redis, an API and a worker of its own in a temporary folder, and prints tables.
docs/benchmarks.md explains the tables.
"""

import math

from workers import worker

# A stage that runs in the process of a benchmark is measured up to its end.
worker.MAX_RUN_SECONDS = math.inf
