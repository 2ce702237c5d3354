"""Style networks as jobs: trained, and used on images."""
