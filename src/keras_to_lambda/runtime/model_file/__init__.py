"""What is in a `.tflite` file besides its network: card, archive and metadata."""
