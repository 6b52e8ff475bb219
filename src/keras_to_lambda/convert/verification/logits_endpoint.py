"""Endpoint: a deployed function, asked over HTTP about a photo."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import requests

from keras_to_lambda.convert.errors import ConvertError

# Over API Gateway's 29 s: its own answer is better than our silence.
TIMEOUT_S = 35


class Endpoint:
    """A function behind `POST /predict`, or behind the emulator's invocation URL.

    Args:
        url: of the route itself, https://ID.execute-api.REGION.amazonaws.com/Prod/predict or so.
        labels: in the order of the answers that are wanted.
        headers: sent along, for endpoints that ask for a key.
    """

    def __init__(
        self, url: str, labels: Sequence[str], headers: dict[str, str] | None = None
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConvertError(f"{url} is not an http or https URL")
        self.url = url
        self._labels = tuple(labels)
        self._session = requests.Session()
        self._session.headers.update(headers or {})

    def logits(self, image: bytes) -> np.ndarray:
        """Ask about an image file: float32, (labels,).

        Raises:
            ConvertError: the endpoint cannot be reached, refuses, or has other labels.
        """
        body = {"image": base64.b64encode(image).decode()}
        try:
            response = self._session.post(self.url, json=body, timeout=TIMEOUT_S)
        except requests.RequestException as error:
            raise ConvertError(f"{self.url} cannot be reached: {error}") from error
        return self._read(response)

    def _read(self, response: requests.Response) -> np.ndarray:
        try:
            answer: Any = response.json()
        except ValueError:
            answer = None
        # The emulator answers 200 for a function's error too; the body tells.
        failed = not isinstance(answer, dict) or "errorType" in answer or "error" in answer
        if response.status_code != 200 or failed:
            raise ConvertError(
                f"{self.url} answers with status {response.status_code}: {_reason(answer)}"
            )
        if set(answer) != set(self._labels):
            theirs = sorted(set(answer) ^ set(self._labels))
            raise ConvertError(
                f"{self.url} serves another model: it has {len(answer)} labels, this one "
                f"{len(self._labels)}; only one of them knows {', '.join(theirs[:5])}"
            )
        return np.array([answer[label] for label in self._labels], np.float32)


def _reason(answer: Any) -> str:
    if not isinstance(answer, dict):
        return "no JSON object; is this the URL of the route, as .../predict?"
    if isinstance(answer.get("error"), dict):
        return f"{answer['error'].get('code')}: {answer['error'].get('message')}"
    if "errorType" in answer:
        return f"{answer['errorType']}: {answer.get('errorMessage')}"
    return str(answer.get("message") or answer)[:300]
