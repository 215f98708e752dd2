"""The business rules of Punchcard, as pure code: no clock, no random ids, no I/O, no async.

Every result depends only on the arguments.
"""
