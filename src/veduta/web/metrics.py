"""Figures of a server for Prometheus."""

from __future__ import annotations

import time

from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from veduta.types import Recognition
from veduta.web.engine import Engine
from veduta.web.served import ServedGallery

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Metrics:
    """The figures of one server.

    Args:
        engine: the source of the load and the galleries.
    """

    def __init__(self, engine: Engine) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "veduta_requests", "Requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "veduta_request_seconds", "Time to answer.", ["route"], registry=self.registry, buckets=BUCKETS
        )
        self.answers = Counter("veduta_answers", "Photos recognized.", ["gallery", "answer"], registry=self.registry)
        load = Gauge("veduta_requests_admitted", "Requests at work or waiting.", registry=self.registry)
        load.set_function(lambda: engine.load)
        self._references = Gauge("veduta_references", "References in a gallery.", ["gallery"], registry=self.registry)
        self._engine = engine

    def count(self, served: ServedGallery, recognition: Recognition) -> None:
        """Count an answer."""
        self.answers.labels(served.name, "none" if recognition.landmark is None else "landmark").inc()

    def text(self) -> bytes:
        """Return all figures in Prometheus' format."""
        for served in self._engine.served.values():
            with served.lock:
                self._references.labels(served.name).set(served.gallery.counts()[1])
        return generate_latest(self.registry)


class MetricsMiddleware:
    """Counts and times every request, by route: a path that a client makes up never becomes a label.

    Args:
        app: the application behind this middleware.
        meter: the figures.
    """

    def __init__(self, app: ASGIApp, meter: Metrics) -> None:
        self.app, self.meter = app, meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on and note its status and time."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, sending)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in METHODS else "other"
            self.meter.requests.labels(method, route, str(status)).inc()
            self.meter.seconds.labels(route).observe(time.perf_counter() - start)


METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"}


def add_metrics_route(app: FastAPI, meter: Metrics, engine: Engine) -> None:
    """Serve the figures at /metrics."""

    @app.get("/metrics", tags=["server"], response_class=Response)
    async def metrics(_request: Request) -> Response:
        """Return the server's figures in Prometheus' format."""
        return Response(await engine.run(meter.text), media_type=CONTENT_TYPE_LATEST)
