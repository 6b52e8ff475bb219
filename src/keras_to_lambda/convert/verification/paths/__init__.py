"""The ways from a photo to logits: Keras, the serving path, a container, a deployed function."""
