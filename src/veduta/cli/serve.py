"""``veduta serve`` and ``veduta review``: the page and the services, and the verdicts given there."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from veduta.cli import output
from veduta.cli.options import Provider
from veduta.errors import VedutaError, install_extra
from veduta.files import MEGABYTE

if TYPE_CHECKING:
    from veduta.library import Library

TOKEN = "VEDUTA_TOKEN"  # noqa: S105


def serve_command(
    galleries: Annotated[
        list[Path], typer.Argument(metavar="GALLERY...", help="Folders of galleries.", show_default=False)
    ],
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for one that is free.")] = 8000,
    host_name: Annotated[
        list[str] | None, typer.Option(help="Another name the server answers to, beside its own: that of its proxy.")
    ] = None,
    allow_origin: Annotated[
        list[str] | None, typer.Option(help="Another site whose pages may use the services, https://example.org.")
    ] = None,
    allow_image_prefix: Annotated[
        list[str] | None, typer.Option(help="Beginning of addresses that source.imageUri may name; none by default.")
    ] = None,
    root_path: Annotated[
        str, typer.Option(help="Path below which a proxy shows the server, such as /veduta; empty for none.")
    ] = "",
    tile_url: Annotated[
        str | None, typer.Option(help="Map tiles the page may show, https://tile.example/{z}/{x}/{y}.png.")
    ] = None,
    tile_attribution: Annotated[str, typer.Option(help="What to say of where the tiles are from.")] = "",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Photos decoded at once; one is recognized meanwhile.")
    ] = None,
    queue: Annotated[int, typer.Option(min=0, help="Requests that may wait; more are refused with 429.")] = 32,
    max_body: Annotated[int, typer.Option(min=1, help="Megabytes of a request at most.")] = 64,
    max_photo: Annotated[int, typer.Option(min=1, help="Megabytes of a photo at most.")] = 25,
    provider: Provider = "cpu",
) -> None:
    """Serve the page and the services over HTTP. Changes need the token in the variable VEDUTA_TOKEN."""
    try:
        from veduta.web.app import create_app
        from veduta.web.limits import served_names
        from veduta.web.server import make_server
        from veduta.web.settings import Settings, is_root_path
    except ModuleNotFoundError as error:
        raise VedutaError(f"{error.name} is missing; {install_extra('serve')}") from error
    names = served_names(host, host_name or ())
    if not str(tile_url or "https://").startswith(("https://", "http://")):
        raise typer.BadParameter("expected an address that begins with https:// or http://", param_hint="--tile-url")
    if not is_root_path(root_path := root_path.rstrip("/")):
        raise typer.BadParameter("expected a path such as /veduta", param_hint="--root-path")
    try:
        settings = Settings(
            token=os.environ.get(TOKEN) or None,
            workers=workers or Settings.workers,
            queue=queue,
            max_body=max_body * MEGABYTE,
            max_photo=max_photo * MEGABYTE,
            hosts=tuple(name.lower() for name in names),
            content_aliases=tuple(allow_origin or ()),
            image_prefixes=tuple(allow_image_prefix or ()),
            root_path=root_path,
            tiles=(tile_url, tile_attribution) if tile_url else None,
        )
    except ValueError as error:
        raise VedutaError(f"{TOKEN}: {error}") from error
    with _listen(host, port) as listening:
        app = create_app(galleries, settings, provider)
        server = make_server(app, settings, host, port)
        shown = f"[{host}]" if ":" in host else host
        fixed = [str(served.path) for served in app.state.engine.served.values() if not served.gallery.writable]
        unwritable = f"; it only reads {', '.join(fixed)}, which this user may not write" if fixed else ""
        writing = unwritable if settings.token else f"; it only reads, for {TOKEN} is not set"
        output.note(f"serving {', '.join(map(str, galleries))} at http://{shown}:{listening.getsockname()[1]}{writing}")
        server.run(sockets=[listening])


@contextmanager
def on_page(
    galleries: list[Path], token: str, port: int, provider: str, library: Library
) -> Iterator[tuple[Callable[[], None], str]]:
    """Yield a function that serves the page on loopback until a signal stops it, and the page's address.

    Args:
        galleries: folders of galleries.
        token: what allows changes.
        port: to listen at; 0 for one that is free.
        provider: execution provider.
        library: the library that is reviewed.
    """
    try:
        from veduta.web.app import create_app
        from veduta.web.limits import loopback_names
        from veduta.web.server import make_server
        from veduta.web.settings import Settings
    except ModuleNotFoundError as error:
        raise VedutaError(f"{error.name} is missing; {install_extra('serve')}") from error
    settings = Settings(token=token, hosts=loopback_names(()))
    with _listen("127.0.0.1", port) as listening:
        app = create_app(galleries, settings, provider, library=library)
        server = make_server(app, settings, "127.0.0.1", port)
        yield lambda: server.run(sockets=[listening]), f"http://127.0.0.1:{listening.getsockname()[1]}"


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket bound to an address; VedutaError when the address is taken or not of this machine."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only on a socket that says it is TCP; without, each answer waits 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise VedutaError(f"{host}:{port}: cannot listen ({error.strerror}); choose another --port") from error
    return listening


review_app = typer.Typer(help="The photos kept for review on the page.")


@review_app.command("export")
def export_command(
    gallery: Annotated[Path, typer.Argument(metavar="GALLERY", help="The gallery's folder.", show_default=False)],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write.", show_default=False)],
) -> None:
    """Write the photos that have a verdict, and photos.csv, which veduta calibrate takes."""
    from veduta.gallery import Gallery
    from veduta.review_queue import ReviewQueue

    with Gallery.open(gallery):  # an error says why it is no gallery
        reviewed = ReviewQueue(gallery)
    count = reviewed.export(folder)
    reviewed.close()
    output.note(f"wrote {count} photos; calibrate with: veduta calibrate {gallery} --csv {folder / 'photos.csv'}")
