"""Write events/*.json from samples/t-shirt.jpg:  python events/make.py

One file for each way of calling the function; README.md beside this says what each is. Ids,
addresses and hosts are made up; the fields are those of the AWS pages that README.md names.
"""

from __future__ import annotations

import base64
import json
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

HERE = Path(__file__).resolve().parent
SAMPLE = HERE.parent / "samples" / "t-shirt.jpg"
URL = (
    "http://127.0.0.1:8000/t-shirt.jpg"  # `python -m http.server 8000 --bind 127.0.0.1 -d samples`
)
MAX_BYTES = 12_000

REQUEST_TIME = "20/Nov/2026:12:00:00 +0000"
REQUEST_TIME_EPOCH_MS = 1_795_176_000_000
USER_AGENT = "curl/8.11.1"
SOURCE_IP = "203.0.113.7"  # one of the addresses for documentation (RFC 5737)
TRACE_ID = "Root=1-6b0019c0-0123456789abcdef01234567"
REQUEST_ID = "00000000-0000-4000-8000-000000000001"


def small_jpeg() -> bytes:
    """The sample, at most 256 pixels a side and 12 kB."""
    with Image.open(SAMPLE) as image:
        image.thumbnail((256, 256))
        for quality in range(90, 30, -5):
            file = BytesIO()
            image.convert("RGB").save(file, "JPEG", quality=quality, optimize=True)
            if file.tell() <= MAX_BYTES:
                return file.getvalue()
    raise ValueError(f"{SAMPLE} cannot be had in {MAX_BYTES:,} bytes")


def events(jpeg: bytes) -> dict[str, Any]:
    """Every event by its file's stem; `jpeg` is the picture that some carry."""
    image = base64.b64encode(jpeg).decode("ascii")
    by_url = ("application/json", json.dumps({"url": URL}), False)
    as_body = ("image/jpeg", image, True)
    return {
        "direct-url": {"url": URL},
        "direct-image": {"image": image},
        "direct-data-url": {"url": f"data:image/jpeg;base64,{image}"},
        "http-api-v2-url": http_api_v2(*by_url),
        "http-api-v2-image": http_api_v2(*as_body),
        "rest-v1-url": rest_v1(*by_url),
        "rest-v1-image": rest_v1(*as_body),
    }


def http_api_v2(content_type: str, body: str, is_base64: bool) -> dict[str, Any]:
    """A POST /predict through an HTTP API, payload format 2.0."""
    host = "h0example0.execute-api.eu-central-1.amazonaws.com"
    return {
        "version": "2.0",
        "routeKey": "POST /predict",
        "rawPath": "/predict",
        "rawQueryString": "",
        "headers": {
            "accept": "*/*",
            "content-length": str(_length(body, is_base64)),
            "content-type": content_type,
            "host": host,
            "user-agent": USER_AGENT,
            "x-amzn-trace-id": TRACE_ID,
            "x-forwarded-for": SOURCE_IP,
            "x-forwarded-port": "443",
            "x-forwarded-proto": "https",
        },
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "h0example0",
            "domainName": host,
            "domainPrefix": "h0example0",
            "http": {
                "method": "POST",
                "path": "/predict",
                "protocol": "HTTP/1.1",
                "sourceIp": SOURCE_IP,
                "userAgent": USER_AGENT,
            },
            "requestId": "ExampleId0000001=",
            "routeKey": "POST /predict",
            "stage": "$default",
            "time": REQUEST_TIME,
            "timeEpoch": REQUEST_TIME_EPOCH_MS,
        },
        "body": body,
        "isBase64Encoded": is_base64,
    }


def rest_v1(content_type: str, body: str, is_base64: bool) -> dict[str, Any]:
    """A POST /predict through the stage `Prod` of a REST API with Lambda proxy integration."""
    host = "r0example0.execute-api.eu-central-1.amazonaws.com"
    headers = {
        "Accept": "*/*",
        "Content-Type": content_type,
        "Host": host,
        "User-Agent": USER_AGENT,
        "X-Amzn-Trace-Id": TRACE_ID,
        "X-Forwarded-For": SOURCE_IP,
        "X-Forwarded-Port": "443",
        "X-Forwarded-Proto": "https",
    }
    return {
        "resource": "/predict",
        "path": "/predict",
        "httpMethod": "POST",
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "r0example0",
            "deploymentId": "d0exam",
            "domainName": host,
            "domainPrefix": "r0example0",
            "extendedRequestId": "ExampleId0000002=",
            "httpMethod": "POST",
            "identity": {
                "accessKey": None,
                "accountId": None,
                "caller": None,
                "cognitoAuthenticationProvider": None,
                "cognitoAuthenticationType": None,
                "cognitoIdentityId": None,
                "cognitoIdentityPoolId": None,
                "principalOrgId": None,
                "sourceIp": SOURCE_IP,
                "user": None,
                "userAgent": USER_AGENT,
                "userArn": None,
            },
            "path": "/Prod/predict",
            "protocol": "HTTP/1.1",
            "requestId": REQUEST_ID,
            "requestTime": REQUEST_TIME,
            "requestTimeEpoch": REQUEST_TIME_EPOCH_MS,
            "resourceId": "0exam1",
            "resourcePath": "/predict",
            "stage": "Prod",
        },
        "body": body,
        "isBase64Encoded": is_base64,
    }


def _length(body: str, is_base64: bool) -> int:
    return len(base64.b64decode(body)) if is_base64 else len(body.encode())


def write() -> None:
    for name, event in events(small_jpeg()).items():
        path = HERE / f"{name}.json"
        path.write_text(json.dumps(event, indent=2) + "\n", encoding="utf-8")
        print(f"{path.relative_to(HERE.parent)}  {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    write()
