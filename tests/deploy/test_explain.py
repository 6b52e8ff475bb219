"""`k2l doctor --explain`: each known error by a true sample of it, and nothing else by any."""

from __future__ import annotations

import array
import io
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from keras_to_lambda import explain
from keras_to_lambda.cli.main import VERBS
from keras_to_lambda.deploy.doctor.doctor import main
from keras_to_lambda.runtime.common import errors

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = Path(__file__).parent / "errors"
OWN = {kind.code for kind in errors.every()}
TABLE = [entry for entry in explain.known() if entry.id not in OWN]

# What our own function, Docker and sam print when all is well.
HEALTHY = """\
INIT_START Runtime Version: python:3.13.v30	Runtime Version ARN: arn:aws:lambda:x::runtime:7d
START RequestId: 5d7b1a3c-0c4d-4c52-a9f5-2d77b4f3b7b1 Version: 3
{"level": "INFO", "request_id": "5d7b1a3c", "trace_id": "", "source": "rest-api", "outcome": "ok", \
"cold": true, "pixels": 213200, "fetch_ms": 41.2, "total_ms": 55.01, "bytes": 23412, "images": 1, \
"failures": 0, "cold_starts": 1, "model": "clothing", "model_sha256": "0f3a"}
END RequestId: 5d7b1a3c-0c4d-4c52-a9f5-2d77b4f3b7b1
REPORT RequestId: 5d7b1a3c-0c4d-4c52-a9f5-2d77b4f3b7b1	Duration: 56.20 ms	\
Billed Duration: 412 ms	Memory Size: 1024 MB	Max Memory Used: 171 MB	Init Duration: 355.11 ms
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
Step 1/20 : ARG PYTHON_VERSION=3.13
Step 17/20 : RUN k2l predict --check
 ---> Running in 5ecc7a7556cd
clothing: 10 labels, hash and inference checked, scaling as keras-image-helper's
Successfully built 270945033b62
Successfully tagged keras-to-lambda:latest
#12 naming to docker.io/library/keras-to-lambda:latest done
Successfully created/updated stack - keras-to-lambda in eu-central-1
CREATE_COMPLETE  AWS::IAM::Role  ClassifierRole  -
HTTP/2 200
{"dress": 0.9191579222679138, "t-shirt": 3.3980624675750732}
"""


