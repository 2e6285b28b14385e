"""Claims: pure functions from evidence to a verdict."""
