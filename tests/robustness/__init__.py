"""Readers against whatever a file may hold: seeds that the project's own writers made, changed at random."""