def run(log, monkeypatch, capsys, *options):
    """Exit status and output of the command, which is given a log on its standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(log.encode())))
    status = main(["--explain", *options])
    return status, capsys.readouterr().out


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is unread of a pipe")
def test_a_log_without_an_end_is_explained_when_ctrl_c_ends_it():
    command = [sys.executable, "-m", "keras_to_lambda", "doctor", "--explain"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        # A shell's background job, as a test run may be, has SIGINT ignored, and hands that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    ) as process:  # fmt: skip
        process.stdin.write("Task timed out after 3.00 seconds\n")
        process.stdin.flush()
        give_up = time.monotonic() + 20
        while unread(process.stdin):
            assert time.monotonic() < give_up, "it does not read"
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        printed = process.stdout.read()
    assert process.returncode == 0
    assert "timed out" in printed


def unread(pipe):
    """How many bytes wait in a pipe to be read at its other end."""
    import fcntl
    import termios

    count = array.array("i", [0])
    fcntl.ioctl(pipe.fileno(), termios.FIONREAD, count)
    return count[0]


def test_every_entry_has_a_sample():
    assert {entry.id for entry in TABLE} == {path.stem for path in SAMPLES.glob("*.txt")}
    assert len(TABLE) >= 30


@pytest.mark.parametrize("entry", TABLE, ids=lambda entry: entry.id)
def test_each_sign_that_the_docs_show_is_found_as_it_is_printed(entry):
    assert entry.cause.strip()
    assert entry.fix
    assert "\n" not in entry.sign + entry.cause + "".join(entry.fix)
    for fix in entry.fix:
        # A command that is for a region differs from the prose.
        assert fix.count("`") % 2 == 0
        assert not re.search(r"\b(aws|sam|k2l deploy) [a-z-]", re.sub("`[^`]*`", "", fix)), fix
    for sign in entry.sign.split("; "):
        assert [(cause.known.id, cause.sign) for cause in explain.explain(sign)] == [
            (entry.id, sign)
        ]


@pytest.mark.parametrize("entry", TABLE, ids=lambda entry: entry.id)
def test_an_entry_is_found_in_the_middle_of_a_healthy_log(entry):
    sample = (SAMPLES / f"{entry.id}.txt").read_text(encoding="utf-8")

    causes = explain.explain(HEALTHY + sample + HEALTHY)

    assert [cause.known.id for cause in causes] == [entry.id]
    assert causes[0].number > HEALTHY.count("\n")


@pytest.mark.parametrize(
    "text",
    [
        HEALTHY,
        "",
        "\n\n\0\n",
        (ROOT / "README.md").read_text(encoding="utf-8"),
        # A conflict that is not known is not said to be an update.
        "An error occurred (ResourceConflictException) when calling the CreateAlias operation: x",
    ],
    ids=["healthy", "nothing", "no text", "README", "unknown"],
)
def test_what_has_no_cause_is_told_what_to_paste(text, monkeypatch, capsys):
    status, out = run(text, monkeypatch, capsys)
    assert status == 1
    assert "No known error found" in out
    assert "sam logs --stack-name" in out


@pytest.mark.parametrize("kind", errors.every(), ids=lambda kind: kind.__name__)
def test_the_functions_own_errors_are_explained_as_http_as_a_direct_call_and_as_a_log_has_them(
    kind,
):
    http = json.dumps({"error": {"code": kind.code, "message": "m"}})
    direct = json.dumps({"errorMessage": "m", "errorType": kind.__name__, "stackTrace": []})
    nested = json.dumps({"statusCode": kind.status, "body": http})
    log = json.dumps({"level": "INFO", "outcome": kind.code})

    for text in (http, direct, nested, log):
        (cause,) = explain.explain(text)
        assert cause.known.id == kind.code
        assert str(kind.status) in cause.known.cause


def test_several_causes_are_reported_in_the_order_of_the_log(monkeypatch, capsys):
    log = "\n".join(
        (SAMPLES / f"{name}.txt").read_text(encoding="utf-8")
        for name in ("task-timeout", "glibc", "task-timeout", "cors")
    )

    status, out = run(log, monkeypatch, capsys)

    assert status == 0
    lines = [int(number) for number in re.findall(r"^line (\d+): ", out, re.MULTILINE)]
    assert (len(lines), lines) == (3, sorted(lines))


# Texts of the field's tools that are not in the samples; of neighbours, which entry has it.
OTHERS = {
    "No module named 'lambda_function.handler'": "handler-name",
    "ModuleNotFoundError: No module named 'tensorflow.lite'": "interpreter-missing",
    "ModuleNotFoundError: No module named 'keras_image_helper'": "package-missing",
    "is in UPDATE_ROLLBACK_FAILED state and can not be updated": "update-rolled-back",
    "User: arn:aws:iam::1:user/x is not authorized to perform: execute-api:Invoke on": (
        "not-authorized"
    ),
    "aws: [ERROR]: argument operation: Found invalid choice 'get-login'": "ecr-get-login",
    "error getting credentials - err: docker-credential-wincred.exe not found": "docker-credential",
    "denied: requested access ... pull access denied for cats, repository": "image-missing",
    "ERROR: failed to solve: public.ecr.aws/lambda/python:3.99: not found": "image-missing",
    "toomanyrequests: Rate exceeded": "pull-limit",
    "ERROR: No matching distribution found for tensorflow==2.13.0": "package-version",
    "ERROR: Package 'x' requires a different Python: 3.13.1 not in '<3.12'": "package-version",
    "Error: Running AWS SAM projects locally requires a container runtime.": "docker-daemon",
    "Error: entrypoint requires the handler name to be the first argument": "handler-name",
    "fork/exec /app/start.sh: permission denied": "entrypoint",
    "NotFoundError: Op type not registered 'NormalizeUTF8' in binary": "tflite-flex",
    "RuntimeError: Encountered unresolved custom op: FlexErf.": "tflite-flex",
    "TypeError: Could not locate function 'mse'. Make sure custom": "keras-version",
    "ValueError: Unknown loss function: focal_loss. Please ensure": "keras-version",
    "ValueError: A total of 3 objects could not be loaded. Example error": "keras-weights",
    "zipfile.BadZipFile: File is not a zip file": "model-file",
    "OSError: SavedModel file does not exist at: m/{saved_model.pb}": "model-file",
    "ValueError: File not found: filepath=cats.keras. Please ensure": "model-file",
    "TypeError: <class 'Functional'> could not be deserialized properly.": "keras-version",
    'ValueError: Layer "d" expects 1 input(s), but it received 2 input tensors.': "keras-version",
    "AttributeError: module 'numpy' has no attribute 'bool'.": "numpy-alias",
    "TypeError: Descriptors cannot be created directly.": "dependency-conflict",
    'Input 0 of layer "f" is incompatible with the layer: expected shape=': "tensor-input",
    "Illegal instruction (core dumped)": "crash",
    "TypeError: handler() missing 1 required positional argument: 'context'": "handler-signature",
    "requests.exceptions.JSONDecodeError: Expecting value: line 1 column 1 (char 0)": "not-serving",
    "[Errno 111] Connection refused": "not-serving",
    "[ERROR] Runtime.UnmarshalError: Unable to unmarshal input: Expecting": "body-json",
    "Failed to post handler success response. Http response code: 413.": "payload",
    "requests.exceptions.HTTPError: 403 Client Error: Forbidden for url": "host-refuses",
    "tls: failed to verify certificate: x509: certificate signed by": "certificate",
    "(PermanentRedirect) when calling the GetObject operation: The bucket": "s3-missing",
    "referenced by CodeUri: S3 Bucket does not exist.": "s3-missing",
    "(EntityAlreadyExists) when calling the CreateRole operation: Role": "already-exists",
    "(RequestEntityTooLargeException) when calling the UpdateFunctionCode operation: Request must "
    "be smaller than 70167211 bytes for the UpdateFunctionCode operation": "zip-size",
    "(ValidationError) when calling the CreateStack operation: Parameters: [ImageUri] must have "
    "values": "template",
    "Error: Template file not found at /home/ada/my-api/template.yml": "template",
    "No updates are to be performed.": "no-changes",
}


@pytest.mark.parametrize(("text", "entry"), OTHERS.items(), ids=range(len(OTHERS)))
def test_other_texts_of_the_same_errors_are_explained(text, entry):
    assert [cause.known.id for cause in explain.explain(text)] == [entry]


def test_nothing_of_a_log_is_shown(monkeypatch, capsys):
    secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    log = f"{secret} Task timed out after 3.00 s\nCOPY failed: {secret} no such file or directory"
    status, out = run(log, monkeypatch, capsys)

    assert status == 0
    assert out.startswith("line 1: Task timed out after\n")
    assert "line 2: like COPY failed" in out
    assert "wJalr" not in out


def test_a_hostile_line_is_answered_all_the_same():
    for line in (
        "a" * 50_000,
        "message" * 8_000,
        '"message": "' * 5_000,
        "KeyError: '" * 5_000,
        "statement id " * 5_000,
        "Task timed out after " + "docker login -p --password token" * 1_500,
    ):
        assert isinstance(explain.explain(line), list)


def test_a_file_is_read(tmp_path, capsys):
    path = tmp_path / "deploy.log"
    path.write_bytes(b"\xff\xfe broken bytes\r\nno basic auth credentials\r\n")

    assert main(["--explain", str(path)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("line 2: no basic auth credentials\n")
    assert "docker login" in out


def test_a_missing_file_is_a_usage_error(capsys):
    assert main(["--explain", "/nowhere.log"]) == 2
    assert capsys.readouterr().err == "k2l doctor: /nowhere.log: No such file or directory\n"


def test_what_a_fix_calls_of_this_project_is_there():
    text = "\n".join(fix for entry in TABLE for fix in entry.fix)
    modules = set(re.findall(r"python -m (keras_to_lambda[.\w]*|convert)", text))
    verbs = set(re.findall(r"\bk2l ([a-z]+)", text))
    template = (ROOT / "template.yaml").read_text(encoding="utf-8")

    assert verbs
    assert verbs <= {*VERBS}
    for module in modules:
        path = (ROOT / "src").joinpath(*module.split("."))
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
    # A parameter by sam deploy alone would not reach the alias: docs/deploy.md.
    assert "--parameter-overrides" not in text
    # A folder of `k2l new` has no Makefile.
    assert not re.search(r"`make |\bmake setup", text + "".join(entry.cause for entry in TABLE))
    parameters = re.findall(r"k2l deploy (\w+)=", text)
    assert parameters
    for name in parameters:
        assert f"\n  {name}:" in template, name
