"""Training: labelled pictures in, a Keras model with its card out."""
