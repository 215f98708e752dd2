"""Tests of the tier program, without a store."""
