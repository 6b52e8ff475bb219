"""Job: one thing that an event asks for, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from keras_to_lambda.runtime.errors import ClassifierError
from keras_to_lambda.runtime.request import Request
from keras_to_lambda.runtime.settings import Settings

# Of an id that an event's source gave and gets back; the longest of AWS are a few hundred.
MAX_ID = 1024


class Resource(NamedTuple):
    """What an HTTP client may get besides answers.

    name: "index", "docs", "static", "models", "samples", "openapi", "slash", or "preflight".
    item: which one; of "slash", the path's last part.
    """

    name: str
    item: str = ""


class Job(NamedTuple):
    """One request of an event.

    asked: what for; or why it cannot be done, which is a fault of ours if no ClassifierError.
    identity: tells this work from any other, and is the same when it is delivered again.
    message: by which the event's source knows it, where it tells failed ones from others.
    """

    asked: Request | Resource | Exception
    identity: str = ""
    message: str = ""


# What a job came to: its answer, as JSON can carry it, or the error that it failed with.
Outcome = Any


class Done(NamedTuple):
    """A job and what it came to."""

    job: Job
    outcome: Outcome


class Family:
    """A kind of event: how it is known, the jobs in it, and the answer that its sender expects.

    source: what logs call it.
    lines: an outcome is a list of results, one for each image, that name their image.
    kept: they are written to RESULTS_PREFIX, if that is set ...
    unread: ... and it has to be, as the function's own answer is not read.
    in_order: what follows a failure must not be done.
    tried_again: an error that may pass is tried once more, as the event will not come again.
    alike: its jobs have the same options; what is wrong with these is wrong with the event.
    """

    source: str = ""
    lines: bool = False
    kept: bool = False
    unread: bool = False
    in_order: bool = False
    tried_again: bool = False
    alike: bool = False

    def __init__(self, event: Any) -> None:
        self._event = event

    @classmethod
    def infer(cls, event: Any) -> bool:
        """Whether an event is of this family. Never raises."""
        raise NotImplementedError

    def jobs(self, settings: Settings) -> Sequence[Job]:
        """What the event asks for.

        Raises:
            ClassifierError: the event as a whole cannot be read.
        """
        raise NotImplementedError

    def answer(self, done: Sequence[Done], headers: dict[str, str]) -> Any:
        """The function's answer.

        Args:
            done: each job, in their order.
            headers: for those that answer HTTP.

        Raises:
            ClassifierError: where a failure is reported by raising it.
        """
        raise NotImplementedError

    def failure(self, error: ClassifierError, headers: dict[str, str]) -> Any:
        """The answer to an event that could not be read at all."""
        return self.answer([Done(Job(error), error)], headers)


def bare(error: ClassifierError) -> ClassifierError:
    """An error to be raised to the runtime, which would send causes and traceback to the caller."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
