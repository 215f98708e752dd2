"""A model of the flow: the real stages and queries run over a store in memory, in an order that a seed decides."""
