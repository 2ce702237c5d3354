"""ImageJ inside Python: one session, numpy to ImagePlus and back. The only room that knows Java."""
