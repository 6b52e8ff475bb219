"""The conversion script: `python -m convert MODEL ...`. Its code is `keras_to_lambda.convert`."""
