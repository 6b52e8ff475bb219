"""template.yaml: what CloudFormation would make of it, for each choice of its parameters.

SAM's own translator (that of `sam validate`) turns it into plain CloudFormation; conditions,
parameters and mappings are then put in here, by the functions of the template's own few kinds.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest

from benchmarks.estimate import each as dollars_for
from keras_to_lambda.deploy.doctor.template import Template
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.inference.telemetry import METRICS

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-aws" / "bin" / "python"
# By name: what SAM gets in place of the parameters' defaults, and changes of the function's
# properties. SAM names some resources by the second: "later" is one second later.
VARIANTS = {
    "plain": ({}, {}),
    "later": ({}, {}),
    "settings 1": ({}, {"Description": "settings 1"}),
    "settings 1, again": ({}, {"Description": "settings 1"}),
    "settings 2": ({}, {"Description": "settings 2"}),
    "without CodeDeploy": ({"Deployment": "Off"}, {}),
}
TRANSLATE = """
import json, os, sys, time
os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform
class NoPolicies:
    def load(self): return {}
made = {}
for variant, (parameters, changes) in json.loads(sys.argv[1]).items():
    time.sleep(variant == "later")
    template = yaml_parse(open("template.yaml").read())
    function = template["Resources"]["Classifier"]["Properties"]
    # What `sam package` puts in place of local files.
    function["ImageUri"] = "1.dkr.ecr.us-east-1.amazonaws.com/x:1"
    template["Resources"]["StateMachine"]["Properties"]["DefinitionUri"] = "s3://bucket/key"
    function.update(changes)
    made[variant] = transform(template, parameters, NoPolicies())
print(json.dumps(made))
"""
PSEUDO = {
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::Region": "us-east-1",
    "AWS::StackName": "keras-to-lambda",
    "AWS::URLSuffix": "amazonaws.com",
}
NO_VALUE = object()


def run(program, *arguments):
    if not PYTHON.exists():
        pytest.skip("sam is not installed: make setup")
    return subprocess.run(
        [PYTHON.parent / program, *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="session")
def variants():
    """The template as CloudFormation's, by the names of VARIANTS."""
    done = run("python", "-c", TRANSLATE, json.dumps(VARIANTS))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="session")
def translated(variants):
    return variants["plain"]


class Stack:
    """The template with parameters put in: what would be there."""

    def __init__(self, template, **parameters):
        assert parameters.keys() <= template["Parameters"].keys()
        self.template = template
        defaults = Template(template).parameters
        self.parameters = {**defaults, **{name: str(value) for name, value in parameters.items()}}

        class Conditions(Template):
            _value = staticmethod(lambda given: str(self.value(given)))

        self.holds = Conditions(template)._holds
        self.resources = {
            name: self.value(resource.get("Properties", {}))
            for name, resource in template["Resources"].items()
            if self.is_there(resource)
        }
        self.outputs = {
            name: self.value(output["Value"])
            for name, output in template["Outputs"].items()
            if self.is_there(output)
        }

    def is_there(self, part):
        return "Condition" not in part or self.holds({"Condition": part["Condition"]})

    def named(self, name):
        if name in PSEUDO:
            return PSEUDO[name]
        if name in self.parameters:
            listed = self.template["Parameters"][name]["Type"] == "CommaDelimitedList"
            return self.parameters[name].split(",") if listed else self.parameters[name]
        resource = name.partition(".")[0]
        assert resource in self.template["Resources"], f"nothing is called {name}"
        assert self.is_there(self.template["Resources"][resource]), f"{name} is not there"
        return f"<{name}>"

    def value(self, tree):
        match tree:
            case {"Ref": "AWS::NoValue"}:
                return NO_VALUE
            case {"Ref": name}:
                return self.named(name)
            case {"Fn::GetAtt": path}:
                return self.named(path if isinstance(path, str) else ".".join(path))
            case {"Fn::If": [condition, yes, no]}:
                return self.value(yes if self.holds({"Condition": condition}) else no)
            case {"Fn::Join": [by, parts]}:
                return by.join(self.value(parts))
            case {"Fn::Split": [by, text]}:
                return self.value(text).split(by)
            case {"Fn::FindInMap": path}:
                table, row, column = map(self.value, path)
                return self.template["Mappings"][table][row][column]
            case {"Fn::Sub": given}:
                text, own = (given, {}) if isinstance(given, str) else given
                own = {name: self.value(value) for name, value in own.items()}
                put = lambda m: str(own[m[1]] if m[1] in own else self.named(m[1]))  # noqa: E731
                return re.sub(r"\$\{([A-Za-z0-9.:]+)\}", put, text)
            case dict():
                items = {name: self.value(value) for name, value in tree.items()}
                return {name: value for name, value in items.items() if value is not NO_VALUE}
            case list():
                return [x for each in tree if (x := self.value(each)) is not NO_VALUE]
        return tree

    def statements(self, role):
        for policy in self.resources[role]["Policies"]:
            yield from policy["PolicyDocument"]["Statement"]

    def allowed(self, role, action):
        """The resources that a role may do something with."""
        return [
            resource
            for statement in self.statements(role)
            for resource in _list(statement["Resource"])
            if action in _list(statement["Action"])
        ]

    def at(self, path):
        """What is at a dotted path of the resources; None: nothing."""
        found = self.resources
        for step in path.split("."):
            found = found[int(step)] if isinstance(found, list) else found.get(step)
            if found is None:
                return None
        return found


