"""Fleet: several emulators behind one port, as Lambda's environments are behind one function.

Each takes one request at a time. A request takes one that is free; where none is, it is throttled
at once, as Lambda does at a concurrency limit of `size`: no request waits in a queue. A dead one
is replaced by the next request that takes it
(https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html).

Two ways in, on one port:

    POST /2015-03-31/functions/NAME/invocations   the Invoke API: 429 when throttled, and 200 with
                                                  X-Amz-Function-Error when the function failed
    any other path                                as through API Gateway: 500 when throttled, 502
                                                  when the function failed, and neither says why

It is not AWS's own balancer: no rate limits, no bursts, and no gateway that gives up after 29 s.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

from keras_to_lambda.deploy.emulator import Emulator, EmulatorError, FunctionError
from keras_to_lambda.runtime.common.aws_lambda import TIMEOUT_S
from keras_to_lambda.serve import http_server
from keras_to_lambda.serve.gateway import Gateway, StartResponse
from tests.http_host import waitress_thread

FUNCTIONS, INVOCATIONS = "/2015-03-31/functions/", "/invocations"
# A new environment starts while its request waits; in Lambda that may take 10 s, and the function's
# own time-out counts from then on
# (https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html).
START_S = 30.0
JSON = ("Content-Type", "application/json")


class ThrottledError(Exception):
    """Every environment is busy."""


class Environment(Emulator):
    """An emulator that starts again when it is called after its death."""

    is_busy = False

    def functions(self) -> list[int]:
        """Ids of the function's processes: one, or none when it has died."""
        if self._process is None:
            return []
        try:
            tasks = list(Path(f"/proc/{self._process.pid}/task").glob("*/children"))
            return [int(pid) for task in tasks for pid in task.read_text().split()]
        except OSError:  # it ends while we look
            return []

    @property
    def emulator_pid(self) -> int | None:
        """The emulator's own process."""
        return self._process.pid if self._process else None

    def answer(self, event: Any) -> Any:
        """What the function answers; a new one starts first if this one has died.

        Raises:
            FunctionError: the function raised, died, ran out of time, or does not start.
            EmulatorError: the event is over 6 MB.
        """
        self.is_busy = True
        try:
            if not self.functions():
                self.stop()
                self.__enter__()
            return self.invoke(event)
        except FunctionError as error:
            if error.type == "Timeout":  # the emulator tells it in plain text
                raise FunctionError("Sandbox.Timedout", error.message) from error
            raise
        except EmulatorError as error:
            if "over 6 MB" in str(error):
                raise
            # It does not start, or the emulator itself has gone: in Lambda, the machine.
            self.stop()
            raise FunctionError("Runtime.ExitError", str(error)) from error
        finally:
            self.is_busy = False

    def stop(self) -> None:
        """End it, and the function also where the emulator was killed and could not."""
        session = self.emulator_pid
        super().stop()
        for status in Path("/proc").glob("[0-9]*/stat") if session else ():
            # The emulator was started as a session's leader; its function is in that session. The
            # field is the fourth behind the name (proc_pid_stat(5)).
            with contextlib.suppress(OSError):
                if int(status.read_text().rpartition(")")[2].split()[3]) == session:
                    os.kill(int(status.parent.name), signal.SIGKILL)


class Fleet:
    """Running environments and the server before them, from `with` to the end of its block.

        with Fleet(2) as fleet:
            requests.post(f"{fleet.url}/predict", data=photo)

    Args:
        size: environments, and so requests at a time.
        options: of each Emulator: model, env, quiet.

    Raises:
        EmulatorError: the emulator or the function cannot start.
    """

    def __init__(self, size: int = 2, *, timeout_s: int = TIMEOUT_S, **options: Any) -> None:
        self.environments = [Environment(timeout_s=timeout_s, **options) for _ in range(size)]
        self._idle: queue.SimpleQueue[Environment] = queue.SimpleQueue()
        self._gateway = Gateway(self._behind_gateway, timeout_s=2 * (START_S + timeout_s))
        self._open = contextlib.ExitStack()
        self._ended = False
        self.url = ""  # with no slash at the end; boto3 takes it as `endpoint_url`

    def __enter__(self) -> Self:
        try:
            server = http_server.create(self, "127.0.0.1", 0)
            self.url = self._open.enter_context(waitress_thread(server))
            with ThreadPoolExecutor(len(self.environments)) as pool:
                for started in [pool.submit(each.__enter__) for each in self.environments]:
                    self._idle.put(started.result())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        # First, as that ends what requests under way wait for.
        for environment in self.environments:
            environment.stop()
        self._open.close()

    def invoke(self, event: Any) -> Any:
        """Invoke the function in an environment that is free.

        Raises:
            ThrottledError: none is free.
            FunctionError, EmulatorError: as `Environment.answer`.
        """
        try:
            if self._ended:  # or one that waited would start another environment
                raise ThrottledError
            environment = self._idle.get_nowait()
        except queue.Empty:
            raise ThrottledError from None
        try:
            return environment.answer(event)
        finally:
            self._idle.put(environment)

    def __call__(self, environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        """PEP 3333."""
        path = environ["PATH_INFO"]
        if not (path.startswith(FUNCTIONS) and path.endswith(INVOCATIONS)):
            return self._gateway(environ, start)
        status, headers, body = self._invoke_api(environ)
        start(f"{status} {HTTPStatus(status).phrase}", [JSON, *headers])
        return [json.dumps(body).encode()]

    def _behind_gateway(self, event: Any, _: object) -> Any:
        """https://docs.aws.amazon.com/lambda/latest/dg/services-apigateway-errors.html"""
        try:
            return self.invoke(event)
        except ThrottledError:
            status = 500
        except (FunctionError, EmulatorError):
            status = 502
        body = json.dumps({"message": "Internal server error"})
        return {"statusCode": status, "headers": dict([JSON]), "body": body}

    def _invoke_api(self, environ: dict[str, Any]) -> tuple[int, list[tuple[str, str]], Any]:
        """https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html"""
        event = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        try:
            return 200, [], self.invoke(event)
        except ThrottledError:
            reason = "ReservedFunctionConcurrentInvocationLimitExceeded"
            body = {"Reason": reason, "Type": "User", "message": "Rate Exceeded."}
            return 429, [("x-amzn-ErrorType", "TooManyRequestsException")], body
        except FunctionError as error:
            body = {"errorType": error.type, "errorMessage": error.message}
            return 200, [("X-Amz-Function-Error", "Unhandled")], body
