"""Rollups: sums of the events of an hour, a day or a month, from which answers about all customers are made."""
