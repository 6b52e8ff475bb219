"""Events of services that bring no images: named and refused."""

from __future__ import annotations

from collections.abc import Sequence

from keras_to_lambda.runtime.common.errors import ClassifierError, UnsupportedEvent
from keras_to_lambda.runtime.common.record import Any
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.common.text import clean
from keras_to_lambda.runtime.events.base import EventSource, Job
from keras_to_lambda.runtime.events.direct import has_image
from keras_to_lambda.runtime.events.records import service_of


class Unsupported(EventSource[None]):
    """An event of a service that brings no images."""

    source = "unsupported"

    @classmethod
    def infer(cls, event: Any) -> bool:
        if has_image(event):
            return False
        from keras_to_lambda.runtime.events import services

        return bool(service_of(event) or services.name(event)) or (
            isinstance(event, dict) and {"detail-type", "source", "detail"} <= set(event)
        )

    def jobs(self, settings: Settings) -> Sequence[Job]:
        from keras_to_lambda.runtime.events import bulk, direct, records, services, web

        source = service_of(event := self._event)
        named = services.SOURCES.get(source, source) or services.name(event) or event["source"]
        supported = (*records.SOURCES, *bulk.SOURCES, *web.SOURCES, *direct.SOURCES)
        titles = dict.fromkeys(one.title for one in supported if one.title)
        raise UnsupportedEvent(
            f"unsupported event source: {clean(named)}; supported: {', '.join(titles)} and direct "
            "invocation"
        )

    def failure(self, error: ClassifierError, headers: dict[str, str]) -> Any:
        raise error.bare()
