"""The HTTP server: /graphql, the file stream, uploads, and faults that a test orders."""

from __future__ import annotations

import base64
import json
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.wandb_server.file_stream import take
from tests.wandb_server.operations import NotServed, answer, name_of
from tests.wandb_server.store import Store

KEY = "0123456789abcdef" * 2 + "01234567"


@dataclass
class Fault:
    """A wrong answer that a test orders.

    Attributes:
        status: The HTTP status.
        times: The number of requests that get it.
        operation: The operation that gets it; empty for any operation.
        retry_after: The `Retry-After` header in seconds.
        delay: The time before the answer in seconds.
    """

    status: int
    times: int = 1
    operation: str = ""
    retry_after: int | None = None
    delay: float = 0.0


class WandbServer:
    """A server that runs from its construction until `stop`.

    Attributes:
        store: The content of the server.
        requests: The operations of all requests, with their variables; also `file_stream` and `upload`.
        unknown: The operations that it could not answer.
        faults: The faults that tests have ordered.
        stopped: Whether `stop` was called.
        address: The URL of the server.
    """

    def __init__(self) -> None:
        self.store = Store()
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.unknown: list[str] = []
        self.faults: list[Fault] = []
        self.stopped = False
        self._http = _QuietHTTPServer(("127.0.0.1", 0), _handler(self))
        self.address = self.store.address = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self.stopped:
            return
        self.stopped = True
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def environment(self, home: Path) -> dict[str, str]:
        """The variables with which a client uses only this server, and no account or settings of the user."""
        home.mkdir(parents=True, exist_ok=True)
        folders = {f"WANDB_{kind}_DIR": str(home / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        return {
            **folders, "WANDB_DIR": str(home), "WANDB_BASE_URL": self.address, "WANDB_API_KEY": KEY,
            "NETRC": str(home / "netrc"), "HOME": str(home), "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false",
        }  # fmt: skip

    def count(self, operation: str) -> int:
        return sum(name == operation for name, _ in self.requests)

    def fault_for(self, operation: str) -> Fault | None:
        for fault in self.faults:
            if fault.times and fault.operation in ("", operation):
                fault.times -= 1
                return fault
        return None


class _QuietHTTPServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that have closed the connection."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _store_upload(server: WandbServer, path: str, content: bytes) -> None:
    """Keep an uploaded file with its run or its artifact."""
    _, kind, rest = path.split("/", 2)
    if kind == "upload-artifact":
        artifact, name = rest.split("/", 1)
        server.store.artifacts[artifact].files[name] = content
    else:
        entity, project, run, name = rest.split("/", 3)
        server.store.runs[entity, project, run].files[name] = content
    server.requests.append(("upload", {"name": name}))


def _handler(server: WandbServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if server.stopped:  # a connection may still be open
                self.close_connection = True
                return
            if self.path == "/graphql":
                content = json.loads(body)
                self._respond(name_of(content["query"]), content.get("variables") or {}, content["query"])
            elif self.path.endswith("/file_stream"):
                self._respond("file_stream", json.loads(body))
            else:  # telemetry of the client
                self._send(200, {})

        def do_PUT(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            content = self.rfile.read(length)
            with server.store.lock:
                _store_upload(server, self.path, content)
            self._send(200, {})

        def _respond(self, operation: str, content: Mapping[str, Any], document: str = "") -> None:
            with server.store.lock:
                server.requests.append((operation, dict(content)))
                fault = server.fault_for(operation)
            if fault is not None:
                time.sleep(fault.delay)
                headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
                return self._send(fault.status, {"error": f"fault {fault.status}"}, headers)
            if not self._is_authorised():
                return self._send(401, {"errors": [{"message": "user is not logged in"}]})
            with server.store.lock:
                if operation == "file_stream":
                    return self._send(200, take(server.store, self.path, content))
                try:
                    return self._send(200, {"data": answer(server.store, document, content)})
                except NotServed as error:
                    server.unknown.append(str(error))
                    return self._send(400, {"errors": [{"message": f"no operation {error}"}]})

        def _is_authorised(self) -> bool:
            scheme, _, credentials = self.headers.get("Authorization", "").partition(" ")
            return scheme == "Basic" and base64.b64decode(credentials).decode() == f"api:{KEY}"

        def _send(self, status: int, content: Any, headers: Mapping[str, str] | None = None) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Print nothing; `requests` lists every request."""

    return Handler
