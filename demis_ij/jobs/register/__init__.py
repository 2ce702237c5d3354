"""Two images into register as a job: read, registered, bent, written; pairs, folders and methods side by side."""
