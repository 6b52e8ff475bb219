"""Golden events: each file of tests/events is an event as AWS documents it, and its answer.

Two kinds of values are not compared literally: scores to 0.001, and headers that tell times.
The images that are not in the event are in a real S3 server on this machine (moto's, over HTTP).
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from keras_to_lambda.runtime import events
from keras_to_lambda.runtime.common.errors import ClassifierError
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.events import records, unsupported
from keras_to_lambda.runtime.events.base import EventSource
from keras_to_lambda.runtime.events.records import Records
from tests.runtime.made import configured

GOLDEN = sorted((Path(__file__).parent.parent / "events").glob("*.json"))


def answered(handler, event):
    try:
        return handler.handle(event)
    except ClassifierError as error:
        raised = {"raised": type(error).__name__, "code": error.code}
        if error.code == "unsupported_event":  # the service that it names
            raised["says"] = error.message.removeprefix("unsupported event source: ")
            raised["says"] = raised["says"].partition("; supported")[0]
        return raised


def readable(value):
    """An answer without what differs from run to run, and with JSON in text as JSON."""
    if isinstance(value, dict):
        shown = {
            key: readable(item)
            for key, item in value.items()
            if key not in ("headers", "multiValueHeaders", "message")
        }
        for key in ("headers", "multiValueHeaders"):
            if key in value:
                shown[key] = {
                    name: text
                    for name, text in value[key].items()
                    if name in ("Content-Type", "Allow", "Access-Control-Allow-Origin")
                }
        for key in ("body", "resultString"):
            text = value.get(key)
            if isinstance(text, str) and text[:1] in ("{", "["):
                shown[key] = readable(json.loads(text))
            elif isinstance(text, str) and text.startswith("<!doctype"):
                shown[key] = "a page"
        return shown
    if isinstance(value, list):
        return [readable(item) for item in value]
    return pytest.approx(value, abs=1e-3) if isinstance(value, float) else value


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_an_event_has_its_documented_answer(path, request):
    golden = json.loads(path.read_text(encoding="utf-8"))
    # Events of services that are refused read nothing.
    s3 = None if path.stem.startswith("service-") else request.getfixturevalue("s3")
    environ = {name.upper(): value for name, value in golden.get("settings", {}).items()}
    handler = configured(**environ)
    for _ in range(2):  # delivered twice, it is the same work
        answer = answered(handler, golden["event"])
        json.dumps(answer)  # as the runtime does
        assert readable(answer) == golden["answer"]
        assert readable(s3.kept() if s3 else []) == golden.get("kept", [])


def sources_below(kind):
    """Every class of an event source that recognises events itself."""
    for each in kind.__subclasses__():
        if "infer" in vars(each) or "name" in vars(each):
            yield each
        yield from sources_below(each)


def test_no_source_takes_a_payload_of_documented_names_alone():
    """`detect` then asks none of them."""
    for name in events.PAYLOAD:
        for value in ("x", ["x"], {"x": "x"}, True):
            event = {"image": "x", name: value}
            found = [source for source in events.EVENT_SOURCES if source.infer(event)]
            assert found == []


def test_every_event_source_is_in_its_table_the_documentation_and_a_golden_event():
    """The sources in the order of `detect`; a new one belongs into its module's SOURCES."""
    known = set(events.EVENT_SOURCES)
    written = set(sources_below(EventSource)) - {Records, unsupported.Unsupported}
    assert written - known == set(), "not in the SOURCES of its module"
    golden = [json.loads(path.read_text(encoding="utf-8")) for path in GOLDEN]
    found = {type(events.detect(each["event"])) for each in golden}
    assert known - found == set(), "no event of it in tests/events"
    page = (Path(__file__).parent.parent.parent / "docs/serving.md").read_text(encoding="utf-8")
    assert {x.title for x in known if x.title not in page} == set(), "not in docs/serving.md"
    services = set(unsupported.SOURCES.values()) | {name for name, _ in unsupported.SERVICES}
    assert services - {each["answer"].get("says") for each in golden} == set(), "no golden event"
    assert {source.name for source in records.SOURCES} & set(unsupported.SOURCES) == set()
    with pytest.raises(ClassifierError) as caught:
        unsupported.Unsupported({"eventSource": "camera"}).jobs(Settings())
    message = caught.value.message
    assert message.startswith("unsupported event source: camera; supported: HTTP, SQS, SNS, S3, ")
    assert message.endswith(" and direct invocation")
    assert {x.title for x in known if x.title not in message} == set()


@pytest.mark.parametrize("family", ["several", "list"])
def test_records_of_several_services_are_refused(family, handler):
    records = [{"eventSource": "aws:sqs"}, {"eventSource": "aws:s3"}]
    with pytest.raises(ClassifierError, match="unsupported event source: several services"):
        handler.handle({"Records": records} if family == "several" else records)


@pytest.mark.parametrize(
    "others",
    [
        {"request": {"type": "x", "requestId": "1"}},
        {"serialNumber": "7", "clickType": "SINGLE"},
        {"eventSource": "camera"},
        {"detail-type": "a", "source": "b", "detail": {}},
        {"deliveryStreamArn": "x", "records": []},
        {"ping": True},
        {"source": "aws.scheduler"},
    ],
)
def test_what_has_an_image_is_a_payload_whatever_else_it_has(others, handler, jpeg):
    image = base64.b64encode(jpeg).decode()
    assert handler.handle({**others, "image": image}) == handler.handle({"image": image})


@pytest.mark.parametrize(
    "payload",
    [*({name: {}} for name in ("agent", "records", "info", "request", "requestContext")), [], [{}]],
)
def test_what_only_resembles_a_service_s_event_is_a_payload(payload):
    assert type(events.detect(payload)) is events.Direct
