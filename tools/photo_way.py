"""The way of one photo: the source files that recognize, scan and POST /v1/recognize visit, and decodes and digests.

    python tools/photo_way.py

Builds a small gallery of drawn photos in a temporary folder, then follows one photo through each door with warm models.
A file counts as visited when one of its functions runs on behalf of the photo, in any thread.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

import veduta
from veduta.images import decode

SOURCE = Path(veduta.__file__).parent


def draw(path: Path, seed: int, shift: float = 0.0) -> Path:
    """Write a drawn facade, seen a little from the side for `shift` above 0."""
    rng = np.random.default_rng(seed)
    picture = np.full((360, 480, 3), 200, np.uint8)
    for _ in range(160):
        x, y, w, h = rng.integers(0, 440), rng.integers(0, 320), rng.integers(5, 40), rng.integers(5, 40)
        cv2.rectangle(picture, (int(x), int(y)), (int(x + w), int(y + h)), rng.integers(0, 255, 3).tolist(), -1)
    corners = np.float32([[0, 0], [480, 0], [480, 360], [0, 360]])
    moved = corners + np.float32([[shift, shift], [-shift, 0], [0, -shift], [shift, 0]])
    view = cv2.warpPerspective(picture, cv2.getPerspectiveTransform(corners, moved), (480, 360))
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), view)
    return path


class Follower:
    """Counts the files of the package whose functions run, decodes, and SHA-256 digests of the photo's bytes."""

    def __init__(self, content: bytes) -> None:
        self.files: set[str] = set()
        self.decodes = self.digests = self.extractions = 0
        self._content = content

    def __call__(self, frame: object, event: str, _: object) -> None:
        """Take one event of `sys.setprofile`."""
        code = frame.f_code  # type: ignore[attr-defined]
        if event == "call" and code.co_filename.startswith(str(SOURCE)):
            self.files.add(str(Path(code.co_filename).relative_to(SOURCE)))

    def follow(self, action: Callable[[], object]) -> None:
        """Run an action and count on its behalf."""
        sha256, inner = hashlib.sha256, decode._decode

        def counted_sha256(data: bytes = b"", **options: bool) -> object:
            self.digests += data == self._content
            return sha256(data, **options)

        def counted_decode(photo: object, *rest: object) -> object:
            self.decodes += getattr(photo, "data", None) == self._content
            return inner(photo, *rest)  # type: ignore[arg-type]

        hashlib.sha256, decode._decode = counted_sha256, counted_decode  # type: ignore[assignment]
        active.append(self)
        try:
            action()
        finally:
            active.remove(self)
            hashlib.sha256, decode._decode = sha256, inner


active: list[Follower] = []


def observe(frame: object, event: str, argument: object) -> None:
    """Hand an event to whoever follows a photo; set before any thread starts, so that servers' threads are seen."""
    for follower in active:
        follower(frame, event, argument)


def main() -> None:
    """Print the counts of each door as JSON lines, and the files when asked with --files."""
    from fastapi.testclient import TestClient

    from veduta.gallery import Gallery
    from veduta.library import Library
    from veduta.web.app import create_app
    from veduta.web.settings import Settings

    threading.setprofile(observe)
    sys.setprofile(observe)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for i in range(6):
            for j in range(2):
                draw(root / "refs" / f"facade-{i}" / f"{j}.png", i, 10.0 * j)
        with Gallery.create(root / "gallery") as gallery:
            gallery.add(root / "refs")
        doors: dict[str, Callable[[Path], Callable[[], object]]] = {}
        gallery = Gallery.open(root / "gallery")
        doors["recognize"] = lambda photo: lambda: list(gallery.recognize([photo]))
        doors["add"] = lambda photo: lambda: gallery.add_photo(photo, "facade-new")
        pictures = root / "pictures"
        pictures.mkdir()
        library = Library(pictures)
        doors["scan"] = lambda photo: lambda: (photo.rename(pictures / photo.name), library.scan(gallery))
        app = create_app([root / "gallery"], Settings(token="t" * 20))
        with TestClient(app, base_url="http://127.0.0.1") as client:

            def post(path: str, photo: Path, **fields: str) -> Callable[[], object]:
                content = photo.read_bytes()
                head = {"Authorization": "Bearer " + "t" * 20}
                return lambda: client.post(path, files={"photos": ("a.png", content)}, data=fields, headers=head)

            doors["POST /v1/recognize"] = lambda photo: post("/v1/recognize", photo)
            doors["POST /v1/references"] = lambda photo: post("/v1/references", photo, landmark="facade-new")
            for number, (name, door) in enumerate(doors.items()):
                door(draw(root / f"warm-{number}.png", number % 6, 5.0))()
                photo = draw(root / f"new-{number}.png", number % 6, 7.0)
                follower = Follower(photo.read_bytes())
                follower.follow(door(photo))
                counts = {"files": len(follower.files), "decodes": follower.decodes, "sha256": follower.digests}
                print(json.dumps({"door": name} | counts))
                if "--files" in sys.argv:
                    print("   ", " ".join(sorted(follower.files)))
        library.close()
        gallery.close()


if __name__ == "__main__":
    main()
