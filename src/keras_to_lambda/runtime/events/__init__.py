"""A Lambda event of any shape: the jobs in it, and the answer that its sender expects.

One class for each source of events, with both directions side by side (`base.EventSource`).

    web      HttpApi (and function URLs), RestApi, LoadBalancer, Lattice
    records  Queue and FifoQueue (SQS), Topic (SNS), Bucket (S3), EventBridge
    bulk     S3Batch, MapBatch (Step Functions)
    direct   Mapped (non-proxy integration), Ping, Direct
    unsupported  services without images
"""

from __future__ import annotations

from keras_to_lambda.runtime.common.record import Any
from keras_to_lambda.runtime.events import bulk, direct, records, web
from keras_to_lambda.runtime.events.base import EventSource
from keras_to_lambda.runtime.events.direct import Direct, has_image
from keras_to_lambda.runtime.inference.request import NAMES, Options

# In this order: what is more special comes first.
EVENT_SOURCES: tuple[type[EventSource[Any]], ...] = (
    *(*web.SOURCES, *records.SOURCES, *bulk.SOURCES, *direct.SOURCES),
)
# The members of a payload by its documented names, which no other source's events have.
PAYLOAD = frozenset((*NAMES, *Options._fields))


def detect(event: Any) -> EventSource[Any]:
    """The source of an event: any that no other fits is a direct invocation's. Never raises."""
    if isinstance(event, dict) and event.keys() <= PAYLOAD and has_image(event):
        return Direct(event)
    if isinstance(event, list) and records.service_of({"Records": event}):
        event = {"Records": event}  # as EventBridge Pipes sends it, which takes the same answer
    if isinstance(event, dict):
        for source in EVENT_SOURCES:
            if source.infer(event):
                return source(event)
        if has_image(event):
            return Direct(event)
    from keras_to_lambda.runtime.events.unsupported import Unsupported

    return Unsupported(event) if Unsupported.infer(event) else Direct(event)
