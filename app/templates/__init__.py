"""Renderer of the Liquid templates in the effects of rules."""
