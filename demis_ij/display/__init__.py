"""Small pictures and tables as HTML and SVG text, from plain numbers."""
