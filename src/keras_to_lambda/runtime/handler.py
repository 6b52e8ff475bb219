"""Handler: the one place that knows the order of the steps.

event -> jobs -> bytes -> pixels -> tensor -> logits -> scores -> answer
"""

from __future__ import annotations

import json
import math
import os
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from keras_to_lambda.runtime import events, memory, telemetry, text
from keras_to_lambda.runtime.deadline import Deadline
from keras_to_lambda.runtime.errors import (
    AnswerTooLarge,
    ClassifierError,
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    ResultsNotKept,
    SetupError,
)
from keras_to_lambda.runtime.events import result_lines
from keras_to_lambda.runtime.events.base import Done, Family, Job, Outcome, Resource, bare
from keras_to_lambda.runtime.http import responses
from keras_to_lambda.runtime.image import pixels
from keras_to_lambda.runtime.image.budget import Limits
from keras_to_lambda.runtime.model.card import ModelCard
from keras_to_lambda.runtime.model.interpreter import Classifier
from keras_to_lambda.runtime.model.registry import Models
from keras_to_lambda.runtime.predictions import Answer, shaped
from keras_to_lambda.runtime.request import Options, Request
from keras_to_lambda.runtime.settings import MAX_EVENT_BYTES, Settings, processor_share, vcpus
from keras_to_lambda.runtime.sources import images as sources
from keras_to_lambda.runtime.telemetry import Stopwatch

if TYPE_CHECKING:
    from keras_to_lambda.runtime.model.engine import Buffer

# Kept back from the invocation's remaining time for writing the answer.
ANSWER_MARGIN_S = 0.5
# Of the time that is left, the share after which no more images are decoded: what has been decoded
# by then is answered, not lost with the rest.
SHARE_FOR_DECODING = 0.9
# Of that, the share that one picture may take while others wait; half as much after each that did
# not end in it, down to an even share, so that those that come last have time, too.
SHARE_FOR_ONE = 0.5
# The deadline where no invocation context says one; under API Gateway's 29 s.
DEFAULT_DEADLINE_S = 28.0
BUSY = "the function is busy with other images; send this one again"

Image = sources.Source | ClassifierError


