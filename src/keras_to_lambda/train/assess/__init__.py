"""Assessment: what a model gets right and wrong, measured, and told as JSON and as a page."""
