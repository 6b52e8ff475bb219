"""All that the Lambda image contains of this package; it imports nothing else of it.

One request flows through once: event -> Request -> bytes -> pixels -> tensor -> logits -> response.
`handler.Handler` is the only place that knows this order; every other module owns one noun.
"""
