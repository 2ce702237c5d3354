"""A stack of sections in, one warp a section out: evidence between neighbours, then one joint solve for all."""