class Handler:
    """Loaded models, and what turns events into answers with them.

    Raises:
        SetupError: a model or its card is wrong.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.models = Models(settings)
        self._memory = memory.limit()
        self._room = memory.Room()
        self._processor = processor_share(os.environ)
        # A server calls this from many threads: pictures wait as files, not as pixels.
        self._turns = threading.BoundedSemaphore(max(2, vcpus(os.environ)))
        self._cold = True

    def __call__(self, event: Any, context: Any = None) -> Any:
        """Answer a Lambda event. See `events` for its shapes and `errors` for what can go wrong."""
        cold, self._cold = self._cold, False
        watch = Stopwatch(getattr(context, "aws_request_id", None) or "")
        family = events.detect(event)
        failed: ClassifierError | None = None
        try:
            done = self._work(family, _deadline(context), watch)
            answer = _sendable(
                family.answer(done, responses.headers(self.settings, watch, cold=cold))
            )
            errors = [x for _, x in done if isinstance(x, ClassifierError)]
        except Exception as error:  # noqa: BLE001  # the border: nothing passes it
            failed = self._named(error, watch)
            errors = [failed]
        telemetry.request(self.settings, watch, family.source, errors, cold=cold)
        if failed is not None:
            answer = _sendable(
                family.failure(failed, responses.headers(self.settings, watch, cold=cold))
            )
        return answer

    def _work(self, family: Family, deadline: Deadline, watch: Stopwatch) -> list[Done]:
        """Do every job of an event; each succeeds or fails alone.

        Raises:
            ClassifierError: the event as a whole is wrong.
        """
        settings = self.settings
        if family.unread and settings.results_prefix is None:
            raise ResultsNotKept("set RESULTS_PREFIX: the answers to a queue have nowhere to go")
        done: list[Done] = []
        stopped: ClassifierError | None = None
        for group in _groups(family.jobs(settings), 1 if family.in_order else settings.max_images):
            answers = (
                [stopped] * len(group) if stopped else self._answers(family, group, deadline, watch)
            )
            for job, answer in zip(group, answers, strict=True):
                try:
                    outcome = (
                        self._lines(family, job, answer, deadline)
                        if family.lines
                        else _plain(job, answer)
                    )
                except Exception as error:  # noqa: BLE001  # one job fails alone
                    outcome = self._named(error, watch)
                if isinstance(answer, ClassifierError):
                    watch.failed.append(answer)
                done.append(Done(job, outcome))
                if family.in_order and isinstance(outcome, ClassifierError):
                    stopped = outcome
        return done

    def _answers(
        self, family: Family, group: Sequence[Job], deadline: Deadline, watch: Stopwatch
    ) -> list[Any]:
        """For each job of a group its images' answers, or the one error that it failed with.

        Raises:
            ClassifierError: of a family whose jobs have the same options, what is wrong with those.
        """
        asked = group[0].asked
        if isinstance(asked, Exception):
            return [self._named(asked, watch)]
        if isinstance(asked, Resource):
            return [self._resource(asked)]
        requests = [job.asked for job in group if isinstance(job.asked, Request)]
        images = [image for request in requests for image in request.images]
        work = self.tensors if asked.tensor else self.classify
        try:
            found = work(images, asked.options, deadline, watch)
            passing = [
                index
                for index, answer in enumerate(found)
                if family.tried_again and isinstance(answer, ClassifierError) and answer.transient
            ]
            if passing:
                watch.images -= len(passing)
                second = work([images[i] for i in passing], asked.options, deadline, watch)
                for index, answer in zip(passing, second, strict=True):
                    found[index] = answer
        except Exception as error:  # noqa: BLE001  # one group fails alone
            named = self._named(error, watch)
            if family.alike:
                raise named from None
            return [named] * len(group)
        watch.failed += [answer for answer in found if isinstance(answer, ClassifierError)]
        answers = iter(found)
        return [[next(answers) for _ in request.images] for request in requests]

    def _lines(self, family: Family, job: Job, answer: Any, deadline: Deadline) -> Outcome:
        """A job's results, kept where the settings say; or what makes it worth another try."""
        settings = self.settings
        request = job.asked if isinstance(job.asked, Request) else Request((answer,))
        answers = [answer] * len(request.images) if isinstance(answer, ClassifierError) else answer
        if family.kept:
            for each in answers:
                if isinstance(each, ClassifierError) and each.transient:
                    return each
        model = request.options.model or self.models.default or "none"
        lines = [
            result_lines.line(image, each, model, request.options.answer)
            for image, each in zip(request.images, answers, strict=True)
        ]
        if family.kept and settings.results_prefix is not None:
            try:
                result_lines.keep(job, lines, settings, deadline)
            except ClassifierError as error:
                return error
        return lines

    def _resource(self, resource: Resource) -> Any:
        """What an HTTP client may get besides answers; None for a preflight, which is headers."""
        if resource.name == "preflight":
            return None
        from keras_to_lambda.runtime.http import resources

        return resources.get(resource, self.models, self.settings)

    def classify(
        self,
        images: Sequence[Image],
        options: Options = Options(),  # noqa: B008  # a tuple
        deadline: Deadline | None = None,
        watch: Stopwatch | None = None,
    ) -> list[Answer]:
        """Classify images: downloaded side by side, inferred together.

        Returns:
            For each image {label: score}, or its error.

        Raises:
            ClassifierError: no image can be answered, as no such model or scores are there.
        """
        deadline, watch = deadline or Deadline(DEFAULT_DEADLINE_S), watch or Stopwatch()
        model = self.models.get(options.model)
        watch.model = model.card
        _check(options, model.card)
        rows = self._rows(
            self._tensors(images, model.card, deadline, watch), model, deadline, watch
        )
        return [
            row if isinstance(row, ClassifierError) else _scores(row, model.card, options)
            for row in rows
        ]

    def tensors(
        self, images: Sequence[Image], options: Options, deadline: Deadline, watch: Stopwatch
    ) -> list[Answer]:
        """What models see of images: for each image `tensor_view.describe`'s account, or its error.

        With any option besides `model` the account has the model's answer, too. Of several models,
        separated by commas, an image's answer is an object with each model's account or error.

        Raises:
            ModelNotFound
        """
        names = [options.model]
        if options.model and options.model not in self.models.installed:
            names = [*dict.fromkeys(options.model.split(","))]
        accounts = [
            self._accounts(images, options._replace(model=name), deadline, watch) for name in names
        ]
        if len(names) == 1:
            return accounts[0]
        return [
            {
                str(name): each.to_json() if isinstance(each, ClassifierError) else each
                for name, each in zip(names, row, strict=True)
            }
            for row in zip(*accounts, strict=True)
        ]

    def _accounts(
        self, images: Sequence[Image], options: Options, deadline: Deadline, watch: Stopwatch
    ) -> list[Answer]:
        """What one model sees of images, and its answers where the options ask for these."""
        from keras_to_lambda.runtime.image import tensor_view

        card = watch.model = self.models.card(options.model)
        _check(options, card)
        tensors = self._tensors(images, card, deadline, watch)
        accounts: list[Any] = [
            tensor if isinstance(tensor, ClassifierError) else tensor_view.describe(tensor, card)
            for tensor in tensors
        ]
        if options == Options(model=options.model):
            return accounts
        rows = self._rows(tensors, self.models.get(options.model), deadline, watch)
        for index, row in enumerate(rows):
            answer = row if isinstance(row, ClassifierError) else _scores(row, card, options)
            if isinstance(answer, ClassifierError):
                accounts[index] = answer
            else:
                accounts[index]["answer"] = answer
        return accounts

    def logits(self, source: sources.Source, deadline: Deadline, watch: Stopwatch) -> list[float]:
        """One image, through every step of the default model: a number for each label."""
        model = self.models.get()
        tensors = self._tensors([source], model.card, deadline, watch)
        [row] = self._rows(tensors, model, deadline, watch)
        if isinstance(row, ClassifierError):
            raise row
        return row

    def _rows(
        self,
        tensors: Sequence[Buffer | ClassifierError],
        model: Classifier,
        deadline: Deadline,
        watch: Stopwatch,
    ) -> list[list[float] | ClassifierError]:
        """Each tensor's logits; an error stays what it is."""
        rows: list[Any] = [*tensors]
        good = [index for index, row in enumerate(rows) if not isinstance(row, ClassifierError)]
        # As many as can be inferred in time; the others get an error, not a gateway's time-out.
        try:
            left = deadline.remaining_s("inference", needs_s=model.seconds) if good else 0.0
        except DeadlineExceeded as error:
            return [error if index in good else row for index, row in enumerate(rows)]
        fits = int(left / model.seconds) if model.seconds else len(good)
        for index in good[fits:]:
            rows[index] = DeadlineExceeded("the request took too long; send fewer images at once")
        good = good[:fits]
        if good:
            with watch.stage("inference"):
                logits = self._inferred(model, [rows[index] for index in good], watch)
            for index, row in zip(good, logits, strict=True):
                rows[index] = row
        return rows

    def _inferred(
        self, model: Classifier, tensors: list[Buffer], watch: Stopwatch
    ) -> list[list[float] | ClassifierError]:
        """Logits of each tensor; when they fail together, each is tried alone."""
        try:
            return [*model.batch(tensors)]
        except Exception as error:  # noqa: BLE001  # one image fails alone
            if len(tensors) == 1:
                return [self._named(error, watch)]
            return [row for tensor in tensors for row in self._inferred(model, [tensor], watch)]

    def _tensors(
        self, images: Sequence[Image], card: ModelCard, deadline: Deadline, watch: Stopwatch
    ) -> list[Buffer | ClassifierError]:
        """Each image as the tensor that the card asks for, or its error."""
        watch.images += len(images)
        tensors: list[Buffer | ClassifierError] = []
        contents = sources.read_all(images, self.settings, deadline, self._side_by_side(images))
        decoding = deadline.sooner(deadline.left_s() * SHARE_FOR_DECODING)
        share = SHARE_FOR_ONE
        slowest_s = 0.0
        for number, image in enumerate(images, start=1):
            with watch.stage("fetch"):
                content = next(contents)
            # Given back after the error, whose traceback has the picture.
            with memory.Share(self._room) as room:
                try:
                    if isinstance(content, Exception):
                        raise content
                    with self._turn(decoding):
                        before_s = decoding.remaining_s("decoding", needs_s=slowest_s)
                        others = images[number:]
                        this = decoding
                        if others:
                            fair = max(share, 1 / (1 + len(others)))
                            this = decoding.sooner(max(before_s * fair, 2 * slowest_s))
                        limits = self._limits(this, others, card, room)
                        tensors.append(self._tensor(content, card, limits, watch))
                        slowest_s = max(slowest_s, before_s - decoding.left_s())
                except Exception as error:  # noqa: BLE001  # one image fails alone
                    named = self._named(error, watch)
                    if isinstance(named, DeadlineExceeded) and not isinstance(content, Exception):
                        share /= 2
                    tensors.append(named.masked() if sources.is_downloaded(image) else named)
        return tensors

    def _side_by_side(self, images: Sequence[Image]) -> int:
        """How many downloads there is memory for: each takes four times its bytes at the most."""
        if len(images) == 1:
            return 1
        most = memory.left(self._memory) // (4 * self.settings.max_image_bytes)
        return max(1, min(sources.SIDE_BY_SIDE, most))

    @contextmanager
    def _turn(self, deadline: Deadline) -> Iterator[None]:
        """One of the turns at decoding, when it comes.

        Raises:
            DeadlineExceeded: none came.
        """
        if not self._turns.acquire(timeout=max(0.0, deadline.left_s())):
            raise DeadlineExceeded(BUSY)
        try:
            yield
        finally:
            self._turns.release()

    def _limits(
        self,
        deadline: Deadline,
        others: Sequence[Image],
        card: ModelCard,
        room: memory.Share,
    ) -> Limits:
        """What one picture may take, while others wait or are being downloaded."""

        def check(seconds: float) -> None:
            deadline.remaining_s("decoding", needs_s=seconds / self._processor)

        def left() -> int:
            ahead = min(sources.SIDE_BY_SIDE, sum(map(sources.is_downloaded, others)))
            waiting = ahead * self.settings.max_image_bytes
            tensors = 8 * card.height * card.width * card.channels * (1 + len(others))
            return memory.left(self._memory) - waiting - tensors

        def reserve(needs: int) -> bool:
            try:
                return room.reserve(needs, left, deadline.left_s())
            except TimeoutError as error:
                raise DeadlineExceeded(BUSY) from error

        return Limits(self.settings.max_image_pixels, check, reserve)

    def _tensor(self, content: bytes, card: ModelCard, limits: Limits, watch: Stopwatch) -> Buffer:
        """One image's bytes, as the tensor that the card asks for."""
        watch.bytes += len(content)
        with watch.stage("decode"):
            picture = pixels.opened(content, card, limits)
        watch.pixels += picture.width * picture.height
        with watch.stage("preprocess"):
            tensor = pixels.prepare(picture, card)
        if self.settings.debug_dir:
            from keras_to_lambda.runtime.image import tensor_view

            tensor_view.save(self.settings.debug_dir, tensor, card)
        return tensor

    def _named(self, error: Exception, watch: Stopwatch) -> ClassifierError:
        """An error as one of ours.

        What is no caller's is logged, with where it arose; the caller gets only the request's id.
        """
        if isinstance(error, ClassifierError):
            # It is kept, and its traceback would keep the picture until a garbage collection.
            return bare(error)
        if isinstance(error, RecursionError):
            return InvalidRequest("the request is nested too deeply")
        telemetry.log(
            self.settings,
            "ERROR",
            request_id=watch.request_id,
            outcome=InternalError.code,
            # Where, not what: an exception's text may repeat the caller's data. A SetupError's is
            # about files and settings.
            type=type(error).__name__,
            setup=str(error) if isinstance(error, SetupError) else None,
            traceback=[
                f"{frame.filename}:{frame.lineno} {frame.name}"
                for frame in traceback.extract_tb(error.__traceback__)[-telemetry.MAX_LIST :]
            ],
        )
        return InternalError(
            "the function failed; its log has the details"
            + (f" under request id {watch.request_id}" if watch.request_id else "")
        )


