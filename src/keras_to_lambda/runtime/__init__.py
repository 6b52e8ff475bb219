"""All that the Lambda image contains of this package; it imports nothing else of it.

One request flows through once: event -> Request -> bytes -> pixels -> tensor -> logits -> response.
Only `handler.Handler` has this order in it; every other module owns one noun.
"""
