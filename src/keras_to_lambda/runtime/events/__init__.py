"""A Lambda event of any shape: the jobs in it, and the answer that its sender expects.

One class for each family of events, with both directions side by side. `detect` tries them in
order and always finds one: any other event is a direct invocation's payload.

    web      HttpApi, FunctionUrl, RestApi, LoadBalancer, Lattice
    records  Queue (SQS), Topic (SNS), Bucket (S3), EventBridge, Unsupported (services)
    batch    S3Batch, MapBatch (Step Functions)
    direct   Ping, Mapped (non-proxy integration), Direct
"""

from __future__ import annotations

from typing import Any

from keras_to_lambda.runtime.events.base import Family
from keras_to_lambda.runtime.events.batch import MapBatch, S3Batch
from keras_to_lambda.runtime.events.direct import Direct, Mapped, Ping
from keras_to_lambda.runtime.events.records import Bucket, EventBridge, Queue, Topic, Unsupported
from keras_to_lambda.runtime.events.web import (
    FunctionUrl,
    HttpApi,
    Lattice,
    LatticeV1,
    LoadBalancer,
    RestApi,
)

# In this order: what is more special comes first.
FAMILIES: tuple[type[Family], ...] = (
    *(FunctionUrl, HttpApi, LoadBalancer, RestApi, Lattice, LatticeV1),
    *(Queue, Topic, Bucket, EventBridge, S3Batch, MapBatch),
    *(Mapped, Ping, Unsupported, Direct),
)


def detect(event: Any) -> Family:
    """The family of an event. Never raises."""
    return next(family for family in FAMILIES if family.infer(event))(event)
