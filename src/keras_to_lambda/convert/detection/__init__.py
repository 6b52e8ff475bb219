"""The preprocessing that a model was trained with, found by its answers."""
