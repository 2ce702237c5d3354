"""Aligners: two sections in, the field that brings the second onto the first out."""
