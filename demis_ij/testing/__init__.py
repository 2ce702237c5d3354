"""Contract tests for the seams, and made-up scenes to run them on; shipped for authors of plug-ins."""
