"""Data and a network in, weights out."""
