"""Images: read a tile or a part of it, find where there is no data, normalise."""
