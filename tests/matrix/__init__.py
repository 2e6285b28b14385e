"""Every named fault against every claim: see ``python -m tests.matrix --help``."""