def _list(value):
    return value if isinstance(value, list) else [value]


@pytest.fixture
def stack(translated):
    return lambda **parameters: Stack(translated, **parameters)


CHOICES = list(
    itertools.product(
        ("x86_64", "arm64"),
        (("rest", "iam"), ("rest", "api-key"), ("rest", "none"), ("http", "iam"), ("http", "none")),
        (("false", ""), ("false", "a,b"), ("true", ""), ("true", "a,b")),
        (("off", 0), ("iam", 0), ("none", 5)),
        ("true", "false"),
    )
)


def test_every_choice_of_parameters_is_whole(stack):
    """Nothing refers to a resource that its conditions leave out."""
    for architecture, (api, auth), (bulk, buckets), (url, limit), metrics in CHOICES:
        made = stack(
            Architecture=architecture, ApiType=api, Authentication=auth, Bulk=bulk,
            ImageBuckets=buckets, FunctionUrl=url, ConcurrencyLimit=limit, Metrics=metrics,
            AlarmEmail="me@example.com" if bulk == "true" else "",
        )  # fmt: skip
        assert made.resources["Classifier"]["Architectures"] == [architecture]
        assert ("RestApi" in made.resources, "HttpApi" in made.resources) == (
            api == "rest",
            api == "http",
        )
        assert ("StateMachine" in made.resources) == (bulk == "true")
        assert ("Dashboard" in made.resources) == (metrics == "true")
        json.loads(json.dumps(made.resources))  # nothing was left unanswered


def test_sam_and_its_cfn_lint_find_nothing():
    done = run("sam", "validate", "--lint")
    assert "is a valid SAM Template" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("auth", "wanted"), [("iam", [{"sigv4": []}]), ("api-key", [{"key": []}]), ("none", [])]
)
def test_the_gateway_asks_for_what_authentication_says_but_never_of_a_preflight(
    stack, auth, wanted
):
    made = stack(**({} if auth == "iam" else {"Authentication": auth}))  # iam: the default
    paths = made.resources["RestApi"]["Body"]["paths"]
    assert set(paths) == {"/", "/{proxy+}"}
    for path in paths.values():
        assert path["x-amazon-apigateway-any-method"]["security"] == wanted
        assert path["options"]["security"] == []
    if auth != "api-key":
        paths = stack(Authentication=auth, ApiType="http").resources["HttpApi"]["Body"]["paths"]
        assert paths["$default"]["x-amazon-apigateway-any-method"]["security"] == wanted
        assert [paths[path]["options"]["security"] for path in ("/", "/{proxy+}")] == [[], []]
    assert ("ApiKey" in made.resources) == (auth == "api-key")
    assert ("--aws-sigv4" in made.outputs["Curl"]) == (auth == "iam")
    assert ("x-api-key" in made.outputs["Curl"]) == (auth == "api-key")
    assert made.outputs["Url"] in made.outputs["Curl"]


