"""An engine, and the models that it runs."""
