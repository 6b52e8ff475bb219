"""A folder of photos -> a Keras classifier, its card and a report."""
