"""Two images of one specimen, from whatever instruments: how they turn, scale and shift onto each other."""
