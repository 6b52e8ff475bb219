"""The function behind the engine's Lambda: in AWS's emulators, with faults that a test asks for."""

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
from urllib.parse import parse_qs, urlsplit

from keras_to_lambda.deploy.emulator import HOST, EmulatorError
from keras_to_lambda.runtime.common.aws_lambda import INVOCATIONS_PATH
from tests.emulator.fleet import Environment

WAIT_S = 50  # for the function, as long as a stack is being made


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

    faults: called for each event, with its number (from 1), until one of them names a fault:
    `THROTTLED`, `TIMED_OUT`, "kill" (SIGKILL while the event is in the sandbox).
    """

    def __init__(self, env: dict[str, str], sandboxes: int = 2, **options: Any) -> None:
        self._options = {"env": env, **options}
        self._free: queue.SimpleQueue[Environment] = queue.SimpleQueue()
        self._count = threading.Lock()
        self.faults: list[Callable[[int, Any], Any]] = []
        self.calls = 0
        self.kills = 0
        self._all = [self._start() for _ in range(sandboxes)]
        for each in self._all:
            self._free.put(each)

    def _start(self) -> Environment:
        return Environment(**self._options).__enter__()

    def stop(self) -> None:
        for each in self._all:
            each.stop()

    def reset(self) -> None:
        self.faults.clear()
        self.calls = self.kills = 0

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
    connection = http.client.HTTPConnection(HOST, sandbox.port, timeout=60)
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


class InvokeApi:
    """Lambda's Invoke API, with a function for each version, from `with` to the end of its block.

    versions: functions by version; "" is that of all others.
    """

    def __init__(self) -> None:
        self.versions: dict[str, Function] = {}
        self.ready = threading.Event()
        api = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                [version] = parse_qs(urlsplit(self.path).query)["Qualifier"]
                api.ready.wait(WAIT_S)
                function = api.versions.get(version) or api.versions[""]
                invoked = function.invoke(body)
                self.send_response_only(invoked.status)
                if invoked.error:
                    name = "X-Amz-Function-Error" if invoked.status == 200 else "x-amzn-ErrorType"
                    self.send_header(name, invoked.error)
                self.send_header("Content-Length", str(len(invoked.payload)))
                self.end_headers()
                self.wfile.write(invoked.payload)

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 128
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def serve(self, function: Function) -> None:
        """Answer by this one; what was invoked before waited for it."""
        self.versions[""] = function
        self.ready.set()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        for function in self.versions.values():
            function.stop()
