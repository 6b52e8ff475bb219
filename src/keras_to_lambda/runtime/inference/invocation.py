"""Invocation: one call of the function, and what its event source needs to do the work."""

from __future__ import annotations

from collections.abc import Sequence

from keras_to_lambda.runtime.common.deadline import Deadline
from keras_to_lambda.runtime.common.errors import ClassifierError
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.inference import telemetry
from keras_to_lambda.runtime.inference.pipeline import Pipeline
from keras_to_lambda.runtime.inference.predictions import ImageAnswer
from keras_to_lambda.runtime.inference.request import Request
from keras_to_lambda.runtime.inference.telemetry import Stopwatch
from keras_to_lambda.runtime.model.registry import Models


class Invocation:
    """The models and their pipeline, the time that is left, and the figures of this call."""

    def __init__(self, pipeline: Pipeline, deadline: Deadline, watch: Stopwatch) -> None:
        self.pipeline = pipeline
        self.deadline = deadline
        self.watch = watch

    @property
    def settings(self) -> Settings:
        """The function's."""
        return self.pipeline.settings

    @property
    def models(self) -> Models:
        """The models that are served."""
        return self.pipeline.models

    def answers(self, requests: Sequence[Request], tries: int = 1) -> list[list[ImageAnswer]]:
        """For each of several requests with the same options: the answers of its images.

        Args:
            tries: how often an image is tried whose error may pass.

        Raises:
            ClassifierError: the options are wrong.
        """
        first = requests[0]
        work = self.pipeline.tensors if first.tensor else self.pipeline.classify
        images = [image for request in requests for image in request.images]
        answers = work(images, first.options, self.deadline, self.watch)
        for _ in range(tries - 1):
            passing = [index for index, answer in enumerate(answers) if _may_pass(answer)]
            if not passing:
                break
            self.watch.images -= len(passing)
            again = [images[index] for index in passing]
            second = work(again, first.options, self.deadline, self.watch)
            for index, answer in zip(passing, second, strict=True):
                answers[index] = answer
        self.watch.failed += [one for one in answers if isinstance(one, ClassifierError)]
        ordered = iter(answers)
        return [[next(ordered) for _ in request.images] for request in requests]

    def named(self, error: Exception) -> ClassifierError:
        """An error as one of ours; see `telemetry.named`."""
        return telemetry.named(error, self.settings, self.watch)


def _may_pass(answer: ImageAnswer) -> bool:
    return isinstance(answer, ClassifierError) and answer.transient
