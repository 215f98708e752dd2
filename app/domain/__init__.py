"""The rules of Punchcard, pure: no clock, no ids, no I/O, no async. Everything here is a function of its arguments."""
