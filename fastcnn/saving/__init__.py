"""Model files, the containers that hold them, checksums, and the state of random numbers."""
