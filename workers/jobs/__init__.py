"""Long jobs: imports, exports, removals, replays."""