ALIAS = "<ClassifierAliaslive>"
PROXY = "RestApi.Body.paths./{proxy+}.x-amazon-apigateway-any-method"
# Parameters, a place in the resources, and what is there.
PLACES = [
    ({}, "Url", None),
    ({}, "DataBucket", None),
    ({}, "RestApiProdStage.MethodSettings.0.ThrottlingRateLimit", "20"),
    ({}, "RestApiProdStage.AccessLogSetting", None),
    ({}, "Classifier.ReservedConcurrentExecutions", None),
    ({"ConcurrencyLimit": 5}, "Classifier.ReservedConcurrentExecutions", "5"),
    ({}, "ClassifierAliaslive.ProvisionedConcurrencyConfig", None),
    ({"ProvisionedConcurrency": 3}, "ClassifierAliaslive.ProvisionedConcurrencyConfig",
     {"ProvisionedConcurrentExecutions": "3"}),
    ({}, "ClassifierAliaslive.Name", "live"),
    # Callers, queues and batches all reach the alias.
    ({"Bulk": "true"}, "QueueReader.FunctionName", ALIAS),
    ({"Bulk": "true"}, "ApiMayInvoke.FunctionName", ALIAS),
    ({"Bulk": "true"}, "StateMachine.DefinitionSubstitutions", {"FunctionArn": ALIAS}),
    ({}, f"{PROXY}.x-amazon-apigateway-integration.uri",
     "arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/<Classifier.Arn>:live"
     "/invocations"),
    # What fails in a queue is kept.
    ({"Bulk": "true"}, "Queue.RedrivePolicy.deadLetterTargetArn", "<DeadLetters.Arn>"),
    ({"Bulk": "true"}, "QueueReader.FunctionResponseTypes", ["ReportBatchItemFailures"]),
    # An alarm of the new version takes a canary back. CloudWatch keeps the state of an alarm that
    # is changed; another name is another alarm.
    ({}, "ClassifierDeploymentGroup.AlarmConfiguration.Alarms", [{"Name": "<NewVersionFails>"}]),
    ({}, "ClassifierDeploymentGroup.AutoRollbackConfiguration.Enabled", True),
    ({}, "NewVersionFails.Metrics.0.Expression", "errors/invocations"),
    ({}, "NewVersionFails.Threshold", 0.05),
    ({}, "Errors.AlarmActions", None),
    # A day of the calendar, as bills have it.
    ({}, "Spend.EvaluationWindow", {"WallClockWindow": {"Timezone": "UTC"}}),
    ({"AccessLogs": "on"}, "GatewayAccount", None),
    ({"AccessLogs": "on"}, "RestApiProdStage.Variables.account", "unchanged"),
    ({"AccessLogs": "with-account-role"}, "RestApiProdStage.Variables.account", "<GatewayAccount>"),
]  # fmt: skip


@pytest.mark.parametrize(("parameters", "place", "wanted"), PLACES)
def test_what_is_there(stack, parameters, place, wanted):
    made = stack(**parameters)
    assert made.at(place) == wanted


TOGETHER = "Give ModelBucket and ModelKey together."
MODEL = {"ModelBucket": "m"}
OPEN = {"FunctionUrl": "none", "ConcurrencyLimit": "5"}
REFUSED = [
    ({"FunctionUrl": "none"}, "Nothing throttles a function URL but ConcurrencyLimit"),
    ({**OPEN, "Bulk": "true"}, "Everybody could see the pictures of Bulk"),
    ({"Authentication": "none", "ImageBuckets": "a"}, "Everybody could see the pictures in Image"),
    ({"ApiType": "http", "Authentication": "api-key"}, "HTTP APIs have no API keys"),
    (MODEL, TOGETHER),
    ({"ModelKey": "m"}, TOGETHER),
    *(
        ({**MODEL, "ModelKey": key}, f"ModelKey={key}: must match [a-zA-Z0-9 !'()+,./:=@_-]*")
        for key in ("*", "v1/?.tflite", "${aws:username}.tflite", "a\n.tflite")
    ),
    # What people put into names.
    ({**MODEL, "ModelKey": "models/date=2026-01-31/my model (1).tflite"}, None),
]


@pytest.mark.parametrize(("parameters", "fault"), REFUSED)
def test_parameters_that_are_not_safe_together_are_refused(parameters, fault):
    template = Template.read(ROOT / "template.yaml")
    found = list(template.deployed_with(parameters).faults())
    assert len(found) == (fault is not None)
    assert all(each.startswith(fault) for each in found)


