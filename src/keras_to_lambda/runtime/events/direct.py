"""Events that are the payload itself: direct invocations, non-proxy integrations, pings."""

from __future__ import annotations

from collections.abc import Sequence

from keras_to_lambda.runtime.common.errors import ClassifierError
from keras_to_lambda.runtime.common.record import Any
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.events.base import Done, EventSource, Job, Synchronous
from keras_to_lambda.runtime.http.responses import Content
from keras_to_lambda.runtime.inference.request import NAMES, Request


def has_image(event: dict[Any, Any]) -> bool:
    """Whether an event is a payload with an image, whatever else is in it."""
    return any(event.get(name) is not None for name in NAMES)


class Direct(Synchronous):
    """An invocation by boto3, awscli, `sam local invoke`, the emulator or Step Functions.

    The event is the payload and the answer is the plain object. A failure is raised: the runtime
    reports it by its class name (https://docs.aws.amazon.com/lambda/latest/dg/python-exceptions.html).
    So it is with API Gateway's non-proxy integrations that pass the body on as it is.
    """

    source = "direct"

    def jobs(self, settings: Settings) -> Sequence[Job]:
        return [Job(Request.from_json(self._event, max_images=settings.max_images))]

    def answer(self, done: Sequence[Done[Content]], headers: dict[str, str]) -> Any:
        outcome = done[0].outcome
        if isinstance(outcome, ClassifierError):
            raise outcome.bare()
        return outcome


class Mapped(Direct):
    """API Gateway's non-proxy integration with its "method request passthrough" mapping template.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-custom-integrations.html
    """

    source = "rest-api-mapped"

    @classmethod
    def infer(cls, event: dict[Any, Any]) -> bool:
        return "body-json" in event

    def jobs(self, settings: Settings) -> Sequence[Job]:
        params = self._event.get("params")
        query = params.get("querystring") if isinstance(params, dict) else None
        query = {k: str(v) for k, v in query.items()} if isinstance(query, dict) else {}
        return [Job(Request.from_json(self._event["body-json"], query, settings.max_images))]


class Ping(EventSource[None]):
    """What keeps a function warm: a schedule of EventBridge, or a warmer's payload.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-run-lambda-schedule.html
    The function has its model by the time that it answers; nothing is classified.
    """

    source = "ping"

    @classmethod
    def infer(cls, event: dict[Any, Any]) -> bool:
        return not has_image(event) and (
            event.get("detail-type") == "Scheduled Event"
            or event.get("source") in ("aws.scheduler", "serverless-plugin-warmup")
            or event.get("warmer") is True
            or event.get("ping") is True
        )

    def jobs(self, settings: Settings) -> Sequence[Job]:
        return []

    def answer(self, done: Sequence[Done[None]], headers: dict[str, str]) -> Any:
        return {"warm": True}


SOURCES = (Mapped, Ping)  # Direct is what all other events are
