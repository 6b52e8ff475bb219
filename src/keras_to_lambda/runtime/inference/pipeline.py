"""Pipeline: images in, their scores out, within a deadline and the memory that there is.

    sources -> bytes -> pixels -> tensors -> logits -> scores

One image that fails is its error; the others are answered.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator, Sequence

from keras_to_lambda.runtime.common import memory
from keras_to_lambda.runtime.common.aws_lambda import TIMEOUT_S
from keras_to_lambda.runtime.common.deadline import Deadline
from keras_to_lambda.runtime.common.errors import (
    ClassifierError,
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    TooManyImages,
)
from keras_to_lambda.runtime.common.memory import Buffer
from keras_to_lambda.runtime.common.settings import Settings, processor_share, vcpus
from keras_to_lambda.runtime.image import pixels
from keras_to_lambda.runtime.image.budget import Limits
from keras_to_lambda.runtime.inference import telemetry
from keras_to_lambda.runtime.inference.predictions import ImageAnswer, shaped
from keras_to_lambda.runtime.inference.request import Options, Request
from keras_to_lambda.runtime.inference.telemetry import Stopwatch
from keras_to_lambda.runtime.model.interpreter import Classifier
from keras_to_lambda.runtime.model.registry import Models
from keras_to_lambda.runtime.model_file.card import ModelCard
from keras_to_lambda.runtime.sources import images as sources

# Of the time that is left, the share after which no more images are decoded: what has been decoded
# by then is answered, not lost with the rest.
SHARE_FOR_DECODING = 0.9
# Of that, the share that one picture may take while others wait; half as much after each that did
# not end in it, down to an even share, so that those that come last have time, too.
SHARE_FOR_ONE = 0.5
MANY = "the request took too long; send fewer images at once"
BUSY = "the function is busy with other images; send this one again"

Image = sources.Source | ClassifierError


class Pipeline:
    """The models, and what calls share; for several threads at a time.

    Raises SetupError: a model or its card is wrong.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.models = Models(settings)
        self.memory = memory.limit()
        self.room = memory.Room()
        self.processor = processor_share(os.environ)
        # A server calls this from many threads: pictures wait as files, not as pixels.
        self.turns = threading.BoundedSemaphore(max(2, vcpus(os.environ)))

    def classify(
        self,
        images: Sequence[Image],
        options: Options = Options(),  # noqa: B008  # a tuple
        deadline: Deadline | None = None,
    ) -> list[ImageAnswer]:
        """Classify images in a call of their own; see `Invocation.classify`."""
        return Invocation(self, deadline or Deadline(TIMEOUT_S), Stopwatch()).classify(
            images, options
        )

    def logits(self, source: sources.Source, deadline: Deadline, watch: Stopwatch) -> list[float]:
        """One image, through every step of the default model: a number for each label."""
        [row] = Invocation(self, deadline, watch).rows([source], self.models.get())
        if isinstance(row, ClassifierError):
            raise row
        return row


