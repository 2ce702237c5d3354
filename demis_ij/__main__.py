"""``python -m demis_ij`` is the ``demis-ij`` command."""

from demis_ij.cli import main

if __name__ == "__main__":
    main()
