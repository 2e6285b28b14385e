"""How to reach nodes and objects."""
