"""One call of the function: what a caller asks for, images to scores, and what was measured."""
