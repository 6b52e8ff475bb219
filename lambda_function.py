"""The function's entry point: AWS Lambda calls `lambda_handler` for each event.

The model is loaded when this module is imported, once for each execution environment.
"""

from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.handler import Handler

_handler = Handler(Settings.from_environ())


def lambda_handler(event: object, context: object = None) -> object:
    """Classify the image or images of any event that `runtime.events` knows."""
    return _handler.handle(event, context)
