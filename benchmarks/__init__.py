"""What we claim about speed, measured: one command, both sides in one run, medians and ratios."""
