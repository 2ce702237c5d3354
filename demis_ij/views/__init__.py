"""What there is to look at, as plain numbers: outlines, arrows, seams and matches, for ImageJ and for Jupyter."""
