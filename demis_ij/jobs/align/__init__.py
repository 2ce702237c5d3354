"""Stacks of sections aligned into a run folder."""
