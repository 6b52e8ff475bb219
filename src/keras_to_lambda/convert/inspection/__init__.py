"""What a model file holds, and what would stop it from being served."""
