"""Events of services that bring no images: named, by what each of them alone has, and refused."""

from __future__ import annotations

from collections.abc import Sequence

from keras_to_lambda.runtime.common.errors import ClassifierError, UnsupportedEvent
from keras_to_lambda.runtime.common.record import Any
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.common.text import clean
from keras_to_lambda.runtime.events import EVENT_SOURCES
from keras_to_lambda.runtime.events.base import EventSource, Job
from keras_to_lambda.runtime.events.records import service_of

# What records, or an event as a whole, call their source.
SOURCES = {
    "aws:kinesis": "Kinesis Data Streams",
    "aws:dynamodb": "DynamoDB Streams",
    "aws:kafka": "Amazon MSK",
    "SelfManagedKafka": "Apache Kafka",
    "aws:mq": "Amazon MQ for ActiveMQ",
    "aws:amq": "Amazon MQ for ActiveMQ",
    "aws:rmq": "Amazon MQ for RabbitMQ",
    "aws:docdb": "Amazon DocumentDB",
    "aws:ses": "Amazon SES",
    "aws:codecommit": "AWS CodeCommit",
}
# Members that an event has, each a path of names; the first of SERVICES that has all of them.
SERVICES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Amazon Data Firehose", ("deliveryStreamArn", "records")),
    ("Kinesis Data Analytics", ("applicationArn", "records")),
    ("CloudWatch Logs", ("awslogs.data",)),
    ("a CloudWatch alarm", ("alarmArn", "alarmData")),
    ("a CloudWatch dashboard", ("widgetContext",)),
    ("Amazon Cognito", ("triggerSource", "userPoolId")),
    ("Amazon Cognito Sync", ("identityPoolId", "datasetName")),
    ("AWS CodePipeline", ("CodePipeline.job",)),
    ("AWS CodeDeploy", ("DeploymentId", "LifecycleEventHookExecutionId")),
    ("AWS CloudFormation", ("RequestType", "ResponseURL")),
    ("a CloudFormation macro", ("transformId", "fragment")),
    ("AWS Config", ("invokingEvent", "configRuleName")),
    ("AWS AppSync", ("info.fieldName", "info.parentTypeName")),
    ("AWS AppSync", ("typeName", "fieldName", "arguments")),
    ("AWS AppSync Events", ("info.channelNamespace",)),
    ("an AppSync authorizer", ("authorizationToken", "requestContext.queryString")),
    ("an API Gateway authorizer", ("methodArn",)),
    ("an API Gateway authorizer", ("routeArn",)),
    ("a WebSocket API", ("requestContext.connectionId",)),
    ("Amazon Lex", ("bot", "sessionState")),
    ("Amazon Lex", ("bot", "currentIntent")),
    ("Alexa", ("request.type", "request.requestId")),
    ("Alexa Smart Home", ("directive.header",)),
    ("Amazon Connect", ("Details.ContactData",)),
    ("Amazon Chime", ("InvocationEventType", "CallDetails")),
    ("Amazon Pinpoint", ("ApplicationId", "CampaignId")),
    ("AWS IoT", ("eventType", "eventId", "operation")),
    ("an AWS IoT button", ("serialNumber", "clickType")),
    ("AWS Client VPN", ("connection-id", "endpoint-id")),
    ("Secrets Manager", ("SecretId", "ClientRequestToken")),
    ("S3 Object Lambda", ("userRequest", "configuration.accessPointArn")),
    ("an agent of Amazon Bedrock", ("messageVersion", "agent", "actionGroup")),
    ("AWS Transfer Family", ("serverId", "protocol", "username")),
    ("Amazon Redshift", ("external_function", "arguments")),
    ("SageMaker Ground Truth", ("labelingJobArn",)),
    ("Amazon WorkMail", ("summaryVersion", "envelope")),
    ("a destination of another function", ("requestContext.functionArn", "requestPayload")),
)


class Unsupported(EventSource[None]):
    """An event of a service that brings no images."""

    source = "unsupported"

    @classmethod
    def infer(cls, event: Any) -> bool:
        return bool(_service(event))

    def jobs(self, settings: Settings) -> Sequence[Job]:
        titles = dict.fromkeys(source.title for source in EVENT_SOURCES if source.title)
        raise UnsupportedEvent(
            f"unsupported event source: {clean(_service(self._event))}; supported: "
            f"{', '.join(titles)} and direct invocation"
        )

    def failure(self, error: ClassifierError, headers: dict[str, str]) -> Any:
        raise error.bare()


def _service(event: Any) -> Any:
    """The service that an event is of, as its records or it itself call it; "" for none."""
    source = service_of(event) if isinstance(event, dict) else ""
    if source := SOURCES.get(source, source) or _name(event):
        return source
    bridged = isinstance(event, dict) and {"detail-type", "source", "detail"} <= event.keys()
    return event["source"] or "EventBridge" if bridged else ""


def _name(event: Any) -> str:
    """The service that an event is of; "" when it is none of these."""
    if isinstance(event, list):  # AppSync's batches
        return _name(event[0]) if event and isinstance(event[0], dict) else ""
    if not isinstance(event, dict):
        return ""
    source = event.get("eventSource")
    if isinstance(source, str):
        return SOURCES.get(source, source)
    records = event.get("Records")
    if isinstance(records, list) and records and _has(records[0], "cf"):
        return "CloudFront"
    for service, members in SERVICES:
        if all(_has(event, member) for member in members):
            return service
    return ""


def _has(value: Any, path: str) -> bool:
    if isinstance(value, dict) and path in value:
        return True
    first, _, rest = path.partition(".")
    return isinstance(value, dict) and bool(rest) and _has(value.get(first), rest)
