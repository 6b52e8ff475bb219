"""What takes longer than a test: make fuzz, soak, load and faults; bounded, and failing loudly."""
