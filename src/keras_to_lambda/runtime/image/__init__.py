"""Bytes of a picture -> the tensor that the model's card describes."""
