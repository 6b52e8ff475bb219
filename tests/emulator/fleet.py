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
import logging
import os
import queue
import signal
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import waitress

from keras_to_lambda.deploy.emulator import (
    MAX_PAYLOAD_BYTES,
    Emulator,
    EmulatorError,
    FunctionError,
)
from keras_to_lambda.runtime.common.aws_lambda import TIMEOUT_S
from keras_to_lambda.serve.gateway import MAX_BODY_BYTES, Context, Gateway, StartResponse

FUNCTIONS, INVOCATIONS = "/2015-03-31/functions/", "/invocations"
MEMORY_LOOKED_AT_EVERY_S = 0.02
# Threads beyond one for each environment: what answers those that are throttled.
SPARE_THREADS = 6
# A new environment starts while its request waits; in Lambda that may take 10 s, and the function's
# own time-out counts from then on
# (https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html).
START_S = 30.0

# https://docs.aws.amazon.com/lambda/latest/dg/services-apigateway-errors.html
THROTTLED, FAILED = 500, 502
GATEWAY_SAYS = json.dumps({"message": "Internal server error"})
JSON = ("Content-Type", "application/json")


class ThrottledError(Exception):
    """Every environment is busy."""


class Environment(Emulator):
    """An emulator that starts again when it is called after its death.

    memory_mb: more resident memory than this, and the function is killed; None: no limit.
    """

    def __init__(self, *, memory_mb: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.memory_mb = memory_mb
        self.is_busy = False

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
            return self._answer(event)
        finally:
            self.is_busy = False

    def _answer(self, event: Any) -> Any:
        if not self.functions():
            self.stop()
            try:
                self.__enter__()
            except EmulatorError as error:
                raise FunctionError("Runtime.ExitError", str(error)) from error
        try:
            return self.invoke(event)
        except FunctionError as error:
            if error.type == "Timeout":  # the emulator tells it in plain text
                raise FunctionError("Sandbox.Timedout", error.message) from error
            raise
        except EmulatorError as error:
            if not str(error).startswith("no answer"):
                raise
            # The emulator itself has gone: in Lambda, the machine.
            self.stop()
            raise FunctionError("Runtime.ExitError", "the environment was lost") from error

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

    def limit_memory(self) -> None:
        """Kill the function if it holds too much, as the kernel does in Lambda."""
        if self.memory_mb is None:
            return
        for pid in self.functions():
            with contextlib.suppress(OSError):
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                if pages * os.sysconf("SC_PAGE_SIZE") > self.memory_mb * 2**20:
                    os.kill(pid, signal.SIGKILL)


class Fleet:
    """Running environments and the server before them, from `with` to the end of its block.

        with Fleet(2) as fleet:
            requests.post(f"{fleet.url}/predict", data=photo)

    Args:
        size: environments, and so requests at a time.
        port: where it listens; 0 picks a free port.
        memory_mb: of one environment; more, and it is killed. None: no limit.
        options: of each Emulator: model, env, timeout_s, quiet.

    Raises:
        EmulatorError: the emulator or the function cannot start.
        OSError: the port is in use.
    """

    def __init__(
        self,
        size: int = 2,
        port: int = 0,
        host: str = "127.0.0.1",
        *,
        memory_mb: int | None = None,
        timeout_s: int = TIMEOUT_S,
        **options: Any,
    ) -> None:
        memory = {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory_mb)} if memory_mb else {}
        options["env"] = {**memory, **(options.get("env") or {})}
        self.environments = [
            Environment(memory_mb=memory_mb, timeout_s=timeout_s, **options) for _ in range(size)
        ]
        self.host, self.port = host, port
        self._idle: queue.SimpleQueue[Environment] = queue.SimpleQueue()
        self._gateway = Gateway(self._behind_gateway, timeout_s=2 * (START_S + timeout_s))
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []
        self._server: Any = None

    @property
    def url(self) -> str:
        """Where it listens, with no slash at the end; boto3 takes it as `endpoint_url`."""
        return f"http://{self.host}:{self.port}"

    def __enter__(self) -> Self:
        try:
            self._server = waitress.create_server(
                self,
                host=self.host,
                port=self.port,
                threads=len(self.environments) + SPARE_THREADS,
                max_request_body_size=2 * MAX_BODY_BYTES,
                ident=None,
            )
            self.port = self._server.effective_port
            with ThreadPoolExecutor(len(self.environments)) as pool:
                for started in [pool.submit(each.__enter__) for each in self.environments]:
                    self._idle.put(started.result())
        except BaseException:
            self.__exit__()
            raise
        # Throttled requests wait for a thread some microseconds, of which waitress would warn.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        for work in (self._serve, self._limit_memory):
            thread = threading.Thread(target=work, daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        # First, as that ends what requests under way wait for.
        for environment in self.environments:
            environment.stop()
        if self._server:
            self._server.task_dispatcher.shutdown()
            # In waitress, closing the server leaves its connections open.
            self._server.asyncore.close_all(self._server._map, ignore_all=True)

    def _serve(self) -> None:
        while not self._ended.is_set():
            self._server.asyncore.loop(timeout=0.2, count=1, map=self._server._map)

    def _limit_memory(self) -> None:
        while not self._ended.wait(MEMORY_LOOKED_AT_EVERY_S):
            for environment in self.environments:
                environment.limit_memory()

    def invoke(self, event: Any) -> Any:
        """Invoke the function in an environment that is free.

        Raises:
            ThrottledError: none is free.
            FunctionError, EmulatorError: as `Environment.answer`.
        """
        try:
            if self._ended.is_set():  # or one that waited would start another environment
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
        if path.startswith(FUNCTIONS) and path.endswith(INVOCATIONS):
            return self._invoke_api(environ, start)
        return self._gateway(environ, start)

    def _behind_gateway(self, event: Any, _: Context) -> Any:
        try:
            return self.invoke(event)
        except ThrottledError:
            status = THROTTLED
        except (FunctionError, EmulatorError):
            status = FAILED
        return {"statusCode": status, "headers": dict([JSON]), "body": GATEWAY_SAYS}

    def _invoke_api(self, environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        """https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html"""
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length > MAX_PAYLOAD_BYTES:
            environ["wsgi.input"].read()
            message = f"Request must be smaller than {MAX_PAYLOAD_BYTES} bytes"
            return _refuse(start, "413 Payload Too Large", "RequestTooLargeException", message)
        try:
            event = json.loads(environ["wsgi.input"].read(length) or b"{}")
        except ValueError as error:
            message = f"Could not parse request body into json: {error}"
            return _refuse(start, "400 Bad Request", "InvalidRequestContentException", message)
        headers = [JSON, ("X-Amz-Executed-Version", "$LATEST")]
        try:
            body = self.invoke(event)
        except ThrottledError:
            reason = {"Reason": "ReservedFunctionConcurrentInvocationLimitExceeded"}
            message = "Rate Exceeded."
            return _refuse(
                start, "429 Too Many Requests", "TooManyRequestsException", message, **reason
            )
        except EmulatorError as error:
            return _refuse(start, "500 Internal Server Error", "ServiceException", str(error))
        except FunctionError as error:
            body = {"errorType": error.type, "errorMessage": error.message}
            headers.append(("X-Amz-Function-Error", "Unhandled"))
        start("200 OK", headers)
        return [json.dumps(body).encode()]


def _refuse(
    start: StartResponse, status: str, kind: str, message: str, **facts: str
) -> Iterable[bytes]:
    """One of Lambda's own errors: the function was not run."""
    start(status, [JSON, ("x-amzn-ErrorType", kind)])
    return [json.dumps({**facts, "Type": "User", "message": message}).encode()]
