"""A model file -> a model of the Keras library that wrote it."""
