"""deploy/classic.sh: the real awscli against moto over HTTP, the real Docker, a real registry.

What has no real part here: moto makes functions of images without running them, and its ECR takes
no pushes; ECR_REGISTRY sends these to Debian's docker-registry on this machine instead. moto's
functions are never Pending or InProgress; a script with these states stands in for awscli where the
order of waits matters. Without a Docker engine or that registry the tests that build are skipped;
REQUIRE_CONTAINER=1 forbids that.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import time
from pathlib import Path

import boto3
import pytest
import requests
from moto.server import ThreadedMotoServer

from tests.unavailable import unavailable

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "deploy" / "classic.sh"
REGION = "eu-west-1"
NAME = "classic-test"
AWS_CLI = ROOT / ".venv-aws" / "bin"


def script(*options, path=SCRIPT, **environ):
    """Run it with no setting of this machine's; its exit status, output and errors."""
    own = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "FUNCTION": NAME, **environ}
    return subprocess.run(
        [path, *options],
        env=own,
        text=True,
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


# --- what needs nothing


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--auth", "open"], "--auth open is none of iam, api-key and none"),
        (["--auth"], "--auth needs a value"),
        (["--memory", "64"], "--memory 64"),
        (["--architecture", "amd64"], "x86_64 nor arm64"),
        (["--model", "models/none"], "models/none is not there"),
        (["--model", "/etc"], "must be below this folder"),
        (["--name", "Upper"], "--name Upper"),
        (["remove"], "no option remove"),
        ([], "no region"),
    ],
)
def test_wrong_use_is_told_in_a_line(options, said):
    done = script(*options)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert said in line


def test_help_names_every_option():
    done = script("--help")
    assert done.returncode == 0
    for word in ("--auth", "--dry-run", "delete", "ECR_REGISTRY", "exit status"):
        assert word in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def commands(output):
    """What a run shows, each command on one line."""
    joined = output.replace(" \\\n", " ")
    return [line.strip()[2:] for line in joined.splitlines() if line.startswith("  $ ")]


def test_a_dry_run_shows_a_first_run_and_needs_neither_tools_nor_credentials():
    done = script("--dry-run", "--region", REGION)
    assert done.returncode == 0, done.stderr
    steps = [" ".join(command.split()[:3]) for command in commands(done.stdout)]
    wanted = [
        "aws sts get-caller-identity",
        "aws ecr create-repository",
        "env BUILDX_NO_DEFAULT_ATTESTATIONS=1 docker",
        "aws ecr get-login-password",
        "docker push",
        "aws iam create-role",
        "aws lambda create-function",
        "aws lambda publish-version",
        "aws lambda create-alias",
        "aws apigateway create-rest-api",
        "aws lambda add-permission",
        "aws apigateway create-deployment",
        "aws apigateway update-stage",
    ]
    seen = iter(steps)
    assert all(any(step.startswith(each) for step in seen) for each in wanted), steps


@pytest.mark.parametrize("version", ["", "4.2", "3.2"])
def test_what_is_shown_can_be_typed_whatever_the_version_of_bash(version):
    done = script("--dry-run", "--region", REGION, BASH_COMPAT=version)
    typed = [shlex.split(command) for command in commands(done.stdout)]
    assert any("items[?path=='/'].id" in words for words in typed)


@pytest.mark.parametrize(
    ("options", "platform"), [([], "linux/amd64"), (["--architecture", "arm64"], "linux/arm64")]
)
def test_one_setting_chooses_the_image_and_the_function(options, platform):
    shown = script("--dry-run", "--region", REGION, *options).stdout
    assert f"--platform {platform}" in shown
    assert f"--architectures {options[1] if options else 'x86_64'}" in shown.replace("\\\n", "")


def test_calls_have_to_be_signed_unless_something_else_is_said():
    shown = script("--dry-run", "--region", REGION).stdout
    assert "--authorization-type AWS_IAM" in shown
    assert "NOBODY HAS TO SIGN IN" not in shown
    shown = script("--dry-run", "--region", REGION, "--auth", "none").stdout
    assert "--authorization-type AWS_IAM" not in shown
    assert "NOBODY HAS TO SIGN IN" in shown


def test_a_dry_run_needs_no_region_either():
    done = script("--dry-run")
    assert done.returncode == 0, done.stderr
    assert "arn:aws:lambda:REGION:" in done.stdout


