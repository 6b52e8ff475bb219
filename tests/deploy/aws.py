"""AWS on loopback: moto's server, the real function in real emulators, and a front before both.

The front is what clients and moto's Step Functions interpreter call. It sends Lambda's Invoke to
the emulators, a Distributed Map's API to `map_runs` (which says why), and all else to moto.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import os
import queue
import signal
import threading
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import unquote

from keras_to_lambda.deploy.emulator import EmulatorError
from keras_to_lambda.runtime.aws_lambda import INVOCATIONS_PATH
from tests.deploy.map_runs import MapRuns, ServiceError
from tests.emulator.fleet import Environment

ACCOUNT = "123456789012"  # moto's
REGION = "us-east-1"
FUNCTION = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:classifier:live"


class Invoked(NamedTuple):
    """What Lambda answers: its status, the payload, and the error's kind or code."""

    payload: bytes
    status: int = 200
    error: str = ""


# What a dead or timed-out sandbox looks like to callers:
# https://docs.aws.amazon.com/lambda/latest/dg/troubleshooting-invocation.html
EXITED = Invoked(
    b'{"errorType": "Runtime.ExitError", "errorMessage": "RequestId: 0 Error: Runtime exited with'
    b' error: signal: killed"}',
    error="Unhandled",
)
TIMED_OUT = Invoked(
    b'{"errorType": "Sandbox.Timedout", "errorMessage": "RequestId: 0 Error: Task timed out"}',
    error="Unhandled",
)
THROTTLED = Invoked(
    b'{"Reason": "ReservedFunctionConcurrentInvocationLimitExceeded", "message": "Rate Exceeded."}',
    429,
    "TooManyRequestsException",
)


class Function:
    """The function as Lambda runs it: an event waits for a free sandbox, a dead one is replaced.

    faults: asked for each call, with its number (from 1) and event, until one of them names a
    fault: `THROTTLED`, `TIMED_OUT`, "kill" (SIGKILL while the event is in the sandbox).
    """

    def __init__(self, env: dict[str, str], sandboxes: int = 2) -> None:
        self._env = env
        self._free: queue.SimpleQueue[Environment] = queue.SimpleQueue()
        self._count = threading.Lock()
        self.faults: list[Callable[[int, Any], Any]] = []
        self.calls = 0
        self.kills = 0
        self._all = [self._start() for _ in range(sandboxes)]
        for each in self._all:
            self._free.put(each)

    def _start(self) -> Environment:
        return Environment(env=self._env).__enter__()

    def stop(self) -> None:
        for each in self._all:
            each.stop()

    def invoke(self, payload: bytes) -> Invoked:
        with self._count:
            self.calls += 1
            number = self.calls
        event = json.loads(payload)
        found = (fault(number, event) for fault in self.faults)
        fault = next((each for each in found if each), None)
        if isinstance(fault, Invoked):
            return fault
        sandbox = self._free.get()
        try:
            if fault == "kill":
                self.kills += 1
            return _answer(sandbox, payload, killed=fault == "kill")
        except (EmulatorError, OSError, http.client.HTTPException):
            sandbox.stop()
            self._all.remove(sandbox)
            sandbox = self._start()
            self._all.append(sandbox)
            return EXITED
        finally:
            self._free.put(sandbox)


def _answer(sandbox: Environment, payload: bytes, *, killed: bool) -> Invoked:
    """What the sandbox answers; or, `killed`, how it ends with the event in it."""
    connection = http.client.HTTPConnection(sandbox.host, sandbox.port, timeout=60)
    function, emulator = sandbox.functions(), sandbox.emulator_pid
    try:
        if killed:
            # Before the event comes: a fast machine would have answered it by the time of the kill.
            _signal(signal.SIGSTOP, *function)
        connection.request("POST", INVOCATIONS_PATH, payload)
        if killed:
            # The emulator first, which would tell of the function's death; the function too, which
            # has a process group of its own, where it would live on.
            _signal(signal.SIGKILL, emulator, *function)
        body = connection.getresponse().read()
    finally:
        connection.close()
    # The emulator has status 200 for errors too, and an empty body where the function died.
    if not body:
        raise EmulatorError("the function died")
    answer = json.loads(body)
    failed = isinstance(answer, dict) and "errorType" in answer
    return Invoked(body, error="Unhandled" if failed else "")


def _signal(number: signal.Signals, *pids: int | None) -> None:
    for pid in filter(None, pids):
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(pid, number)


class Front:
    """The one address of all AWS services here."""

    def __init__(self, moto_port: int) -> None:
        self._moto_port = moto_port
        self.function: Function | None = None
        self.map_runs: MapRuns | None = None
        front = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                path = unquote(self.path)
                target = self.headers.get("X-Amz-Target", "")
                if path.partition("?")[0].endswith("/invocations") and front.function:
                    self._lambda(front.function.invoke(body))
                elif target.startswith("AWSStepFunctions.") and front.map_runs:
                    self._states(target.partition(".")[2], body)
                else:
                    self._moto(body)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _any  # noqa: N815

            def _lambda(self, invoked: Invoked) -> None:
                headers = {"x-amzn-RequestId": "0"}
                if invoked.error:
                    name = "X-Amz-Function-Error" if invoked.status == 200 else "x-amzn-ErrorType"
                    headers[name] = invoked.error
                self._send(invoked.status, headers, invoked.payload)

            def _states(self, action: str, body: bytes) -> None:
                assert front.map_runs
                try:
                    answer = front.map_runs.call(action, json.loads(body))
                except ServiceError as error:
                    fault = {"__type": error.code, "message": str(error)}
                    self._send(400, {}, json.dumps(fault).encode())
                    return
                if answer is None:
                    self._moto(body)
                else:
                    self._send(200, {}, json.dumps(answer).encode())

            def _moto(self, body: bytes) -> None:
                connection = http.client.HTTPConnection("127.0.0.1", front._moto_port, timeout=60)
                try:
                    connection.request(self.command, self.path, body, dict(self.headers))
                    response = connection.getresponse()
                    content = response.read()
                    headers = {
                        name: value
                        for name, value in response.getheaders()
                        if name.lower() not in ("transfer-encoding", "connection", "content-length")
                    }
                    if self.command == "HEAD":
                        headers["Content-Length"] = response.getheader("Content-Length") or "0"
                    self._send(response.status, headers, content)
                finally:
                    connection.close()

            def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
                self.send_response_only(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if "Content-Length" not in headers:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 128
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