def _groups(jobs: Sequence[Job], most: int) -> Iterator[list[Job]]:
    """Neighbouring requests of the same options, `most` images together; all else is alone."""
    group: list[Job] = []
    images = 0
    for job in jobs:
        first = group[0].asked if group else None
        if group and not (
            isinstance(first, Request)
            and isinstance(job.asked, Request)
            and first.options == job.asked.options
            and first.tensor == job.asked.tensor
            and images + len(job.asked.images) <= most
        ):
            yield group
            group, images = [], 0
        group.append(job)
        images += len(job.asked.images) if isinstance(job.asked, Request) else 0
    if group:
        yield group


def _plain(job: Job, answer: Any) -> Outcome:
    """What a caller who waits gets: the object, the list of a list, a resource, or an error."""
    if not isinstance(job.asked, Request) or isinstance(answer, ClassifierError):
        return answer
    if not job.asked.many:
        return answer[0]
    return [each.to_json() if isinstance(each, ClassifierError) else each for each in answer]


def _check(options: Options, card: ModelCard) -> None:
    """Refuse what a model cannot give.

    Raises:
        InvalidRequest
    """
    if options.scores == "logits" and card.output == "probabilities":
        raise InvalidRequest(
            f"this model ends in a {card.activation}: it has probabilities, not logits"
        )


def _scores(logits: list[float], card: ModelCard, options: Options) -> Answer:
    if not all(map(math.isfinite, logits)):
        return InternalError("the model answered with something that is not a finite number")
    return shaped(logits, card, options)


def _sendable(answer: Any) -> Any:
    """An answer that the runtime can encode and Lambda can carry, whatever is in it.

    Raises:
        AnswerTooLarge; TypeError, ValueError: JSON has no such value.
    """
    content = json.dumps(answer, ensure_ascii=False, allow_nan=False)
    if not text.encodable(content):
        content = text.to_json(answer)
        answer = json.loads(content)
    if len(content.encode()) > MAX_EVENT_BYTES:
        raise AnswerTooLarge(
            f"the answer has more than {MAX_EVENT_BYTES:,} bytes, which Lambda does not carry; "
            "send fewer images at once, or ask for less of each"
        )
    return answer


def _deadline(context: Any) -> Deadline:
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    seconds = remaining() / 1000 - ANSWER_MARGIN_S if remaining else DEFAULT_DEADLINE_S
    return Deadline(seconds)
