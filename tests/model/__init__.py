"""A model of the flow: the real stages and queries over a store in memory, every step of it taken when a seed says so."""
