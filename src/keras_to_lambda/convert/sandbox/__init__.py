"""Work on a model file in a child process that can do little harm."""
