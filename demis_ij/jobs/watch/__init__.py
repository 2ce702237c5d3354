"""Tiles matched while the microscope writes them, and the live page of a run that takes long."""
