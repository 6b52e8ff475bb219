"""Results: what became of images, as JSON Lines, for asynchronous events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_to_lambda.runtime import text
from keras_to_lambda.runtime.deadline import Deadline
from keras_to_lambda.runtime.errors import ClassifierError
from keras_to_lambda.runtime.events.base import Job
from keras_to_lambda.runtime.settings import Settings
from keras_to_lambda.runtime.sources import images


def line(
    image: images.Source | ClassifierError,
    answer: dict[str, Any] | list[Any] | ClassifierError,
    model: str,
    shape: str | None = None,
) -> dict[str, Any]:
    """One image's result: which image, which model, and its scores or its error.

    `retry` says of an error that it may be gone the next time; `answer` names the scores' shape
    where one was asked for.
    """
    named = "none" if isinstance(image, ClassifierError) else images.name(image)
    if isinstance(answer, ClassifierError):
        retry = {"retry": True} if answer.transient else {}
        return {"image": named, "model": text.clean(model), **answer.to_json(), **retry}
    asked = {"answer": shape} if shape else {}
    return {"image": named, "model": model, **asked, "scores": answer}


def keep(job: Job, lines: Sequence[dict[str, Any]], settings: Settings, deadline: Deadline) -> None:
    """Write a job's lines below RESULTS_PREFIX, under a name that its identity alone decides.

    Work that is delivered twice writes the same bytes to the same place: neither lost nor twice.

    Raises:
        ResultsNotKept, DeadlineExceeded
    """
    import hashlib

    from keras_to_lambda.runtime.sources import s3

    content = "".join(text.to_json(line) + "\n" for line in lines)
    name = hashlib.sha256(job.identity.encode("utf-8", "replace")).hexdigest()[:40]
    s3.write(f"{name}.jsonl", content.encode(), settings, deadline)
