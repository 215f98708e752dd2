"""Tests of rewards and redemptions in GraphQL."""
