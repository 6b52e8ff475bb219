"""The proof that a `.tflite` answers as its Keras model does."""
