"""Tests of rewards, without a store."""
