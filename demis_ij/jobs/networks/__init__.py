"""Networks trained as jobs: settings in, a folder with weights, their card and a page out."""
