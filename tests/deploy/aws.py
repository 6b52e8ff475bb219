"""AWS on loopback: moto's server, the real function in real emulators, and a front before both.

The front is what clients and moto's Step Functions interpreter call. It sends Lambda's Invoke to
the emulators, a Distributed Map's API to `map_runs` (which says why), and all else to moto.
"""

from __future__ import annotations

import http.client
import http.server
import json
import threading
from urllib.parse import unquote

from tests.cloud.function import Function, Invoked
from tests.deploy.map_runs import MapRuns, ServiceError

ACCOUNT = "123456789012"  # moto's
REGION = "us-east-1"
FUNCTION = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:classifier:live"


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
