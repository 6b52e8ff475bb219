"""A recipe and pictures in, weights out, by `keras.Model.fit`."""
