"""Insights: answers to questions about all customers, computed from their events. They are pure."""
