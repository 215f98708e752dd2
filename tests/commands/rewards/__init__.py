"""Tests of the commands about rewards."""
