"""The function as a plain local HTTP server: no Docker, no AWS, the same handler."""

import classifier  # noqa: F401  # leaves the current folder before anything else is imported
