"""An OpenTelemetry collector for tests: takes OTLP over HTTP or gRPC and keeps what it was sent."""

import gzip
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from podtest.ports import free_port
from podtest.waiting import DEADLINE, wait_until

SERVER = 2
ERROR = 2
GRPC_METHOD = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class Span:
    """One span as plain values."""

    def __init__(self, message: Any, resource: dict[str, Any], scope: str) -> None:
        self.name: str = message.name
        self.kind: int = message.kind
        self.trace: str = message.trace_id.hex()
        self.id: str = message.span_id.hex()
        self.parent: str = message.parent_span_id.hex()
        self.start: int = message.start_time_unix_nano
        self.end: int = message.end_time_unix_nano
        self.error: bool = message.status.code == ERROR
        self.message: str = message.status.message
        self.attributes = values(message.attributes)
        self.events = {event.name: values(event.attributes) for event in message.events}
        self.resource = resource
        self.scope = scope

    def __repr__(self) -> str:
        return (
            f"<{self.name} {self.trace[:6]}/{self.id[:6]} of {self.parent[:6] or '-'} {self.scope} {self.attributes}>"
        )


def values(attributes: Any) -> dict[str, Any]:
    """Attributes as a dict."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in attributes}


def make_identity(directory: Path) -> tuple[Path, Path]:
    """A certificate for localhost that signs itself, and its key."""
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


class Collector:
    """Use as a context manager. ``address`` is what OTEL_EXPORTER_OTLP_ENDPOINT is to say."""

    def __init__(self, *, grpc: bool = False, identity: tuple[Path, Path] | None = None) -> None:
        """``identity``: the PEM files of a certificate and its key, for TLS."""
        self.port = free_port()
        self.grpc = grpc
        self.identity = identity
        self.address = f"https://localhost:{self.port}" if identity else f"http://127.0.0.1:{self.port}"
        #: HTTP statuses to answer next, or gRPC ones; then all is well again.
        self.refusals: list[int] = []
        #: Answers come after so many seconds.
        self.delay = 0.0
        self.requests = 0
        self.headers: list[dict[str, str]] = []
        self._spans: list[Span] = []
        self._lock = threading.Lock()
        self._stop: Callable[[], None] | None = None

    # ---- life ----

    def start(self) -> "Collector":
        """Listens; again after ``stop``, on the same port."""
        self._stop = self._serve_grpc() if self.grpc else self._serve_http()
        return self

    def stop(self) -> None:
        """Connections are refused from now on."""
        if self._stop is not None:
            self._stop()
            self._stop = None

    def __enter__(self) -> "Collector":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def environment(self, **more: str) -> dict[str, str]:
        """Variables for a server that exports here, without waiting for a batch to fill."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.address,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc" if self.grpc else "http/protobuf",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "OTEL_SERVICE_NAME": "shop",
            **more,
        }

    # ---- what has come ----

    def spans(self, name: str | None = None, **attributes: Any) -> list[Span]:
        """Those of that name that have these attributes (``_`` for ``.``)."""
        with self._lock:
            found = list(self._spans)
        return [
            span
            for span in found
            if (name is None or span.name == name)
            and all(span.attributes.get(key.replace("_", ".")) == value for key, value in attributes.items())
        ]

    def clear(self) -> None:
        """Forgets the spans."""
        with self._lock:
            self._spans.clear()

    def wait_for(
        self, name: str | None = None, count: int = 1, deadline: float = DEADLINE, **attributes: Any
    ) -> list[Span]:
        """Waits for at least so many spans."""

        def there() -> list[Span] | None:
            found = self.spans(name, **attributes)
            return found if len(found) >= count else None

        return wait_until(there, lambda: f"{count} spans {name} {attributes}; there are {self.spans()[-40:]}", deadline)

    def take(self, body: bytes) -> None:
        """One export request."""
        request = ExportTraceServiceRequest.FromString(body)
        spans = []
        for resource_spans in request.resource_spans:
            resource = values(resource_spans.resource.attributes)
            for scope_spans in resource_spans.scope_spans:
                scope = scope_spans.scope.name
                spans += [Span(message, resource, scope) for message in scope_spans.spans]
        with self._lock:
            self._spans += spans

    # ---- protocols ----

    def _refusal(self) -> int | None:
        time.sleep(self.delay)
        with self._lock:
            self.requests += 1
            return self.refusals.pop(0) if self.refusals else None

    def _serve_http(self) -> Callable[[], None]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                refusal = collector._refusal()
                collector.headers.append({name.lower(): value for name, value in self.headers.items()})
                known = self.path == "/v1/traces" and self.headers["Content-Type"] == "application/x-protobuf"
                if refusal is None and known:
                    if self.headers.get("Content-Encoding") == "gzip":
                        body = gzip.decompress(body)
                    collector.take(body)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(refusal or (200 if known else 404))
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        class Http(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def __init__(self) -> None:
                self.open: set[Any] = set()
                super().__init__(("127.0.0.1", collector.port), Handler)

            def process_request(self, request: Any, client_address: Any) -> None:
                self.open.add(request)
                super().process_request(request, client_address)

            def shutdown_request(self, request: Any) -> None:
                self.open.discard(request)
                super().shutdown_request(request)

            def handle_error(self, *_: object) -> None:
                """A connection that we have closed ourselves."""

        server = Http()
        if self.identity is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(*self.identity)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

        def stop() -> None:
            server.shutdown()
            server.server_close()
            for connection in list(server.open):
                server.shutdown_request(connection)

        return stop

    def _serve_grpc(self) -> Callable[[], None]:
        # Imported where it is needed: it starts threads of its own.
        import grpc

        def export(body: bytes, context: Any) -> bytes:
            refusal = self._refusal()
            self.headers.append({key: str(value) for key, value in context.invocation_metadata()})
            if refusal is not None:
                code = next(code for code in grpc.StatusCode if code.value[0] == refusal)
                context.abort(code, "the test wants it so")
            self.take(body)
            return ExportTraceServiceResponse().SerializeToString()

        class Service(grpc.GenericRpcHandler):
            def service(self, details: Any) -> Any:
                if details.method == GRPC_METHOD:
                    return grpc.unary_unary_rpc_method_handler(export)
                return None

        server = grpc.server(futures.ThreadPoolExecutor(4))
        server.add_generic_rpc_handlers((Service(),))
        place = f"127.0.0.1:{self.port}"
        if self.identity is None:
            assert server.add_insecure_port(place) == self.port
        else:
            certificate, key = (path.read_bytes() for path in self.identity)
            assert server.add_secure_port(place, grpc.ssl_server_credentials([(key, certificate)])) == self.port
        server.start()
        return lambda: server.stop(None).wait()
