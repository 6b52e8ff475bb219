"""deploy/classic.sh: the real awscli against moto over HTTP; `docker` is a script that records.

tests/container/test_image.py builds the image for real. moto runs no image, so that the function
itself is not called here.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.unavailable import unavailable

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "deploy" / "classic.sh"
AWS_CLI = ROOT / ".venv-aws" / "bin"
REGION, NAME = "eu-west-1", "classic-test"
DOCKER = """#!/bin/sh
echo "$*" >>"$(dirname "$0")/log"
case $1 in login) cat >/dev/null ;; esac
[ "$1 $2" != "image inspect" ] || echo sha256:0123456789abcdef
"""
SIGNED = {"ANY": ("AWS_IAM", False), "OPTIONS": ("NONE", False)}
KEYED = {"ANY": ("NONE", True), "OPTIONS": ("NONE", False)}


def script(*options, **environ):
    return subprocess.run(
        [SCRIPT, *options],
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **environ},
        text=True,
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize(
    ("options", "status", "text"),
    [
        (["--auth", "open"], 2, "--auth open: iam, api-key or none"),
        (["--auth"], 2, "--auth: no value"),
        (["--memory", "64"], 2, "--memory 64"),
        (["--architecture", "amd64"], 2, "x86_64 or arm64"),
        (["--model", "/etc"], 2, "--model /etc: not a file or folder below this project"),
        (["--name", "Upper"], 2, "--name Upper"),
        (["remove"], 2, "unknown option remove"),
        (["delete"], 2, "confirm with --yes"),
        (["--help"], 0, "--dry-run"),
        (["--dry-run"], 0, "--authorization-type AWS_IAM"),
        (["--dry-run", "--auth", "none"], 0, "NO SIGN-IN"),
        (["--dry-run", "--auth", "api-key"], 0, "aws apigateway create-usage-plan-key"),
        (["--dry-run", "--architecture", "arm64"], 0, "--platform linux/arm64"),
        (["delete", "--dry-run"], 0, "aws ecr delete-repository"),
    ],
)
def test_options_and_dry_runs(options, status, text):
    done = script(*options)
    assert done.returncode == status, done.stderr
    assert text in (done.stderr if status else done.stdout)


def test_the_script_has_no_finding_of_shellcheck_and_at_most_200_lines():
    shellcheck = shutil.which("shellcheck") or pytest.skip("shellcheck is not installed")
    done = subprocess.run([shellcheck, SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert len(SCRIPT.read_text("utf-8").splitlines()) <= 200


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    """An empty account: run(options) and client(service)."""
    if not (AWS_CLI / "aws").exists():
        unavailable("awscli is not installed: make setup", "REQUIRE_CONTAINER")
    folder = tmp_path_factory.mktemp("docker")
    (folder / "docker").write_text(DOCKER)
    (folder / "docker").chmod(0o755)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}

    class Cloud:
        docker_log = folder / "log"

        def run(self, *options, **environ):
            return script(
                *options,
                *("--name", NAME, "--region", REGION),
                **{
                    "PATH": f"{folder}:{AWS_CLI}:/usr/bin:/bin",
                    "AWS_ENDPOINT_URL": f"http://{host}:{port}",
                    "AWS_MAX_ATTEMPTS": "1",
                    **{name.upper(): value for name, value in keys.items()},
                    **environ,
                },
            )

        def client(self, service):
            url = f"http://{host}:{port}"
            return boto3.client(service, endpoint_url=url, region_name=REGION, **keys)

        def everything(self):
            return {
                "functions": self.client("lambda").list_functions()["Functions"],
                "roles": self.client("iam").list_roles()["Roles"],
                "repositories": self.client("ecr").describe_repositories()["repositories"],
                "logs": self.client("logs").describe_log_groups()["logGroups"],
                "apis": self.client("apigateway").get_rest_apis()["items"],
                "plans": self.client("apigateway").get_usage_plans()["items"],
                "keys": self.client("apigateway").get_api_keys()["items"],
            }

    yield Cloud()
    server.stop()


def methods(cloud):
    """Authorization and whether a key is required, by method of /{proxy+}."""
    gateway = cloud.client("apigateway")
    [api] = gateway.get_rest_apis()["items"]
    [proxy] = [
        each
        for each in gateway.get_resources(restApiId=api["id"])["items"]
        if each["path"] == "/{proxy+}"
    ]
    found = {}
    for name in proxy["resourceMethods"]:
        method = gateway.get_method(restApiId=api["id"], resourceId=proxy["id"], httpMethod=name)
        assert method["methodIntegration"]["uri"].endswith(f"{NAME}:live/invocations")
        found[name] = (method["authorizationType"], method["apiKeyRequired"])
    return found


def test_runs_create_then_update_and_delete_leaves_nothing(cloud):
    """One test, as a run takes many calls of awscli."""
    functions = cloud.client("lambda")
    for options, wanted, memory in (
        (("--auth", "api-key"), KEYED, 1769),
        (("--memory", "512"), SIGNED, 512),
    ):
        done = cloud.run(*options)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        assert methods(cloud) == wanted
        assert all(len(things) == 1 for things in cloud.everything().values())
        [function] = functions.list_functions()["Functions"]
        assert (function["MemorySize"], function["Timeout"]) == (memory, 28)
        newest = functions.list_versions_by_function(FunctionName=NAME)["Versions"][-1]["Version"]
        alias = functions.get_alias(FunctionName=NAME, Name="live")
        assert alias["FunctionVersion"] == newest
    assert f"{NAME}:x86_64-0123456789ab" in cloud.docker_log.read_text()
    policy = functions.get_policy(FunctionName=NAME, Qualifier="live")["Policy"]
    [grant] = json.loads(policy)["Statement"]
    [api] = cloud.client("apigateway").get_rest_apis()["items"]
    source = f"arn:aws:execute-api:{REGION}:123456789012:{api['id']}/*/*"
    assert grant["Condition"]["ArnLike"]["AWS:SourceArn"] == source

    # A look-up that fails is not taken for a missing thing.
    before = cloud.everything()
    done = cloud.run("delete", "--yes", AWS_ENDPOINT_URL_API_GATEWAY="http://127.0.0.1:1")
    assert done.returncode == 1
    assert "aws apigateway get-rest-apis" in done.stderr
    assert cloud.everything() == before

    cloud.client("iam").create_role(RoleName=f"{NAME}-2", AssumeRolePolicyDocument="{}")
    done = cloud.run("delete", "--yes")
    assert done.returncode == 0, done.stderr
    left = cloud.everything()
    assert [role["RoleName"] for role in left.pop("roles")] == [f"{NAME}-2"]
    assert not any(left.values())
