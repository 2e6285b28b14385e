"""Ways to a node: a process started there, read, signalled and ended."""
