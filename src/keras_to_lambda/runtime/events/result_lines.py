"""Result lines: what became of each image, for senders of many, as JSON Lines."""

from __future__ import annotations

from collections.abc import Sequence

from keras_to_lambda.runtime.common import text
from keras_to_lambda.runtime.common.deadline import Deadline
from keras_to_lambda.runtime.common.errors import ClassifierError
from keras_to_lambda.runtime.common.record import Any
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.events.base import EventSource, Job
from keras_to_lambda.runtime.inference.pipeline import Invocation
from keras_to_lambda.runtime.inference.predictions import ImageAnswer
from keras_to_lambda.runtime.inference.request import Request
from keras_to_lambda.runtime.sources import images

# An image's name, the model's, and its scores or its error.
Line = dict[str, "Any"]


class ResultLines(EventSource[list[Line]]):
    """A source whose jobs come to one line for each image."""

    def outcome(
        self, job: Job, answers: list[ImageAnswer] | ClassifierError, invocation: Invocation
    ) -> list[Line] | ClassifierError:
        request = job.asked
        if isinstance(answers, ClassifierError):
            if not isinstance(request, Request):  # none could be read: its error is its image
                request = Request((answers,))
            answers = [answers] * len(request.images)
        assert isinstance(request, Request)
        model = request.options.model or invocation.models.default or "none"
        return [
            line(image, answer, model, request.options.answer)
            for image, answer in zip(request.images, answers, strict=True)
        ]


class StoredLines(ResultLines):
    """A source that delivers failed work again, and whose lines go below RESULTS_PREFIX if set."""

    def outcome(
        self, job: Job, answers: list[ImageAnswer] | ClassifierError, invocation: Invocation
    ) -> list[Line] | ClassifierError:
        for answer in [answers] if isinstance(answers, ClassifierError) else answers:
            if isinstance(answer, ClassifierError) and answer.transient:
                return answer
        lines = super().outcome(job, answers, invocation)
        settings = invocation.settings
        if settings.results_prefix is not None and not isinstance(lines, ClassifierError):
            keep(job, lines, settings, invocation.deadline)
        return lines


def line(
    image: images.Source | ClassifierError,
    answer: ImageAnswer,
    model: str,
    shape: str | None = None,
) -> Line:
    """One image's result: which image, which model, and its scores or its error.

    An error has `retry` where it may pass; `answer` names the scores' shape if one was given.
    """
    named = "none" if isinstance(image, ClassifierError) else images.name(image)
    if isinstance(answer, ClassifierError):
        retry = {"retry": True} if answer.transient else {}
        return {"image": named, "model": text.clean(model), **answer.to_json(), **retry}
    asked = {"answer": shape} if shape else {}
    return {"image": named, "model": model, **asked, "scores": answer}


def keep(job: Job, lines: Sequence[Line], settings: Settings, deadline: Deadline) -> None:
    """Write a job's lines below RESULTS_PREFIX, under a name that its identity alone decides.

    Work that is delivered twice writes the same bytes to the same place: neither lost nor twice.

    Raises ResultsNotKept, DeadlineExceeded.
    """
    import hashlib

    from keras_to_lambda.runtime.sources import s3

    content = "".join(text.to_json(line) + "\n" for line in lines)
    name = hashlib.sha256(job.identity.encode("utf-8", "replace")).hexdigest()[:40]
    s3.write(f"{name}.jsonl", content.encode(), settings, deadline)
