"""A trained Keras classifier -> a self-describing `.tflite`, and the proof that the two agree."""
