"""Matchers of others, as `demis_ij.protocols.Matcher`s, to compare with; no part of the package."""
