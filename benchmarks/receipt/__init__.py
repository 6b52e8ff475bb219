"""The receipt: what a model costs on Lambda, measured in containers with a share of a processor."""
