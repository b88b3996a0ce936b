"""An S3 server on loopback whose faults a test chooses."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow.fs as pafs
from moto.s3.models import s3_backends
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

BUCKET = "bucket"


@dataclass
class Server:
    """Faults by the end of the path. failing: how many of the next requests are answered with 500. growing: how many of
    the next GETs return more than the HEAD before announced, as for a file that is rewritten meanwhile. meeting: GETs
    are answered only once the barrier's number of them are waiting, otherwise with 500.
    """

    port: int = 0
    failing: dict[str, int] = field(default_factory=dict)
    growing: dict[str, int] = field(default_factory=dict)
    meeting: dict[str, threading.Barrier] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)  # method and path of each

    def uri(self, path: str) -> str:
        return f"s3://{BUCKET}/{path}?endpoint_override=127.0.0.1:{self.port}&scheme=http&region=us-east-1"


@contextlib.contextmanager
def serve() -> Iterator[Server]:
    """moto's server with one empty bucket; AWS keys of any value must be in the environment."""
    s3_backends.reset()  # moto keeps what a server held for the next one of the process
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = Server()
    moto = DomainDispatcherApplication(create_backend_app)

    def application(environment: dict[str, Any], start_response: Callable) -> Iterable[bytes]:
        path = environment["PATH_INFO"]
        server.requests.append(f"{environment['REQUEST_METHOD']} {path}")
        for ending, left in server.failing.items():
            if path.endswith(ending) and left:
                server.failing[ending] = left - 1
                start_response("500 Internal Server Error", [("Content-Length", "0")])
                return []
        for ending, barrier in server.meeting.items():
            if environment["REQUEST_METHOD"] == "GET" and path.endswith(ending):
                try:
                    barrier.wait(20)
                except threading.BrokenBarrierError:
                    start_response("500 Internal Server Error", [("Content-Length", "0")])
                    return []
        for ending, left in server.growing.items():
            if environment["REQUEST_METHOD"] == "GET" and path.endswith(ending) and left:
                server.growing[ending] = left - 1
                start_response("200 OK", [("Content-Length", "100000")])
                return [bytes(100000)]
        return moto(environment, start_response)

    listening = make_server("127.0.0.1", 0, application, threaded=True)
    server.port = listening.server_port
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    pafs.FileSystem.from_uri(server.uri("") + "&allow_bucket_creation=true")[0].create_dir(BUCKET)
    try:
        yield server
    finally:
        listening.shutdown()
        thread.join()
