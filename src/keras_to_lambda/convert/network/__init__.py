"""A loaded model as a function from pictures to scores."""
