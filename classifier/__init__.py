"""All that runs in the function; it needs numpy, Pillow, the interpreter and keras-image-helper.

One request flows through once: event -> Request -> bytes -> pixels -> tensor -> logits -> response.
`handler.Handler` is the only place that knows this order; every other module owns one noun.
"""
