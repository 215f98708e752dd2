"""Tests of effects outside passes in GraphQL."""
