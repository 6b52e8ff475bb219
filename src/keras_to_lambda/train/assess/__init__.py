"""Assessment: what a model gets right and wrong, as JSON and as a page."""
