"""Handler: the one place that knows the order of the steps.

event -> Request -> bytes -> pixels -> tensor -> logits -> response
"""

from __future__ import annotations

import traceback
from typing import Any

import numpy as np

from classifier import decode, events, preprocess, sources, telemetry
from classifier.deadline import Deadline
from classifier.errors import (
    ClassifierError,
    InternalError,
    InvalidRequest,
    ModelNotFound,
)
from classifier.model import Classifier, Floats
from classifier.request import Request
from classifier.settings import Settings
from classifier.telemetry import Stopwatch

# Kept back from the invocation's remaining time for writing the answer.
ANSWER_MARGIN_S = 0.5
# The deadline where no invocation context says one; under API Gateway's 29 s.
DEFAULT_DEADLINE_S = 28.0


class Handler:
    """A loaded model, and what turns events into answers with it.

    Raises:
        SetupError: the model or its card is wrong.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.classifier = Classifier(settings.model_path, settings.num_threads)
        self._cold = True

    def __call__(self, event: Any, context: Any = None) -> Any:
        """Answer a Lambda event. See `events` for its shapes and `errors` for what can go wrong."""
        cold, self._cold = self._cold, False
        watch = Stopwatch()
        settings = self.settings
        request_id = getattr(context, "aws_request_id", None)
        invocation = events.detect(event)
        error: ClassifierError | None = None
        body: Any = None
        try:
            request = invocation.request(settings)
            if request is not None:
                body = self.answer(request, _deadline(context), watch)
        except ClassifierError as known:
            error = known
        except Exception as unknown:  # noqa: BLE001  # the border: nothing passes it
            error = self._internal(unknown, request_id)
        telemetry.log(
            settings,
            "INFO" if error is None or error.status < 500 else "ERROR",
            request_id=request_id,
            source=invocation.source,
            outcome="ok" if error is None else error.code,
            cold=cold,
            model=self.classifier.card.name,
            bytes=watch.bytes,
            pixels=watch.pixels,
            total_ms=round(watch.total_ms(), 2),
            **{f"{name}_ms": round(ms, 2) for name, ms in watch.stages.items()},
            **({} if error is None else error.facts),
        )
        timing = watch.server_timing(cold)
        if error is not None:
            return invocation.failure(error, timing, settings)
        return invocation.success(body, timing, settings)

    def answer(self, request: Request, deadline: Deadline, watch: Stopwatch) -> Any:
        """Classify a request's images.

        Returns:
            For one image {label: score}; for a list of images a list in its order, in which an
            image that failed has {"error": {...}}.

        Raises:
            ClassifierError: the one image failed, or the request cannot be answered at all.
        """
        card = self.classifier.card
        if request.model not in (None, card.name):
            raise ModelNotFound(f"no such model here; there is {card.name}")
        if request.scores == "logits" and card.output == "probabilities":
            raise InvalidRequest("this model ends in a softmax: it has probabilities, not logits")
        if not request.many:
            return self._scores(request, self.logits(request.images[0], deadline, watch))
        answers: list[Any] = []
        for image in request.images:
            try:
                answers.append(self._scores(request, self.logits(image, deadline, watch)))
            except ClassifierError as error:
                answers.append(error.to_json())
            except Exception as unknown:  # noqa: BLE001  # one image fails alone
                answers.append(self._internal(unknown, None).to_json())
        return answers

    def logits(self, source: sources.Source, deadline: Deadline, watch: Stopwatch) -> Floats:
        """One image, through every step: float32, (labels,)."""
        card, settings = self.classifier.card, self.settings
        with watch.stage("fetch"):
            data = sources.read(source, settings, deadline)
        watch.bytes += len(data)
        with watch.stage("decode"):
            image = decode.decode(
                data, card.preprocessing, card.channels, settings.max_image_pixels
            )
        watch.pixels += image.width * image.height
        with watch.stage("preprocess"):
            tensor = preprocess.prepare(image, card)
        deadline.remaining_s("the request")
        with watch.stage("inference"):
            return self.classifier.logits(tensor)

    def _scores(self, request: Request, logits: Floats) -> dict[str, float]:
        card = self.classifier.card
        if not np.isfinite(logits).all():
            raise InternalError("the model answered with something that is not a finite number")
        scores = logits
        if request.scores == "probabilities" and card.output == "logits":
            scores = softmax(logits)
        # tolist gives Python floats, which JSON can carry; each is the float32 exactly.
        if request.top_k is None:
            return dict(zip(card.labels, scores.tolist(), strict=True))
        best = np.argsort(-scores, kind="stable")[: request.top_k].tolist()
        return {card.labels[index]: float(scores[index]) for index in best}

    def _internal(self, error: Exception, request_id: str | None) -> InternalError:
        """Log an error that is ours, with its traceback; the caller gets only the request's id."""
        telemetry.log(
            self.settings,
            "ERROR",
            request_id=request_id,
            outcome=InternalError.code,
            # Where, not what: an exception's text may repeat the caller's data.
            type=type(error).__name__,
            traceback=[
                f"{frame.filename}:{frame.lineno} {frame.name}"
                for frame in traceback.extract_tb(error.__traceback__)
            ],
        )
        return InternalError(
            "the function failed; its log has the details"
            + (f" under request id {request_id}" if request_id else "")
        )


def softmax(logits: Floats) -> Floats:
    """Probabilities of logits: float32, the same shape, summing to 1."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max())
    shares: Floats = (exponentials / exponentials.sum()).astype(np.float32)
    return shares


def _deadline(context: Any) -> Deadline:
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    seconds = remaining() / 1000 - ANSWER_MARGIN_S if remaining else DEFAULT_DEADLINE_S
    return Deadline(seconds)
