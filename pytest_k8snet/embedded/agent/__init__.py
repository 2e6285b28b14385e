"""The agent: one process inside the reference network's kernel that builds it and runs commands in it.

It runs with the standard library and pyroute2 alone (``python -I -S``), as process 1 of its kernel or
of its namespaces, so everything it made ends with it.
"""
