"""The evidence as one self-contained HTML page: no script, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL.Image

from veduta.errors import GalleryError
from veduta.landmarks import Landmark
from veduta.pages import page_template, webp_source
from veduta.types import Candidate, Float32, Image, Recognition
from veduta.viz import draw_keypoints, draw_pair, encode

QUALITY = 82  # of the pictures in the page
TELLING, TERMS_SHOWN = 0.05, 12  # log odds below which a term is not worth a line; lines shown


@dataclass(frozen=True, eq=False)
class EvidencePair:
    """A candidate with its picture and inliers.

    Attributes:
        candidate: the reference, its similarity and inliers.
        landmark: what the reference shows.
        picture: the reference's photo, or its thumbnail.
        query_points: (K, 2) inliers in pixels of the query.
        reference_points: (K, 2) inliers in pixels of the reference.
        problem: why geometry refused the pair, or None.
    """

    candidate: Candidate
    landmark: Landmark
    picture: Image
    query_points: Float32
    reference_points: Float32
    problem: str | None


@dataclass(frozen=True, eq=False)
class Explanation:
    """One photo, its answer and the evidence for it.

    Attributes:
        image: the query.
        recognition: the answer.
        pairs: the candidates to show, best first.
        title: what to call the photo; its path when empty.
        note: a remark shown below the title, such as how the photo was made.
        keypoints: (N, 2) of the query, or None if they are not to be shown.
        repeatability: (N,) how likely each of them is to be found again on another day.
    """

    image: Image
    recognition: Recognition
    pairs: tuple[EvidencePair, ...]
    title: str = ""
    note: str = ""
    keypoints: Float32 | None = None
    repeatability: Float32 | None = None


def confidence_phrase(confidence: float) -> str:
    """Return a confidence in words.

    >>> [confidence_phrase(p) for p in (0.99, 0.8, 0.55, 0.2)]
    ['almost certainly', 'probably', 'perhaps', 'unlikely']
    """
    steps = ((0.95, "almost certainly"), (0.75, "probably"), (0.5, "perhaps"))
    return next((word for least, word in steps if confidence >= least), "unlikely")


def draw_evidence(exhibit: Explanation, pair: EvidencePair) -> PIL.Image.Image:
    """Return the query beside one reference with their inliers."""
    n = len(pair.query_points)
    caption = f"{n} inliers" if n else f"no inliers ({pair.problem or 'not verified'})"
    return draw_pair(
        exhibit.image,
        pair.picture,
        pair.query_points,
        pair.reference_points,
        caption,
        (Path(exhibit.recognition.photo).name, pair.candidate.reference),
    )


def write_page(out: Path, exhibits: Sequence[Explanation], title: str, subtitle: str = "") -> Path:
    """Write ``index.html`` and the pictures of each pair into folder `out` and return the page's path.

    Raises:
        GalleryError: the folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for i, exhibit in enumerate(exhibits):
            for j, pair in enumerate(exhibit.pairs):
                prefix = f"{i + 1}-" if len(exhibits) > 1 else ""
                draw_evidence(exhibit, pair).save(out / f"{prefix}evidence-{j + 1}.png")
        page = out / "index.html"
        page.write_text(render(exhibits, title, subtitle), "utf-8", "replace")  # a file's name need not be UTF-8
    except OSError as error:
        raise GalleryError(f"{out}: cannot be written ({error.strerror}); choose another folder") from error
    return page


def render(
    exhibits: Sequence[Explanation], title: str, subtitle: str = "", summary: Sequence[Sequence[str]] = ()
) -> str:
    """Return the page: a heading, perhaps a table (its first row the head), and a section per photo."""
    photos = [_photo(exhibit) for exhibit in exhibits]
    template = page_template(__file__, "evidence.html")
    return template.render(title=title, subtitle=subtitle, summary=summary, photos=photos)


def _photo(exhibit: Explanation) -> dict[str, Any]:
    """Return the template's values for one photo."""
    recognition = exhibit.recognition
    names = {pair.candidate.landmark: pair.landmark.name for pair in exhibit.pairs}
    return {
        "title": exhibit.title or Path(recognition.photo).name,
        "note": exhibit.note,
        "known": recognition.landmark is not None,
        "answer": recognition.landmark.name if recognition.landmark else "None I know",
        "aside": _aside(exhibit),
        "confidence": recognition.confidence,
        "pairs": [_pair(exhibit, pair) for pair in exhibit.pairs],
        "keypoints": _keypoints(exhibit),
        "terms": _terms(recognition),
        "evidence": [
            (c.reference, names.get(c.landmark, c.landmark), f"{c.similarity:.3f}", _inliers(c, ""))
            for c in recognition.evidence
        ],
    }


def _aside(exhibit: Explanation) -> str:
    """Return how sure the answer is; of none, how sure its best guess."""
    recognition = exhibit.recognition
    percent = "over 99%" if recognition.confidence > 0.99 else f"{recognition.confidence:.0%}"  # never a round 100
    if recognition.landmark is not None:
        return f"{confidence_phrase(recognition.confidence)}, {percent}"
    return f"the best guess, {exhibit.pairs[0].landmark.name}, reaches {percent}" if exhibit.pairs else ""


def _pair(exhibit: Explanation, pair: EvidencePair) -> dict[str, Any]:
    return {
        "name": pair.landmark.name,
        "similarity": pair.candidate.similarity,
        "inliers": _inliers(pair.candidate, " inliers"),
        "picture": webp_source(encode(draw_evidence(exhibit, pair), "webp", QUALITY)),
    }


def _keypoints(exhibit: Explanation) -> dict[str, Any] | None:
    """Return the photo with its keypoints, bright where other photos of the place are likely to confirm them."""
    if exhibit.keypoints is None or exhibit.repeatability is None or not len(exhibit.repeatability):
        return None
    picture = draw_keypoints(exhibit.image, exhibit.keypoints, exhibit.repeatability)
    return {"picture": webp_source(encode(picture, "webp", QUALITY)), "count": len(exhibit.repeatability)}


def _terms(recognition: Recognition) -> list[dict[str, Any]]:
    """Return each term's contribution to the log odds of the guess, with the width of its bar in rem."""
    terms = [(name, value) for name, value in recognition.terms if abs(value) >= TELLING][:TERMS_SHOWN]
    widest = max((abs(value) for _, value in terms), default=1.0)
    return [{"name": name, "value": value, "width": abs(value) / widest * 12} for name, value in terms]


def _inliers(candidate: Candidate, unit: str) -> str:
    return "not verified" if candidate.num_inliers is None else f"{candidate.num_inliers}{unit}"
