"""The scripts of the Fiji menu: where they are, and copying them below a Fiji."""
