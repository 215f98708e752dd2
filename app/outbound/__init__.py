"""Requests to addresses that callers name: guarded HTTP client and webhook sender."""
