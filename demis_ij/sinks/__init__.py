"""Sinks: where a mosaic goes, block by block (OME-TIFF, OME-Zarr, PNG preview, TIFF for plain ImageJ)."""
