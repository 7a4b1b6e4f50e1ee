"""The application: routes, page and guards, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.cors import CORSMiddleware

from veduta import __version__
from veduta.errors import ReplacedError
from veduta.library import Library
from veduta.web import errors, metrics
from veduta.web.engine import Engine
from veduta.web.errors import ApiError
from veduta.web.limits import LimitsMiddleware
from veduta.web.request_line import RequestLineMiddleware
from veduta.web.routes import api, gallery, groups, photoprism, review, vision
from veduta.web.schemas import StatusResponse
from veduta.web.settings import Settings

STATIC = Path(__file__).parent / "static"
API_DESCRIPTION = """Name the landmark in a photo, show the evidence, or say that none is known.

Errors have one shape, `{"error": {"code", "status", "message"}}`; changes need `Authorization: Bearer TOKEN`."""


def create_app(
    galleries: Sequence[Path],
    settings: Settings | None = None,
    provider: str = "cpu",
    *,
    warm: bool = True,
    library: Library | None = None,
) -> FastAPI:
    """Return the application that serves these galleries.

    Args:
        galleries: their folders.
        settings: limits, token and other settings.
        provider: execution provider.
        warm: whether the networks are loaded before the first request.
        library: the library whose photos are kept for review, by the first gallery, and whose groups are named; with
            None each gallery keeps photos of its own.

    Raises:
        GalleryError: one is no gallery, or two have one name.
        ModelError: the provider cannot run here.
    """
    settings = settings or Settings()
    engine = Engine(galleries, settings, provider, library)
    if warm:
        for served in engine.served.values():
            served.warm()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        engine.close()

    app = FastAPI(
        title="Veduta",
        version=__version__,
        description=API_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redirect_slashes=False,  # a redirect would name a scheme and host that a proxy may have changed
        redoc_url=None,
    )
    app.state.engine = engine
    errors.add_error_handlers(app)
    meter = metrics.Metrics(engine)
    engine.on_answer = meter.count
    _add_pages(app, settings.root_path)
    metrics.add_metrics_route(app, meter, engine)
    reviewing = review.review_router, groups.groups_router
    for router in (api.info_router, api.api_router, gallery.gallery_router, *reviewing, vision.vision_router):
        app.include_router(router, responses=errors.ERROR_RESPONSES)
    app.include_router(photoprism.photoprism_router)  # its errors have the shape its clients read
    app.add_middleware(LimitsMiddleware, settings=settings)
    if settings.content_aliases:
        app.add_middleware(
            CORSMiddleware, allow_origins=settings.content_aliases, allow_methods=["*"], allow_headers=["authorization"]
        )
    app.add_middleware(RequestLineMiddleware, root_path=settings.root_path)
    app.add_middleware(metrics.MetricsMiddleware, meter=meter)
    return app


def _page_text(root_path: str) -> str:
    """Return the page; below a path its links hold also without the slash at the end of the address."""
    text = (STATIC / "index.html").read_text("utf-8")
    return text.replace('"static/', f'"{root_path}/static/') if root_path else text


def _check_readable(engine: Engine) -> None:
    """Raise an error, answered with 503, unless all galleries can be read and are still those that were opened."""
    try:
        for served in engine.served.values():
            with served.lock:
                served.gallery.counts()
    except ReplacedError:
        raise  # says what to do
    except Exception as error:
        raise ApiError(503, "a gallery cannot be read; see the server's log") from error


def _add_pages(app: FastAPI, root_path: str) -> None:
    text = _page_text(root_path)

    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(text, headers={"Cache-Control": "no-cache"})

    @app.get("/favicon.ico", include_in_schema=False)
    async def icon() -> FileResponse:
        return FileResponse(STATIC / "icon.svg", media_type="image/svg+xml")

    @app.get("/healthz", tags=["server"])
    async def healthy() -> StatusResponse:
        """Say that the server runs."""
        return StatusResponse()

    @app.get("/readyz", tags=["server"])
    async def ready(engine: api.EngineDependency) -> StatusResponse:
        """Say whether the galleries can be read."""
        await engine.run(_check_readable, engine)
        return StatusResponse()

    app.mount("/static", StaticFiles(directory=STATIC, check_dir=False), name="static")
