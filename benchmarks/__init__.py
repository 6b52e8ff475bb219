"""What we claim about speed, measured: one command, both sides in one run, medians and ratios."""

import classifier  # noqa: F401  # leaves the current folder before anything else is imported
