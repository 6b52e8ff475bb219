"""keras-to-lambda: a trained Keras image classifier in, an endpoint on AWS Lambda out."""
