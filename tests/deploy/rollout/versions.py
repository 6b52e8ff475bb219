"""Versions of a function that answer rightly or not, as WSGI applications."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import pytest

from keras_to_lambda.deploy.rollout import endpoint_comparison, smoke
from keras_to_lambda.deploy.rollout.alias import Alias
from keras_to_lambda.runtime.common.aws_lambda import INVOCATIONS_PATH
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.serve.gateway import Gateway
from tests.altered_model import CLOTHING

ROOT = Path(__file__).resolve().parents[3]
DIGITS = ROOT / "models" / "digits" / "digits.tflite"
REGION = "us-east-1"
FUNCTION = "classifier"
ARN = f"arn:aws:lambda:{REGION}:123456789012:function:{FUNCTION}"
FIRST = endpoint_comparison.read_samples(ROOT / "samples")[0].image
NO_IMAGE = b"this is not an image"


def app(model):
    return Gateway(
        Handler(Settings.from_environ({"MODEL_PATH": str(model), "LOG_LEVEL": "FATAL"})).handle
    )


def fixed(status, body):
    """Answers everything alike."""

    def application(_environ, start):
        start(status, [("Content-Type", "application/json")])
        return [body]

    return application


failing = fixed("502 Bad Gateway", b'{"message": "Internal server error"}')
forbidding = fixed(
    "403 Forbidden", b'{"Message": "not authorized to perform lambda:InvokeFunction"}'
)
missing = fixed("404 Not Found", b'{"message": "Not Found"}')


def body_of(environ):
    """The request's body, which can still be read."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    return body


def credulous(application):
    """Takes a non-image for an image, over HTTP and as an event; is right otherwise."""

    def taken(environ, start):
        scores = '{"t-shirt": 1.0}'
        invoked = environ["PATH_INFO"] == INVOCATIONS_PATH
        answer = json.dumps({"statusCode": 200, "body": scores}) if invoked else scores
        return fixed("200 OK", answer.encode())(environ, start)

    return played(application, taken, has(NO_IMAGE))


def played(application, instead, when):
    """The application, with another in its place for some requests, by environ and body."""

    def version(environ, start):
        return (instead if when(environ, body_of(environ)) else application)(environ, start)

    return version


def has(image):
    """Whether a request has an image, as bytes or as base64."""
    return lambda _, body: image in body or base64.b64encode(image) in body


def answering(status, event):
    """Invoked with an event that has this in it, answers it with this status."""
    answer = fixed("200 OK", json.dumps({"statusCode": status, "body": "{}"}).encode())
    return lambda application: played(application, answer, lambda _, body: event in body)


def relabelled(application):
    """Says of its model that it is another."""

    def version(environ, start):
        body = b"".join(application(environ, start))
        return [re.sub(rb"(model_sha256\W+)[0-9a-f]{64}", rb"\g<1>" + b"0" * 64, body)]

    return version


def not_invoked(application):
    """What answers over HTTP, and may not be invoked."""
    return played(application, forbidding, lambda e, _: e["PATH_INFO"] == INVOCATIONS_PATH)


def invoke(application, body, start):
    """Lambda's answer to an invocation: of the handler, of its end, or Lambda's own refusal."""
    statuses = []
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": INVOCATIONS_PATH,
        "QUERY_STRING": "",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
    }
    content = b"".join(application(environ, lambda status, _: statuses.append(status)))
    if statuses[0].startswith("403"):
        start(statuses[0], [("x-amzn-ErrorType", "AccessDeniedException")])
        return [content]
    if not statuses[0].startswith("200"):
        content = b'{"errorType": "Runtime.ExitError", "errorMessage": "signal: killed"}'
    failed = b'"errorType"' in content
    start("200 OK", [("X-Amz-Function-Error", "Unhandled")] if failed else [])
    return [content]


def canary(function, stable="2", new="3", weight=0.5):
    function.update_alias(
        FunctionName=FUNCTION,
        Name="live",
        FunctionVersion=stable,
        RoutingConfig={"AdditionalVersionWeights": {new: weight}},
    )


def run(capsys, url, *options):
    """Exit status, outcome and standard error of the command."""
    outcomes = []
    original = smoke.smoke
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(smoke, "smoke", lambda args: outcomes.append(original(args)) or outcomes[0])
        status = smoke.main([url, "--model", str(CLOTHING), *options])
    return status, outcomes[0] if outcomes else None, capsys.readouterr().err


def texts(found):
    return [*found.faults, *found.unproven]


def noted(function):
    return function.get_alias(FunctionName=FUNCTION, Name="live")["Description"]


def live():
    return Alias(FUNCTION).routing()
