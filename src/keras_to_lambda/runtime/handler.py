"""Handler: an event in, its answer out; the order of the steps and nothing else."""

from __future__ import annotations

import json
import math

from keras_to_lambda.runtime import events
from keras_to_lambda.runtime.common import text
from keras_to_lambda.runtime.common.aws_lambda import MAX_EVENT_BYTES, TIMEOUT_S
from keras_to_lambda.runtime.common.deadline import Deadline
from keras_to_lambda.runtime.common.errors import AnswerTooLarge, ClassifierError
from keras_to_lambda.runtime.common.record import Any
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.events.base import EventSource
from keras_to_lambda.runtime.http import responses
from keras_to_lambda.runtime.inference import telemetry
from keras_to_lambda.runtime.inference.pipeline import Invocation, Pipeline
from keras_to_lambda.runtime.inference.telemetry import Stopwatch

# Kept back from the invocation's remaining time for writing the answer.
ANSWER_MARGIN_S = 0.5


class Handler:
    """Loaded models, and what turns events into answers with them.

    Raises SetupError: a model or its card is wrong.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.pipeline = Pipeline(settings)
        self.models = self.pipeline.models
        self._cold = True

    def handle(self, event: Any, context: Any = None) -> Any:
        """Answer a Lambda event. See `events` for its shapes and `errors` for what can go wrong."""
        cold, self._cold = self._cold, False
        watch = Stopwatch(getattr(context, "aws_request_id", None) or "")
        invocation = Invocation(self.pipeline, _deadline(context), watch)
        source = events.detect(event)
        failed: ClassifierError | None = None
        try:
            done = source.process(invocation)
            answer = _sendable(source.answer(done, self._headers(source, watch, cold=cold)))
            errors = [x for _, x in done if isinstance(x, ClassifierError)]
        except Exception as error:  # noqa: BLE001  # the border: nothing passes it
            failed = invocation.named(error)
            errors = [failed]
        telemetry.request(self.settings, watch, source.source, errors, cold=cold)
        if failed is not None:
            answer = _sendable(source.failure(failed, self._headers(source, watch, cold=cold)))
        return answer

    def _headers(self, source: EventSource[Any], watch: Stopwatch, *, cold: bool) -> dict[str, str]:
        return responses.headers(self.settings, watch, cold=cold) if source.http else {}


def _sendable(answer: Any) -> Any:
    """An answer that the runtime can encode and Lambda can carry, whatever is in it.

    Raises AnswerTooLarge; TypeError, ValueError: JSON has no such value.
    """
    if _plain(answer):
        return answer
    content = text.encode(answer)
    if not text.encodable(content):
        content = text.to_json(answer)
        answer = json.loads(content)
    if (len(content) if content.isascii() else len(content.encode())) > MAX_EVENT_BYTES:
        raise AnswerTooLarge(
            f"the answer has more than {MAX_EVENT_BYTES:,} bytes, which Lambda does not carry; "
            "send fewer images at once, or ask for less of each"
        )
    return answer


def _plain(answer: Any) -> bool:
    """Whether an answer is surely sendable: scores by label, which take long to encode."""
    if type(answer) is not dict:
        return False
    try:
        total, labels = sum(answer.values()), "".join(answer)
    except (TypeError, OverflowError):
        return False
    # A character is at most 6 bytes of JSON, as \u0000 is, and a number 24 with its separators.
    bytes_ = 6 * len(labels) + 32 * len(answer)
    # A sum with a number that is not finite is not finite; one of another library's is its own.
    sound = type(total) is float and math.isfinite(total)
    return sound and labels.isascii() and bytes_ < MAX_EVENT_BYTES


def _deadline(context: Any) -> Deadline:
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    seconds = remaining() / 1000 - ANSWER_MARGIN_S if remaining else TIMEOUT_S
    return Deadline(seconds)
