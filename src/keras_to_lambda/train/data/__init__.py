"""Labelled pictures, wherever they are."""
