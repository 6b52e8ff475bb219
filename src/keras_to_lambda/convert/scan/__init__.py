"""What a model file may hold before any library opens it, and a copy of exactly that."""
