"""Tests of the tier program in GraphQL."""