BUCKETS = {"ImageBuckets": "a,b"}
BULK = {**BUCKETS, "Bulk": "true"}
READ = ["arn:aws:s3:::a/*", "arn:aws:s3:::b/*"]
LISTED = ["arn:aws:s3:::a", "arn:aws:s3:::b"]
KEYS = ["arn:aws:kms:us-east-1:1:key/a", "arn:aws:kms:us-east-1:1:key/b"]
ENCRYPTED = {**BULK, "ImageKeys": ",".join(KEYS)}
OWN = {"ModelBucket": "m", "ModelKey": "v1/x.tflite"}
# Parameters, a role, an action, and the resources with which the role may do that.
ALLOWED = [
    ({}, "ClassifierRole", "s3:GetObject", []),
    ({}, "ClassifierRole", "s3:ListBucket", []),
    (BUCKETS, "ClassifierRole", "s3:GetObject", READ),
    # Without it, S3 does not distinguish an object that is gone from one that may not be read.
    (BULK, "ClassifierRole", "s3:ListBucket", [*LISTED, "<DataBucket.Arn>"]),
    (BULK, "ClassifierRole", "s3:PutObject", ["<DataBucket.Arn>/answers/*"]),
    (BULK, "StateMachineRole", "s3:PutObject", ["<DataBucket.Arn>/runs/*"]),
    (BULK, "StateMachineRole", "lambda:InvokeFunction", ["<ClassifierAliaslive>"]),
    (BULK, "StateMachineRole", "s3:GetObject", ["<DataBucket.Arn>/*", *LISTED, *READ]),
    (BULK, "ClassifierRole", "kms:Decrypt", []),
    (BULK, "StateMachineRole", "kms:Decrypt", []),
    (ENCRYPTED, "ClassifierRole", "kms:Decrypt", KEYS),
    (ENCRYPTED, "StateMachineRole", "kms:Decrypt", KEYS),
    # A model in S3 is all that is readable in its bucket.
    (OWN, "ClassifierRole", "s3:GetObject", ["arn:aws:s3:::m/v1/x.tflite"]),
    (OWN, "ClassifierRole", "s3:ListBucket", []),
]


@pytest.mark.parametrize(("parameters", "role", "action", "resources"), ALLOWED)
def test_a_role_may_do_no_more_than_its_choices_need(stack, parameters, role, action, resources):
    made = stack(**parameters)
    assert sorted(made.allowed(role, action)) == sorted(resources)
    for statement in made.statements(role):
        actions = _list(statement["Action"])
        assert not any(action.endswith("*") for action in actions)
        if role == "ClassifierRole" and statement["Resource"] == "*":
            assert all("xray" in action for action in actions)


def test_the_function_gets_what_the_stack_made(stack):
    known = {field.name.upper() for field in fields(Settings)}
    answers, namespace = "s3://<DataBucket>/answers", "keras-to-lambda"
    for choice, buckets, results, metrics, model in (
        (BULK, ["<DataBucket>", "a", "b"], answers, namespace, None),
        ({"Metrics": "false"}, [], "", "", None),
        ({"Bulk": "true"}, ["<DataBucket>"], answers, namespace, None),
        (BUCKETS, ["a", "b"], "", namespace, None),
        (OWN, ["m"], "", namespace, "s3://m/v1/x.tflite"),
    ):
        variables = stack(**choice).resources["Classifier"]["Environment"]["Variables"]
        assert set(variables) <= known
        assert [name for name in variables["S3_ALLOWED_BUCKETS"].split(",") if name] == buckets
        assert variables["RESULTS_PREFIX"] == results
        assert variables["METRICS_NAMESPACE"] == metrics
        assert variables.get("MODEL_PATH") == model


def test_a_change_reaches_versions_and_the_stage(variants):
    """SAM names versions by the function's text, in which `k2l deploy` writes the settings' hash.

    It names a REST API's deployment by the definition's text; here, by the second.
    """

    def named(variant, kind):
        [name] = [n for n in variants[variant]["Resources"] if n.startswith(kind)]
        return name

    versions = {variant: named(variant, "ClassifierVersion") for variant in VARIANTS}
    assert len({versions[each] for each in ("plain", "settings 1", "settings 2")}) == 3
    assert versions["settings 1, again"] == versions["settings 1"]
    assert named("plain", "RestApiDeployment") != named("later", "RestApiDeployment")


def test_images_are_binary_to_the_rest_api(translated):
    body = translated["Resources"]["RestApi"]["Properties"]["Body"]
    assert {"image/jpeg", "image/png", "image/webp", "multipart/form-data"} <= set(
        body["x-amazon-apigateway-binary-media-types"]
    )


