"""A run done anew where something has changed."""
