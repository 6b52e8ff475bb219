"""The command `k2l` and its verbs for a terminal."""
