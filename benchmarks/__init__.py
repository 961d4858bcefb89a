"""asv suites: ``asv run --python=same --quick`` from the repository's root."""
