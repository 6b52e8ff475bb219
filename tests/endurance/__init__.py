"""What takes longer than a test: `make fuzz` and `make soak`, both bounded, both failing loudly."""
