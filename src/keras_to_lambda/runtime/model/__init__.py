"""A `.tflite` file: its card, its metadata, and the interpreter that runs it."""
