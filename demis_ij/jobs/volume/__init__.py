"""Stacks of sections, stitched one at a time and solved together."""