def test_the_alarm_of_a_new_version_is_its_own_and_ends_its_canary(stack, translated):
    made = stack()
    for each in made.resources["NewVersionFails"]["Metrics"][1:]:
        metric = each["MetricStat"]["Metric"]
        assert metric["MetricName"].lower() == each["Id"]
        assert [dimension["Name"] for dimension in metric["Dimensions"]] == [
            "FunctionName", "Resource", "ExecutedVersion"
        ]  # fmt: skip
    update = translated["Resources"]["ClassifierAliaslive"]["UpdatePolicy"]
    assert "CodeDeployLambdaAliasUpdate" in update
    [version] = [name for name in made.resources if name.startswith("ClassifierVersion")]
    assert made.at("NewVersionFails.AlarmName") == f"keras-to-lambda-version-<{version}.Version>"
    assert made.outputs["FunctionVersion"] == f"<{version}.Version>"


def test_a_deployment_can_do_without_codedeploy(variants):
    made = variants["without CodeDeploy"]
    assert "UpdatePolicy" not in made["Resources"]["ClassifierAliaslive"]
    assert not any("CodeDeploy" in each["Type"] for each in made["Resources"].values())
    [choices] = [made["Parameters"]["Deployment"]["AllowedValues"]]
    assert set(choices) == set(made["Mappings"]["CodeDeploy"])


def test_a_queue_gives_the_function_time_and_the_bucket_stays(stack, translated):
    # https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
    for seconds in translated["Parameters"]["Timeout"]["AllowedValues"]:
        made = stack(Bulk="true", Timeout=seconds)
        assert made.at("Classifier.Timeout") == str(seconds)
        assert made.at("Queue.VisibilityTimeout") == 6 * seconds
    bucket = translated["Resources"]["DataBucket"]  # of a creation that failed, none stays
    assert bucket["DeletionPolicy"] == "RetainExceptOnCreate"
    assert bucket["UpdateReplacePolicy"] == "Retain"


def test_alarms_notify_the_address_that_was_given(stack):
    made = stack(AlarmEmail="me@example.com", Bulk="true")
    names = "NewVersionFails Errors ServerErrors Slow Throttles Dead Waiting BatchFailed Spend"
    assert {name: ["<Alerts>"] for name in names.split()} == {
        name: each["AlarmActions"]
        for name, each in made.resources.items()
        if made.template["Resources"][name]["Type"] == "AWS::CloudWatch::Alarm"
    }


@pytest.mark.parametrize(("architecture", "api"), [("x86_64", "rest"), ("arm64", "http")])
def test_the_spend_alarm_adds_up_at_the_prices_of_the_table(stack, architecture, api):
    made = stack(Architecture=architecture, ApiType=api, MemorySize=1024)
    [dollars] = [each for each in made.resources["Spend"]["Metrics"] if each["Id"] == "dollars"]
    formula = re.sub(r"FILL\((\w+),0\)", r"\1", dollars["Expression"])
    assert not re.search(r"[^\w.+*/()]", formula)
    # A million seconds of a gigabyte, five million invocations, eight million requests of 2 MB,
    # each of which an HTTP API counts four times, at most five.
    usage = {"ms": 1e9, "invocations": 5e6, "requests": 8e6, "bytes": 8e6 * 2**21}
    counted = {"rest": 8e6, "http": 5 * 8e6}[api]
    assert eval(formula, {}, usage) == pytest.approx(
        1e6 * dollars_for(f"lambda_{architecture}")
        + 5e6 * dollars_for("lambda_request")
        + counted * dollars_for(f"{api}_api")
    )
    ids = {each["Id"] for each in made.resources["Spend"]["Metrics"]}
    assert set(re.findall(r"[a-z]+", formula)) == ids - {"dollars"}


def test_the_dashboard_is_json_about_metrics_that_the_function_sends(stack):
    body = json.loads(stack().resources["Dashboard"]["DashboardBody"])
    named = set()
    for widget in body["widgets"]:
        namespace = None
        for metric in widget["properties"].get("metrics", []):
            if isinstance(metric[0], str):
                namespace = metric[0] if metric[0] not in (".", "...") else namespace
                if namespace == "keras-to-lambda" and metric[0] != "...":
                    named.add(metric[1])
    assert named
    assert named <= set(METRICS)


def test_gateways_log_what_they_refuse(stack):
    """An HTTP API always; a REST API where the account's role is there, or is made."""
    http = stack(ApiType="http")
    [settings] = [
        each["AccessLogSettings"] for each in http.resources.values() if "AccessLogSettings" in each
    ]
    assert settings["DestinationArn"] == "<AccessLog.Arn>"
    assert {"status", "error"} <= set(json.loads(settings["Format"]))
    for choice in ("on", "with-account-role"):
        log = stack(AccessLogs=choice).at("RestApiProdStage.AccessLogSetting.Format")
        assert "status" in json.loads(log)
