"""Matchers find corresponding points in two views: one file a method, named in `demis_ij.protocols.MATCHERS`."""