def test_a_dry_run_of_delete_names_what_aws_has_chosen_in_capitals():
    done = script("delete", "--dry-run", "--region", REGION)
    assert done.returncode == 0, done.stderr
    shown = commands(done.stdout)
    for given in ("--usage-plan-id PLAN_ID", "--api-key KEY_ID", "--rest-api-id API_ID"):
        assert any(command.endswith(given) for command in shown), given
    assert not any(command.endswith(" -") for command in shown)


def test_the_script_has_no_finding_of_shellcheck():
    shellcheck = shutil.which("shellcheck") or pytest.skip("shellcheck is not installed")
    done = subprocess.run([shellcheck, SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


# --- with a docker and an aws that are scripts

# Of everything there is one already, called x1; of functions, where the file `function` is there.
# While `pending` or `changing` is, it is being made or changed, which a wait brings to its end.
AWS = r"""#!/usr/bin/env bash
echo "$*" >>"$FAKE/log"
settled() {
  [ ! -e "$FAKE/pending" ] && [ ! -e "$FAKE/changing" ] && return
  echo "An error occurred (ResourceConflictException)" >&2
  exit 254
}
case "$1 $2 $3" in
  "sts get-caller-identity "*) echo arn:aws:iam::123456789012:user/me ;;
  "lambda get-function "*)
    cat "$FAKE/function" 2>/dev/null && exit
    echo "An error occurred (ResourceNotFoundException)" >&2
    exit 254
    ;;
  "lambda create-function "*) touch "$FAKE/pending" ;;
  "lambda update-function-"*) settled && touch "$FAKE/changing" ;;
  "lambda wait function-active-v2") rm -f "$FAKE/pending" ;;
  "lambda wait function-updated-v2") rm -f "$FAKE/changing" ;;
  "lambda publish-version "*) settled && echo 1 ;;
  *) echo x1 ;;
esac
"""
DOCKER = r"""#!/usr/bin/env bash
[ "$1 $2" != "image inspect" ] || echo sha256:0123456789abcdef
"""
TOOLS = (
    "bash",
    "cat",
    "cut",
    "dirname",
    "env",
    "grep",
    "mktemp",
    "rm",
    "sed",
    "tail",
    "touch",
    "tr",
)


class Fake:
    """A project's folder with the script, the scripts above, and nothing else on PATH."""

    def __init__(self, folder):
        self.folder = folder
        self.bin = folder / "bin"
        self.venv = folder / ".venv-aws" / "bin"
        for each in (self.bin, self.venv, folder / "deploy", folder / "models"):
            each.mkdir(parents=True)
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        for path, text in ((self.bin / "docker", DOCKER), (self.venv / "aws", AWS)):
            path.write_text(text)
            path.chmod(0o755)
        shutil.copy(SCRIPT, folder / "deploy")

    def run(self, *options, path=None):
        where = {"PATH": path or str(self.bin), "FAKE": str(self.folder)}
        given = (*options, "--region", REGION)
        return script(*given, path=self.folder / "deploy" / "classic.sh", **where)

    def asked(self):
        return (self.folder / "log").read_text().splitlines()


@pytest.fixture
def fake(tmp_path):
    return Fake(tmp_path)


@pytest.mark.parametrize(
    ("memory", "left"),
    [
        (None, ()),
        (1769, ()),
        (1769, ("pending",)),
        (1769, ("changing",)),
        (512, ()),
        (512, ("pending", "changing")),
    ],
    ids=str,
)
def test_a_function_is_waited_for_before_it_is_changed_or_published(fake, memory, left):
    """None yet, as it is wanted, or of another memory; `left` so by a run that was interrupted."""
    for name in left:
        (fake.folder / name).touch()
    if memory:
        uri = f"123456789012.dkr.ecr.{REGION}.amazonaws.com/{NAME}@x1"
        (fake.folder / "function").write_text(f"{uri} {memory} x86_64 28")
    done = fake.run()
    assert done.returncode == 0, done.stderr
    steps = [" ".join(each.split()[:3]) for each in fake.asked() if each.startswith("lambda")]
    waits = ["lambda wait function-active-v2", "lambda wait function-updated-v2"]
    published = steps.index("lambda publish-version --function-name")
    assert steps[published - 2 : published] == waits


@pytest.mark.parametrize("own", [True, False])
def test_an_aws_that_is_not_on_path_is_taken_from_the_environment_that_make_has_made(fake, own):
    if own:
        shutil.copy(fake.venv / "aws", fake.bin)
    aws = "aws" if own else ".venv-aws/bin/aws"
    done = fake.run("--auth", "api-key")
    assert done.returncode == 0, done.stderr
    [line] = [line for line in done.stdout.splitlines() if line.startswith("  key=")]
    assert line.startswith(f"  key=$({aws} apigateway get-api-key ")
    # It works where the reader types it.
    typed = subprocess.run(
        [fake.bin / "bash", "-c", f"{line}\necho $key"],
        cwd=fake.folder,
        env={"PATH": str(fake.bin), "FAKE": str(fake.folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert typed.stdout == "x1\n"
    assert f'eval "$({aws} configure export-credentials' in fake.run("--dry-run").stdout
    assert fake.run("delete", "--yes").returncode == 0


def test_an_aws_that_make_has_put_on_path_is_told_by_its_own(fake):
    done = fake.run("--dry-run", path=f"{fake.venv}:{fake.bin}")
    assert 'eval "$(.venv-aws/bin/aws configure export-credentials' in done.stdout


# --- against moto, Docker and a registry


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """host:port of an empty registry."""
    program = shutil.which("docker-registry")
    if not program:
        unavailable(
            "docker-registry is not installed (Debian's package of that name)", "REQUIRE_CONTAINER"
        )
    if (
        not shutil.which("docker")
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        unavailable("no Docker engine answers", "REQUIRE_CONTAINER")
    folder = tmp_path_factory.mktemp("registry")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    config = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(folder / "images")}},
        "http": {"addr": address},
    }
    (folder / "config.yml").write_text(json.dumps(config), "utf-8")  # which is YAML
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "serve", folder / "config.yml"], stdout=log, stderr=log
        )
    try:
        for _ in range(100):
            try:
                requests.get(f"http://{address}/v2/", timeout=5).raise_for_status()
                break
            except requests.ConnectionError:
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        process.wait()
        listed = subprocess.run(
            ["docker", "images", "-q", "--filter", f"reference={address}/*"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for tag in [NAME, *listed]:
            subprocess.run(["docker", "rmi", "-f", tag], capture_output=True, check=False)


class Cloud:
    """moto's server as AWS, and the script run against it."""

    def __init__(self, url, environ, path=SCRIPT):
        self.url, self.environ, self.path = url, environ, path

    def client(self, service):
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )

    def run(self, *options, **environ):
        return script(*options, path=self.path, **{**self.environ, **environ})

    def deploy(self, *options):
        done = self.run(*options)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def versions(self):
        listed = self.client("lambda").list_versions_by_function(FunctionName=NAME)["Versions"]
        return [each["Version"] for each in listed]

    def alias(self):
        return self.client("lambda").get_alias(FunctionName=NAME, Name="live")["FunctionVersion"]

    def image(self):
        return self.client("lambda").get_function(FunctionName=NAME)["Code"]["ImageUri"]

    def api(self):
        [api] = self.client("apigateway").get_rest_apis()["items"]
        return api

    def methods(self):
        """Authorization and whether a key is required, by path and method."""
        gateway, api = self.client("apigateway"), self.api()["id"]
        found = {}
        for resource in gateway.get_resources(restApiId=api)["items"]:
            for name in resource.get("resourceMethods", {}):
                method = gateway.get_method(
                    restApiId=api, resourceId=resource["id"], httpMethod=name
                )
                assert method["methodIntegration"]["uri"].endswith(f"{NAME}:live/invocations")
                key = f"{name} {resource['path']}"
                found[key] = (method["authorizationType"], method["apiKeyRequired"])
        return found


@pytest.fixture(scope="module")
def moto():
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def account(moto, home):
    """An empty one."""
    if not (AWS_CLI / "aws").exists():
        unavailable("awscli is not here: make setup", "REQUIRE_CONTAINER")
    requests.post(f"{moto}/moto-api/reset", timeout=10).raise_for_status()
    docker = str(Path(shutil.which("docker") or "/usr/bin/docker").parent)
    environ = {
        "PATH": f"{AWS_CLI}:{docker}:/usr/bin:/bin",
        "AWS_ENDPOINT_URL": moto,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": REGION,
        "AWS_MAX_ATTEMPTS": "1",
        # Logins are not left in this machine's own.
        "DOCKER_CONFIG": str(home),
        **{key: os.environ[key] for key in ("DOCKER_HOST",) if key in os.environ},
    }
    return Cloud(moto, environ)


MODEL = ("--model", "models/clothing/clothing.tflite")
IAM = {
    "ANY /": ("AWS_IAM", False),
    "ANY /{proxy+}": ("AWS_IAM", False),
    "OPTIONS /{proxy+}": ("NONE", False),
}
OPEN = dict.fromkeys(IAM, ("NONE", False))


def everything(cloud):
    return {
        "functions": cloud.client("lambda").list_functions()["Functions"],
        "roles": cloud.client("iam").list_roles()["Roles"],
        "repositories": cloud.client("ecr").describe_repositories()["repositories"],
        "logs": cloud.client("logs").describe_log_groups()["logGroups"],
        "apis": cloud.client("apigateway").get_rest_apis()["items"],
        "plans": cloud.client("apigateway").get_usage_plans()["items"],
        "keys": cloud.client("apigateway").get_api_keys()["items"],
    }


SOURCES = (
    *("Dockerfile", ".dockerignore", "requirements.txt", "lambda_function.py"),
    *("classifier", "web", "models", "deploy/slim.py", "deploy/classic.sh"),
)


@pytest.fixture(scope="module")
def stack(moto, registry, tmp_path_factory):
    """A first run on an empty account, and what it said."""
    cloud = account(moto, tmp_path_factory.mktemp("home"))
    # A copy of what an image is built from, so that nobody's editing changes the second one.
    tree = tmp_path_factory.mktemp("tree")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name)
        else:
            (tree / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
    cloud.path = tree / "deploy" / "classic.sh"
    cloud.environ["ECR_REGISTRY"] = registry
    cloud.told = cloud.deploy(*MODEL)
    return cloud


def test_a_first_run_makes_all_of_it(stack, registry):
    api = stack.api()
    assert f"https://{api['id']}.execute-api.{REGION}.amazonaws.com/Prod/predict" in stack.told
    assert stack.methods() == IAM
    # moto keeps no binary media types, so what was asked for has to do.
    assert "--binary-media-types image/jpeg" in stack.told
    found = stack.client("apigateway").get_stage(restApiId=api["id"], stageName="Prod")
    limits = found["methodSettings"]["*/*"]
    assert (limits["throttlingRateLimit"], limits["throttlingBurstLimit"]) == (20, 40)
    assert stack.image().startswith(f"{registry}/{NAME}@sha256:")
    assert stack.versions() == ["$LATEST", "1"]
    assert stack.alias() == "1"
    [repository] = stack.client("ecr").describe_repositories()["repositories"]
    assert repository["imageTagMutability"] == "IMMUTABLE"
    assert repository["imageScanningConfiguration"] == {"scanOnPush": True}


MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
)


def manifest(registry, reference):
    index = "application/vnd.oci.image.index.v1+json"
    return requests.get(
        f"http://{registry}/v2/{NAME}/manifests/{reference}",
        headers={"Accept": ", ".join((*MANIFESTS, index))},
        timeout=10,
    )


def test_the_image_is_one_manifest_of_a_kind_that_lambda_takes(stack, registry):
    """https://docs.aws.amazon.com/lambda/latest/dg/images-create.html#images-reqs."""
    digest = stack.image().rpartition("@")[2]
    answer = manifest(registry, digest)
    assert answer.headers["Content-Type"] in MANIFESTS
    assert answer.headers["Docker-Content-Digest"] == digest


def test_the_role_may_write_its_log_and_nothing_else(stack):
    iam = stack.client("iam")
    [role] = iam.list_roles()["Roles"]
    name = role["RoleName"]
    assert iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"] == []
    assert iam.list_role_policies(RoleName=name)["PolicyNames"] == ["log"]
    document = iam.get_role_policy(RoleName=name, PolicyName="log")["PolicyDocument"]
    [statement] = document["Statement"]
    assert statement["Action"] == ["logs:CreateLogStream", "logs:PutLogEvents"]
    assert statement["Resource"].endswith(f":log-group:/aws/lambda/{NAME}:*")
    [group] = stack.client("logs").describe_log_groups()["logGroups"]
    assert group["retentionInDays"] == 30


def test_one_api_alone_may_invoke_the_alias(stack):
    policy = stack.client("lambda").get_policy(FunctionName=NAME, Qualifier="live")["Policy"]
    [grant] = json.loads(policy)["Statement"]
    source = grant["Condition"]["ArnLike"]["AWS:SourceArn"]
    assert source == f"arn:aws:execute-api:{REGION}:123456789012:{stack.api()['id']}/*/*"


def test_each_further_run_changes_what_differs_until_delete_leaves_nothing(stack, registry):
    """In one test, as a run takes a quarter of a minute."""
    image, api = stack.image(), stack.api()["id"]

    # The same again, with the image in ECR as after a push: where tags are immutable it refuses.
    for tag in requests.get(f"http://{registry}/v2/{NAME}/tags/list", timeout=10).json()["tags"]:
        pushed = manifest(registry, tag)
        stack.client("ecr").put_image(
            repositoryName=NAME,
            imageManifest=pushed.text,
            imageTag=tag,
            imageDigest=pushed.headers["Docker-Content-Digest"],
        )
    told = stack.deploy(*MODEL)
    assert stack.methods() == IAM
    assert (stack.image(), stack.api()["id"]) == (image, api)
    assert stack.versions() == ["$LATEST", "1"]
    things = ("repository", "role", "function", "alias live", "REST API", "permission")
    for thing in (f"{registry}/{NAME}:x86_64-", *things):
        assert f"already there: {thing}" in told, thing
    assert "docker push" not in told

    # Another model, half the memory, and everybody may call.
    other = ("--model", "models/digits/digits.tflite", "--memory", "512")
    told = stack.deploy(*other, "--auth", "none")
    assert "NOBODY HAS TO SIGN IN" in told
    assert stack.methods() == OPEN
    assert stack.image() != image
    assert stack.versions() == ["$LATEST", "1", "2"]
    assert stack.alias() == "2"
    function = stack.client("lambda").get_function(FunctionName=NAME)["Configuration"]
    assert (function["MemorySize"], function["Timeout"]) == (512, 28)

    # By a key.
    told = stack.deploy(*other, "--auth", "api-key")
    assert stack.methods() == {**OPEN, **dict.fromkeys(["ANY /", "ANY /{proxy+}"], ("NONE", True))}
    gateway = stack.client("apigateway")
    [key], [plan] = gateway.get_api_keys()["items"], gateway.get_usage_plans()["items"]
    assert plan["apiStages"] == [{"apiId": api, "stage": "Prod"}]
    [joined] = gateway.get_usage_plan_keys(usagePlanId=plan["id"])["items"]
    assert joined["id"] == key["id"]
    value = gateway.get_api_key(apiKey=key["id"], includeValue=True)["value"]
    assert value not in told, "a secret does not belong into a log"
    assert stack.versions() == ["$LATEST", "1", "2"]

    # A plan that an interrupted delete has left is joined to the API.
    gateway.update_usage_plan(
        usagePlanId=plan["id"],
        patchOperations=[{"op": "remove", "path": "/apiStages", "value": f"{api}:Prod"}],
    )
    told = stack.deploy(*other, "--auth", "api-key")
    assert f"already there: usage plan {plan['id']}" in told
    assert gateway.get_usage_plans()["items"] == [plan]

    # Gone, but not without a word.
    made = everything(stack)
    assert all(len(things) == 1 for things in made.values()), made
    asked = stack.run("delete")
    assert asked.returncode == 2
    assert "say --yes" in asked.stderr
    assert everything(stack) == made
    for _ in range(2):
        done = stack.run("delete", "--yes")
        assert done.returncode == 0, done.stderr
        assert not any(everything(stack).values())


@pytest.fixture
def aws(moto, tmp_path):
    return account(moto, tmp_path)


def test_delete_leaves_what_others_made(aws):
    iam, gateway = aws.client("iam"), aws.client("apigateway")
    iam.create_role(RoleName=f"{NAME}-2", AssumeRolePolicyDocument="{}")
    gateway.create_rest_api(name=f"{NAME}-2")
    aws.client("logs").create_log_group(logGroupName=f"/aws/lambda/{NAME}-2")
    aws.client("ecr").create_repository(repositoryName=f"{NAME}-2")
    before = everything(aws)
    assert aws.run("delete", "--yes").returncode == 0
    assert everything(aws) == before


def test_of_several_apis_of_the_name_none_is_chosen(aws):
    for _ in range(2):
        aws.client("apigateway").create_rest_api(name=NAME)
    done = aws.run("delete", "--yes")
    assert done.returncode == 2
    assert "several are named" in done.stderr
    assert len(everything(aws)["apis"]) == 2


def test_a_service_that_does_not_answer_is_not_taken_for_an_empty_one(aws):
    done = aws.run("delete", "--yes", AWS_ENDPOINT_URL_API_GATEWAY="http://127.0.0.1:1")
    assert done.returncode == 1
    assert "the look-up above failed" in done.stderr
    assert "left" not in done.stdout


def test_without_credentials_the_remedy_is_told(aws):
    done = aws.run("delete", "--yes", AWS_SECRET_ACCESS_KEY="")
    assert done.returncode == 2
    assert "aws configure" in done.stderr
    assert "Traceback" not in done.stderr
