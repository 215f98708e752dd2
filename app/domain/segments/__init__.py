"""Segments: their criteria and definitions, the evaluation of passes, and the causes of transitions."""
