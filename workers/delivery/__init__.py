"""Delivery of activities to webhook endpoints."""
