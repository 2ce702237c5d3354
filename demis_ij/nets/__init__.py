"""The torch modules, and where their weights come from."""
