"""A real MLflow server behind a proxy, as many people have it: it asks for credentials, hides /health, and fails."""

import base64
import contextlib
import http.client
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Proxy:
    """What the proxy forwards: requests with this Authorization header, and nothing while it is away."""

    port: int = 0
    authorization: str | None = None
    away: bool = False

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@contextlib.contextmanager
def serve(database: Path) -> Iterator[Proxy]:
    """`mlflow server` on an existing database, behind a proxy."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{database}"]
    command += ["--artifacts-destination", str(database.parent / "artifacts")]
    server = subprocess.Popen(command, cwd=database.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    proxy = Proxy()
    listening = ThreadingHTTPServer(("127.0.0.1", 0), _handler(proxy, port))
    proxy.port = listening.server_address[1]
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    try:
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert server.poll() is None and time.monotonic() < deadline, "mlflow server did not start"
            time.sleep(0.1)
        yield proxy
    finally:
        listening.shutdown()
        listening.server_close()
        server.terminate()
        server.wait()


def _handler(proxy: Proxy, port: int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Forwards requests to the server at `port` as far as `proxy` allows."""

        def forward(self) -> None:
            if proxy.away:
                return self.connection.close()
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if proxy.authorization not in (None, self.headers.get("Authorization")):
                return self.answer(401, b"You are not authenticated.")
            if self.path == "/health":
                return self.answer(404, b"<html>no such page</html>")
            upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            headers = {
                key: value for key, value in self.headers.items() if key.lower() not in ("host", "authorization")
            }
            upstream.request(self.command, self.path, body, headers)
            response = upstream.getresponse()
            self.answer(response.status, response.read(), response.getheader("Content-Type") or "text/plain")

        def answer(self, status: int, body: bytes, kind: str = "text/html") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = forward

        def log_message(self, format: str, *words: object) -> None:
            """Nothing."""

    return Handler
