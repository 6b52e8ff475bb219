"""The report of a conversion: for the terminal, for git, and for a person."""
