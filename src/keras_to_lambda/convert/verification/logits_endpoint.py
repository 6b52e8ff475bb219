"""The answers of a deployed function, as logits."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_to_lambda.client import Client
from keras_to_lambda.convert.common.conversion_errors import ConvertError


class LogitsEndpoint:
    """A function behind `POST /predict`, or behind the emulator's invocation URL.

    client: of the route. labels: the wanted order; none: those of the first answer.
    """

    def __init__(self, client: Client, labels: Sequence[str] = ()) -> None:
        self._client, self.labels = client, tuple(labels)

    def all_logits(self, photos: Iterable[Path]) -> npt.NDArray[np.float32]:
        """Classify image files: float32, (photos, labels)."""
        return np.stack([self.logits(photo.read_bytes()) for photo in photos])

    def logits(self, image: bytes) -> npt.NDArray[np.float32]:
        """Classify an image file: float32, (labels,).

        Raises:
            EndpointError: no answer. ConvertError: a refusal, or other labels.
        """
        body = json.dumps({"image": base64.b64encode(image).decode()}).encode()
        reply = self._client.send(None, body, {"Content-Type": "application/json"})
        url, answer = self._client.url, reply.content
        # The emulator answers 200 for a function's error too.
        failed = not isinstance(answer, dict) or "errorType" in answer or "error" in answer
        if reply.status != 200 or failed:
            raise ConvertError(f"{url} answers with status {reply.status}: {_reason(answer)}")
        if not self.labels:
            self.labels = tuple(answer)
        if set(answer) != set(self.labels):
            theirs = sorted(set(answer) ^ set(self.labels))
            raise ConvertError(
                f"{url} serves another model: it has {len(answer)} labels, this one "
                f"{len(self.labels)}; only one of them has {', '.join(theirs[:5])}"
            )
        try:
            return np.array([answer[label] for label in self.labels], np.float32)
        except (TypeError, ValueError) as error:
            raise ConvertError(
                f"{url} does not answer with a score for each label; give the URL of the route, as "
                "https://HOST/predict"
            ) from error


def _reason(answer: Any) -> str:
    if not isinstance(answer, dict):
        return "no JSON object; is this the URL of the route, as .../predict?"
    if isinstance(answer.get("error"), dict):
        return f"{answer['error'].get('code')}: {answer['error'].get('message')}"
    if "errorType" in answer:
        return f"{answer['errorType']}: {answer.get('errorMessage')}"
    return str(answer.get("message") or answer)[:300]
