"""A network as a `.tflite` file: its flatbuffer, quantization and metadata."""