class Invocation:
    """One call of the function: the time that is left, the figures, and the work."""

    def __init__(self, pipeline: Pipeline, deadline: Deadline, watch: Stopwatch) -> None:
        self._shared = pipeline
        self.settings, self.models = pipeline.settings, pipeline.models
        self.deadline, self.watch = deadline, watch

    def named(self, error: Exception) -> ClassifierError:
        """An error as one of ours; see `telemetry.named`."""
        return telemetry.named(error, self.settings, self.watch)

    def answers(self, requests: Sequence[Request], tries: int = 1) -> list[list[ImageAnswer]]:
        """For each of several requests with the same options: the answers of its images.

        Args:
            tries: how often an image is tried whose error may pass.

        Raises ClassifierError: the options are wrong.
        """
        first = requests[0]
        work = self.tensors if first.tensor else self.classify
        images = [image for request in requests for image in request.images]
        answers = work(images, first.options)
        for _ in range(tries - 1):
            passing = [
                index
                for index, answer in enumerate(answers)
                if isinstance(answer, ClassifierError) and answer.transient
            ]
            if not passing:
                break
            self.watch.images -= len(passing)
            second = work([images[index] for index in passing], first.options)
            for index, answer in zip(passing, second, strict=True):
                answers[index] = answer
        self.watch.failed += [one for one in answers if isinstance(one, ClassifierError)]
        ordered = iter(answers)
        return [[next(ordered) for _ in request.images] for request in requests]

    def classify(self, images: Sequence[Image], options: Options) -> list[ImageAnswer]:
        """For each image its scores, or its error: downloaded side by side, inferred together.

        Raises ClassifierError: no image can be answered, as no such model or scores are there.
        """
        model = self.models.get(options.model)
        self.watch.model = model.card
        _check(options, model.card)
        return [
            row if isinstance(row, ClassifierError) else _scores(row, model.card, options)
            for row in self.rows(images, model)
        ]

    def rows(
        self, images: Sequence[Image], model: Classifier
    ) -> list[list[float] | ClassifierError]:
        """For each image a number for each label, or its error."""
        return self._inferred(model, self._decoded(images, [model.card]))

    def tensors(self, images: Sequence[Image], options: Options) -> list[ImageAnswer]:
        """What models see of images: for each image `preprocess.describe`'s account, or its error.

        With any option besides `model` the account has the model's answer, too. Of several models,
        separated by commas, an image's answer is an object with each model's account or error.

        Raises ModelNotFound; TooManyImages: images times models are more than `max_images`.
        """
        names = self.models.names(options.model)
        count, most = len(images) * len(names), self.settings.max_images
        if count > most:
            raise TooManyImages(
                f"{len(images)} images for {len(names)} models count as {count}, more than the "
                f"{most} accepted"
            )
        cards = [self.models.card(name) for name in names]
        self.watch.model = cards[-1]
        for card in cards:
            _check(options, card)
        tensors = self._decoded(images, cards)
        accounts = [
            self._accounts(tensors[at :: len(names)], options, name)
            for at, name in enumerate(names)
        ]
        if len(names) == 1:
            return accounts[0]
        return [
            {
                name: each.to_json() if isinstance(each, ClassifierError) else each
                for name, each in zip(names, row, strict=True)
            }
            for row in zip(*accounts, strict=True)
        ]

    def _accounts(
        self, tensors: Sequence[Buffer | ClassifierError], options: Options, name: str
    ) -> list[ImageAnswer]:
        """One model's inputs of images, and its answers where the options want these."""
        from keras_to_lambda.runtime.image import preprocess

        card = self.models.card(name)
        accounts = [
            tensor if isinstance(tensor, ClassifierError) else preprocess.describe(tensor, card)
            for tensor in tensors
        ]
        if options == Options(model=options.model):
            return [*accounts]
        answers: list[ImageAnswer] = []
        rows = self._inferred(self.models.get(name), tensors)
        for account, row in zip(accounts, rows, strict=True):
            answer = row if isinstance(row, ClassifierError) else _scores(row, card, options)
            if not isinstance(account, ClassifierError) and not isinstance(answer, ClassifierError):
                answer = {**account, "answer": answer}
            answers.append(answer)
        return answers

    def _inferred(
        self, model: Classifier, tensors: Sequence[Buffer | ClassifierError]
    ) -> list[list[float] | ClassifierError]:
        """Each tensor's logits, of as many as there is time for; an error stays what it is."""
        good = [tensor for tensor in tensors if not isinstance(tensor, ClassifierError)]
        try:
            left = self.deadline.remaining_s("inference", needs_s=model.seconds) if good else 0.0
        except DeadlineExceeded as error:
            return [each if isinstance(each, ClassifierError) else error for each in tensors]
        good = good[: int(left / model.seconds)] if model.seconds else good
        rows: Iterator[list[float] | ClassifierError] = iter(())
        if good:
            with self.watch.stage("inference"):
                rows = iter(self._batch(model, good))
        return [
            each
            if isinstance(each, ClassifierError)
            else next(rows, None) or DeadlineExceeded(MANY)
            for each in tensors
        ]

    def _batch(
        self, model: Classifier, tensors: list[Buffer]
    ) -> list[list[float] | ClassifierError]:
        """Logits of each tensor; when they fail together, each is tried alone."""
        try:
            return [*model.batch(tensors)]
        except Exception as error:  # noqa: BLE001  # one image fails alone
            if len(tensors) == 1:
                return [self.named(error)]
            return [row for tensor in tensors for row in self._batch(model, [tensor])]

    def _decoded(
        self, images: Sequence[Image], cards: Sequence[ModelCard]
    ) -> list[Buffer | ClassifierError]:
        """Each image as the tensors that the cards describe, or its errors: card by card."""
        self.watch.images += len(images)
        tensors: list[Buffer | ClassifierError] = []
        read = sources.read_all(images, self.settings, self.deadline, self._side_by_side(images))
        # Read once for all cards.
        contents = (content for content in read for _ in cards)
        steps = [(image, card, images[at:]) for at, image in enumerate(images, 1) for card in cards]
        decoding = self.deadline.sooner(self.deadline.left_s() * SHARE_FOR_DECODING)
        turns = self._shared.turns
        share = SHARE_FOR_ONE
        slowest_s = 0.0
        for number, (image, card, others) in enumerate(steps, start=1):
            with self.watch.stage("fetch"):
                content = next(contents)
            # Given back after the error, whose traceback has the picture.
            with memory.Share(self._shared.room) as room:
                try:
                    if isinstance(content, Exception):
                        raise content
                    if not turns.acquire(timeout=max(0.0, decoding.left_s())):
                        raise DeadlineExceeded(BUSY)
                    try:
                        before_s = decoding.remaining_s("decoding", needs_s=slowest_s)
                        this = decoding
                        if number < len(steps):
                            fair = max(share, 1 / (1 + len(steps) - number))
                            this = decoding.sooner(max(before_s * fair, 2 * slowest_s))
                        tensors.append(
                            self._tensor(content, card, self._limits(this, others, card, room))
                        )
                        slowest_s = max(slowest_s, before_s - decoding.left_s())
                    finally:
                        turns.release()
                except Exception as error:  # noqa: BLE001  # one image fails alone
                    named = self.named(error)
                    if isinstance(named, DeadlineExceeded) and not isinstance(content, Exception):
                        share /= 2
                    tensors.append(named.masked() if sources.is_downloaded(image) else named)
        return tensors

    def _side_by_side(self, images: Sequence[Image]) -> int:
        """How many downloads there is memory for: each takes four times its bytes at the most."""
        if len(images) == 1:
            return 1
        most = memory.left(self._shared.memory) // (4 * self.settings.max_image_bytes)
        return max(1, min(sources.SIDE_BY_SIDE, most))

    def _limits(
        self, deadline: Deadline, others: Sequence[Image], card: ModelCard, room: memory.Share
    ) -> Limits:
        """What one picture may take, while others wait or are being downloaded."""
        settings, shared = self.settings, self._shared

        def check(seconds: float) -> None:
            deadline.remaining_s("decoding", needs_s=seconds / shared.processor)

        def left() -> int:
            ahead = min(sources.SIDE_BY_SIDE, sum(map(sources.is_downloaded, others)))
            tensors = 8 * card.height * card.width * card.channels * (1 + len(others))
            return memory.left(shared.memory) - ahead * settings.max_image_bytes - tensors

        def reserve(needs: int) -> bool:
            try:
                return room.reserve(needs, left, deadline.left_s())
            except TimeoutError as error:
                raise DeadlineExceeded(BUSY) from error

        return Limits(settings.max_image_pixels, check, reserve)

    def _tensor(self, content: bytes, card: ModelCard, limits: Limits) -> Buffer:
        """One image's bytes, as the tensor that the card describes."""
        watch = self.watch
        watch.bytes += len(content)
        with watch.stage("decode"):
            picture = pixels.opened(content, card, limits)
        watch.pixels += picture.width * picture.height
        with watch.stage("preprocess"):
            return pixels.prepare(picture, card)


def _check(options: Options, card: ModelCard) -> None:
    """Refuse what a model cannot give. Raises InvalidRequest."""
    if options.scores == "logits" and card.output == "probabilities":
        raise InvalidRequest(
            f"this model ends in a {card.activation}: it has probabilities, not logits"
        )


def _scores(logits: list[float], card: ModelCard, options: Options) -> ImageAnswer:
    # A sum of finite numbers may overflow; one with another number is never finite.
    if not math.isfinite(sum(logits)) and not all(map(math.isfinite, logits)):
        return InternalError("the model answered with something that is not a finite number")
    return shaped(logits, card, options)
