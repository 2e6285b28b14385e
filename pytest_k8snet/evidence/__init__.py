"""What was observed: frozen evidence and the parsers that make it (pure, no I/O)."""
