"""Matrix products, from register tiles up. Requires numba."""
