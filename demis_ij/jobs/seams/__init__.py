"""The seams of a run: how well tiles fit where they overlap."""
