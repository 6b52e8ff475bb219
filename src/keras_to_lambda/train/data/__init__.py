"""Labelled pictures on this machine -> a `Dataset`: labels, and a split for each purpose."""
