"""Explanations: why a pass is in a segment or not, until when, and the sentence that says so."""
