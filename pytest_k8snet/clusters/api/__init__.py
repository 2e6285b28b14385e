"""One API server: requests, watches and exec, each failure one clear line."""
