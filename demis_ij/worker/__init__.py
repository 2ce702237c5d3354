"""The verbs over JSON lines, by Appose's wire protocol: ``python -m demis_ij.worker``."""
