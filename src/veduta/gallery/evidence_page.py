"""The evidence as one self-contained HTML page: no script, nothing loaded from elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import PIL.Image

from veduta.errors import GalleryError
from veduta.types import Candidate, Float32, Image, Landmark, Recognition
from veduta.viz import draw_keypoints, draw_pair, encode


@dataclass(frozen=True, eq=False)
class EvidencePair:
    """A candidate with what is needed to show why it is one.

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

    >>> words(0.99), words(0.8), words(0.55), words(0.2)
    ('almost certainly', 'probably', 'perhaps', 'unlikely')
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
    table = _summary(summary) if summary else ""
    body = "\n".join(_section(exhibit) for exhibit in exhibits)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title><style>{STYLE}</style></head>
<body><header><h1>{escape(title)}</h1><p>{escape(subtitle)}</p></header>
<main>{table}
{body}</main></body></html>
"""


def _summary(rows: Sequence[Sequence[str]]) -> str:
    head, *rest = (
        "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row) + "</tr>"
        for tag, row in zip(["th", *["td"] * (len(rows) - 1)], rows, strict=True)
    )
    return f"<section>{_table(head, ''.join(rest))}</section>"


def _section(exhibit: Explanation) -> str:
    recognition = exhibit.recognition
    title = escape(exhibit.title or Path(recognition.photo).name)
    note = f'<p class="note">{escape(exhibit.note)}</p>' if exhibit.note else ""
    figures = "\n".join(_figure(exhibit, pair) for pair in exhibit.pairs[:1])
    rest = "\n".join(_figure(exhibit, pair) for pair in exhibit.pairs[1:])
    more = f"<details><summary>Other candidates ({len(exhibit.pairs) - 1})</summary>{rest}</details>" if rest else ""
    return f"""<section><h2>{title}</h2>{note}{_answer(exhibit)}
{figures}{more}{_keypoints(exhibit)}{_terms_table(exhibit)}{_evidence_table(exhibit)}</section>"""


def _answer(exhibit: Explanation) -> str:
    recognition = exhibit.recognition
    percent = "over 99%" if recognition.confidence > 0.99 else f"{recognition.confidence:.0%}"  # never a round 100
    if recognition.landmark is not None:
        name, kind, aside = recognition.landmark.name, "yes", f"{confidence_phrase(recognition.confidence)}, {percent}"
    else:
        guess = f"the best guess, {exhibit.pairs[0].landmark.name}, reaches {percent}" if exhibit.pairs else ""
        name, kind, aside = "None I know", "none", guess
    bar = f'<span class="bar"><span style="width:{recognition.confidence * 100:.0f}%"></span></span>'
    return f'<p class="answer {kind}"><strong>{escape(name)}</strong> {bar} <span>{escape(aside)}</span></p>'


def _figure(exhibit: Explanation, pair: EvidencePair) -> str:
    picture = base64.b64encode(encode(draw_evidence(exhibit, pair), "webp", 82)).decode()
    text = f"{pair.landmark.name}: similarity {pair.candidate.similarity:.2f}, {_inliers(pair.candidate)}"
    alt = escape(f"the photo beside a reference of {pair.landmark.name}, {_inliers(pair.candidate)}", quote=True)
    source = f'<img src="data:image/webp;base64,{picture}" alt="{alt}">'
    return f"<figure>{source}<figcaption>{escape(text)}</figcaption></figure>"


def _keypoints(exhibit: Explanation) -> str:
    """Return the photo with its keypoints, bright where other photos of the place are likely to confirm them."""
    if exhibit.keypoints is None or exhibit.repeatability is None or not len(exhibit.repeatability):
        return ""
    picture = draw_keypoints(exhibit.image, exhibit.keypoints, exhibit.repeatability)
    data = base64.b64encode(encode(picture, "webp", 82)).decode()
    caption = "Large and green: likely to be there on another day too. Small and red: sky, leaves, people, water."
    image = f'<img src="data:image/webp;base64,{data}" alt="the photo with its {len(exhibit.repeatability)} keypoints">'
    figure = f"<figure>{image}<figcaption>{caption}</figcaption></figure>"
    return f"<details><summary>Which keypoints are likely to stay</summary>{figure}</details>"


def _evidence_table(exhibit: Explanation) -> str:
    names = {pair.candidate.landmark: pair.landmark.name for pair in exhibit.pairs}
    rows = "".join(
        f"<tr><td>{escape(c.reference)}</td><td>{escape(names.get(c.landmark, c.landmark))}</td>"
        f"<td>{c.similarity:.3f}</td><td>{'not verified' if c.num_inliers is None else c.num_inliers}</td></tr>"
        for c in exhibit.recognition.evidence
    )
    head = "<tr><th>reference</th><th>landmark</th><th>similarity</th><th>inliers</th></tr>"
    return f"<details><summary>The evidence in numbers</summary>{_table(head, rows)}</details>"


def _terms_table(exhibit: Explanation) -> str:
    """Return what each kind of evidence adds to the log odds of the guess: green for it, brown against it."""
    terms = [(name, value) for name, value in exhibit.recognition.terms if abs(value) >= TELLING][:TERMS_SHOWN]
    if not terms:
        return ""
    widest = max(abs(value) for _, value in terms)
    rows = "".join(
        f'<tr><td>{escape(name)}</td><td>{value:+.2f}</td><td><span class="term {"for" if value > 0 else "against"}" '
        f'style="width:{abs(value) / widest * 12:.1f}rem"></span></td></tr>'
        for name, value in terms
    )
    head = "<tr><th>evidence</th><th>log odds</th><th></th></tr>"
    return f"<details><summary>What speaks for it and against it</summary>{_table(head, rows)}</details>"


def _table(head: str, rows: str) -> str:
    """Return a table, from its rows in HTML, that scrolls sideways by itself on a phone."""
    return f'<div class="wide"><table>{head}{rows}</table></div>'


def _inliers(candidate: Candidate) -> str:
    return "not verified" if candidate.num_inliers is None else f"{candidate.num_inliers} inliers"


TELLING, TERMS_SHOWN = 0.05, 12  # log odds below which a term is not worth a line; lines shown
STYLE = """
:root { color-scheme: light dark; --ink: #1d2027; --soft: #5b6270; --paper: #f7f6f3; --card: #fff; --line: #e2e0da;
  --yes: #1f7a4d; --none: #8a5a12 }
@media (prefers-color-scheme: dark) { :root { --ink: #eceef2; --soft: #a3a9b6; --paper: #14161a; --card: #1d2026;
  --line: #31353d; --yes: #59c491; --none: #e0ae5c } }
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif }
header, main { max-width: 60rem; margin: 0 auto; padding: 1.2rem }
h1 { font-size: 1.6rem; margin: .4rem 0 }
h2 { font-size: 1.15rem; margin: 0 0 .2rem }
header p, .note, figcaption { color: var(--soft); margin: .2rem 0 }
section { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 1rem 1.2rem;
  margin: 0 0 1.2rem }
.answer { display: flex; flex-wrap: wrap; gap: .7rem; align-items: center; margin: .4rem 0 .8rem }
.answer strong { font-size: 1.25rem }
.yes strong { color: var(--yes) }
.none strong { color: var(--none) }
.bar { display: inline-block; width: 9rem; height: .5rem; background: var(--line); border-radius: 1rem;
  overflow: hidden }
.bar span { display: block; height: 100%; background: var(--yes) }
.none .bar span { background: var(--none) }
.term { display: inline-block; height: .6rem; border-radius: 1rem; background: var(--yes) }
.term.against { background: var(--none) }
figure { margin: 0 0 .6rem }
img { max-width: 100%; height: auto; border-radius: 8px; display: block }
summary { cursor: pointer; color: var(--soft); padding: .3rem 0 }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100%; min-width: 38rem; font-size: .92rem }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--line) }
td:first-child { overflow-wrap: anywhere }
th { color: var(--soft); font-weight: 600 }
td:nth-child(n+3) { font-variant-numeric: tabular-nums }
"""
