"""EventSource: a kind of Lambda event, with both directions of it in one class.

    event -> jobs -> answers of each job's images -> outcome of each job -> answer to the event

A source that differs in a step overrides the method of that step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from keras_to_lambda.runtime.common.errors import ClassifierError
from keras_to_lambda.runtime.common.record import Any, ClassVar, Generic, NamedTuple, TypeVar
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.http.responses import Content, Resource
from keras_to_lambda.runtime.inference.pipeline import Invocation
from keras_to_lambda.runtime.inference.predictions import ImageAnswer
from keras_to_lambda.runtime.inference.request import Request

# Characters of an id that a sender gave and gets back; the longest of AWS are a few hundred.
MAX_ID = 1024


class Job(NamedTuple):
    """One request of an event.

    asked: the request, or the reason why it cannot be done: our fault if not a ClassifierError.
    identity: differs between pieces of work, and is the same when one is delivered again.
    message: the id by which the sender recognises failed work.
    """

    asked: Request | Resource | Exception
    identity: str = ""
    message: str = ""


T = TypeVar("T")


class Done(NamedTuple, Generic[T]):
    """A job and its outcome."""

    job: Job
    outcome: T | ClassifierError


class EventSource(Generic[T]):
    """A kind of event: how to recognise it, the jobs in it, and the answer that its sender expects.

    T: the outcome of a job that succeeded.
    source: the name in logs. title: the name in messages to callers; "" hides the source there.
    http: whether its answers have headers.
    """

    source: ClassVar[str]
    title: ClassVar[str] = ""
    http: ClassVar[bool] = False

    def __init__(self, event: Any) -> None:
        self._event = event

    @classmethod
    def infer(cls, event: dict[Any, Any]) -> bool:
        """Whether an event is of this source. Never raises."""
        raise NotImplementedError

    def jobs(self, settings: Settings) -> Sequence[Job]:
        """The jobs in the event. Raises ClassifierError: the event as a whole cannot be read."""
        raise NotImplementedError

    def process(self, invocation: Invocation) -> list[Done[T]]:
        """Do every job; those with the same options together, as far as one request may go.

        Raises ClassifierError: the event as a whole is wrong.
        """
        settings = invocation.settings
        groups = _groups(self.jobs(settings), settings.max_images)
        return [done for group in groups for done in self.do(group, invocation)]

    def do(self, group: Sequence[Job], invocation: Invocation) -> list[Done[T]]:
        """Do jobs that have the same options; each succeeds or fails alone."""
        done: list[Done[T]] = []
        for job, answers in zip(group, self.answers(group, invocation), strict=True):
            outcome: T | ClassifierError
            if isinstance(answers, ClassifierError):
                invocation.watch.failed.append(answers)
            try:
                outcome = self.outcome(job, answers, invocation)
            except Exception as error:  # noqa: BLE001  # one job fails alone
                outcome = invocation.named(error)
            done.append(Done(job, outcome))
        return done

    def answers(
        self, group: Sequence[Job], invocation: Invocation
    ) -> list[list[ImageAnswer] | ClassifierError]:
        """For each job of a group the answers of its images, or the error of them all."""
        asked = group[0].asked
        if isinstance(asked, Exception):
            return [invocation.named(asked)]
        try:
            return [*invocation.answers(requests(group))]
        except Exception as error:  # noqa: BLE001  # one group fails alone
            return [invocation.named(error)] * len(group)

    def outcome(
        self, job: Job, answers: list[ImageAnswer] | ClassifierError, invocation: Invocation
    ) -> T | ClassifierError:
        """What a job came to, from the answers of its images."""
        raise NotImplementedError

    def answer(self, done: Sequence[Done[T]], headers: dict[str, str]) -> Any:
        """The function's answer, as JSON can carry it; headers: of an HTTP answer, else none.

        Raises ClassifierError: where a failure is reported by raising it.
        """
        raise NotImplementedError

    def failure(self, error: ClassifierError, headers: dict[str, str]) -> Any:
        """The answer to an event that failed as a whole."""
        return self.answer([Done(Job(error), error)], headers)


class Synchronous(EventSource[Content]):
    """A source whose sender waits for the scores themselves."""

    def outcome(
        self, job: Job, answers: list[ImageAnswer] | ClassifierError, invocation: Invocation
    ) -> Content | ClassifierError:
        """The answer of the one image, or the list of a list's."""
        if isinstance(answers, ClassifierError):
            return answers
        if isinstance(job.asked, Request) and job.asked.many:
            return [each.to_json() if isinstance(each, ClassifierError) else each
                    for each in answers]  # fmt: skip
        return answers[0]


def requests(group: Sequence[Job]) -> list[Request]:
    """The requests of jobs that are all requests."""
    return [job.asked for job in group if isinstance(job.asked, Request)]


def _groups(jobs: Sequence[Job], most: int) -> Iterator[list[Job]]:
    """Neighbouring requests of the same options, `most` images together; all else is alone."""
    group: list[Job] = []
    images = 0
    for job in jobs:
        first, asked = group[0].asked if group else None, job.asked
        count = len(asked.images) if isinstance(asked, Request) else 0
        if group and not (
            isinstance(first, Request)
            and isinstance(asked, Request)
            and (first.options, first.tensor) == (asked.options, asked.tensor)
            and images + count <= most
        ):
            yield group
            group, images = [], 0
        group.append(job)
        images += count
    if group:
        yield group
