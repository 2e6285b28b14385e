"""Real container engines for tests: each in namespaces of its own, gone with the test session."""
