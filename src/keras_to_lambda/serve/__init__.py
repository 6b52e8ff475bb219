"""The function as a plain local HTTP server: no Docker, no AWS, the same handler."""
