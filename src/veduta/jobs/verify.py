"""The job that compares many pairs of photos: one line of JSON for each, as `veduta verify` prints."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from veduta.concurrency import in_order
from veduta.errors import DatasetError, JobError
from veduta.features import make_extractor
from veduta.geometry import HomographyVerifier
from veduta.jobs.fingerprint import features_digest, probe_image
from veduta.jobs.plan import JobItem, JobPlan, file_digest, json_line
from veduta.jobs.recognize import load_item
from veduta.matching import PAIR_MATCHERS, make_matcher, make_pair_matcher
from veduta.protocols import Extractor, Matcher, PairMatcher
from veduta.records import Record, RecordFile
from veduta.types import Failure, Image, LocalFeatures, Matches, Size

FEATURES = "features.bin"  # in a shard's folder while it is at work: what was extracted
PAIRS_AT_ONCE = 256  # pairs of one photo that fall to one shard; of a photo with more, the next ones to another
RECENT = 16  # photos kept decoded by a matcher that has to see them

Side = TypeVar("Side", Image, LocalFeatures)


@dataclass(frozen=True)
class VerifyJob:
    """Pairs of photos to be held against each other, with what `veduta.verify` takes.

    Attributes:
        pairs: a table with the columns a and b, its paths absolute or relative to itself.
        extractor: name of the local features.
        matcher: name of the matcher.
        max_keypoints: keypoints kept per photo.
        max_side: photos are reduced so that their longer side has at most this many pixels.
        provider: execution provider.
    """

    pairs: Path
    extractor: str = "xfeat"
    matcher: str = "nearest"
    max_keypoints: int = 512
    max_side: int = 576
    provider: str = "cpu"

    @property
    def kind(self) -> str:
        """The name of the kind of job in a plan."""
        return "verify"

    def identity(self) -> dict[str, Any]:
        """Return the job's identity."""
        return vars(self) | {"photos": str(self.pairs.absolute()), "sha256": file_digest(self.pairs), "pairs": None}

    def items(self, failures: list[Failure]) -> Iterator[tuple[str, JobItem]]:
        """Yield every pair by its first photo, those of one photo together, up to `PAIRS_AT_ONCE`."""
        met: dict[str, int] = {}
        for a, b in read_pairs(self.pairs):
            met[a] = met.get(a, 0) + 1
            run = (met[a] - 1) // PAIRS_AT_ONCE
            yield (f"{a}\0{run}" if run else a), {"a": a, "b": b}

    def permitted(self) -> Callable[[JobItem], bool]:
        """Return a test of an item: whether the table has the pair."""
        listed = set(read_pairs(self.pairs))
        return lambda item: (item["a"], item["b"]) in listed

    def keep(self, folder: Path) -> dict[str, Any]:
        """Return the folder that relative paths start at."""
        return {"base": str(self.pairs.absolute().parent)}

    @contextmanager
    def worker(self, plan: JobPlan, shard: Path) -> Iterator[FeaturePairWorker | ImagePairWorker]:
        """Yield what compares; when all is done, what was extracted is thrown away."""
        plan = replace(plan, extra=self.keep(shard))  # not where a plan from somebody else says
        if self.matcher in PAIR_MATCHERS:
            yield ImagePairWorker(make_pair_matcher(self.matcher, self.max_side, self.provider), plan)
            return
        extractor = make_extractor(self.extractor, self.max_keypoints, self.max_side, self.provider)
        matcher = make_matcher(self.matcher, self.extractor, self.provider)
        with closing(FeatureStore(shard / FEATURES)) as extracted:
            yield FeaturePairWorker(extractor, matcher, plan, extracted)


def read_pairs(table: Path) -> Iterator[tuple[str, str]]:
    """Yield the pairs of a table with the columns a and b; DatasetError names the line that is malformed."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            header = [name.strip().lower() for name in next(rows, [])]
            if header != ["a", "b"]:
                raise DatasetError(f"{table}, line 1: expected the columns a,b, got {','.join(header) or 'nothing'}")
            for row in rows:
                a, b = (cell.strip() for cell in row) if len(row) == 2 else ("", "")
                if row and not (a and b):
                    raise DatasetError(f"{table}, line {rows.line_num}: expected the paths of two photos")
                if row:
                    yield a, b
    except UnicodeDecodeError as error:
        raise DatasetError(f"{table}: is not UTF-8; save the table in that encoding") from error
    except csv.Error as error:
        raise DatasetError(f"{table}: is not CSV ({error})") from error
    except OSError as error:
        raise DatasetError(f"{table}: cannot be read ({error.strerror})") from error


class FeatureStore:
    """Local features of photos, to the last bit, in a file that survives being killed.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, RecordFile(path)
        try:
            self._places = {json.loads(_head(record))["photo"]: place for place, record in self._file}
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise JobError(f"{path}: is damaged ({error}); delete its folder and run the shard again") from error

    def __contains__(self, photo: str) -> bool:
        return photo in self._places

    def put(self, photo: str, features: LocalFeatures | Failure) -> None:
        """Store a photo's local features, or its failure."""
        if isinstance(features, Failure):
            content = json_line(asdict(replace(features, photo=photo)))
        else:
            head = {"photo": photo, "size": features.size, "shape": features.descriptors.shape}
            arrays = (features.keypoints, features.descriptors, features.scores)
            content = json_line(head) + b"".join(np.asarray(array, "<f4").tobytes() for array in arrays)
        record = Record(len(self._places), isinstance(features, Failure), content)
        self._places[photo] = self._file.append(record)

    def get(self, photo: str) -> LocalFeatures | Failure:
        """Return a photo's stored features or failure."""
        record = self._file.at(self._places[photo])
        try:
            return _stored(record)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise JobError(f"{self._path}: is damaged ({error}); delete its folder and run the shard again") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _stored(record: Record) -> LocalFeatures | Failure:
    """Return the features or failure in a record; ValueError, KeyError or TypeError for a damaged one."""
    head = json.loads(_head(record))
    if record.failed:
        return Failure(**head)
    n, dim = head["shape"]
    numbers = np.frombuffer(record.content, "<f4", offset=len(_head(record))).astype(np.float32)
    if not np.isfinite(numbers).all() or len(numbers) != (3 + dim) * n or min(dim, *head["size"]) < 1:
        raise ValueError("expected local features")
    keypoints, descriptors, scores = np.split(numbers, [2 * n, (2 + dim) * n])
    return LocalFeatures(keypoints.reshape(n, 2), descriptors.reshape(n, dim), scores, Size(*head["size"]))


def _head(record: Record) -> bytes:
    return record.content[: record.content.index(b"\n") + 1]


class FeaturePairWorker:
    """Compares photos by their local features; each photo is extracted once.

    Args:
        extractor: makes them.
        matcher: pairs them.
        plan: the job.
        extracted: what was made already.
    """

    def __init__(self, extractor: Extractor, matcher: Matcher, plan: JobPlan, extracted: FeatureStore) -> None:
        self._extractor, self._matcher, self._plan, self._extracted = extractor, matcher, plan, extracted

    def fingerprint(self) -> str:
        """Return a digest of the features of a drawn picture."""
        return features_digest(self._extractor.extract(probe_image()))

    def results(self, items: Iterator[JobItem]) -> Iterator[tuple[bytes, bool]]:
        """Yield each pair's comparison or failure; photos are decoded ahead."""
        pairs = list(items)
        photos = _once((photo for item in pairs for photo in (item["a"], item["b"])), self._extracted)
        with closing(in_order(lambda photo: load_item(self._plan, photo), photos)) as loaded:
            for item in pairs:
                yield _result(item, self._features(item["a"], loaded), self._features(item["b"], loaded), self._match)

    def _match(self, a: LocalFeatures, b: LocalFeatures) -> tuple[LocalFeatures, LocalFeatures, Matches]:
        return a, b, self._matcher.match(a, b)

    def _features(self, photo: str, loaded: Iterator[tuple[str, Image | Failure]]) -> LocalFeatures | Failure:
        if photo not in self._extracted:
            name, image = next(loaded)
            if name != photo:
                raise AssertionError(f"{name} was decoded where {photo} was expected")
            features = image if isinstance(image, Failure) else self._extractor.extract(image)
            self._extracted.put(photo, features)
        return self._extracted.get(photo)


def _once(photos: Iterable[str], store: FeatureStore) -> Iterator[str]:
    """Yield each photo at its first occurrence, unless the store has that photo already."""
    met: set[str] = set()
    for photo in photos:
        if photo not in met and photo not in store:
            met.add(photo)
            yield photo


class ImagePairWorker:
    """Compares photos by a matcher that has to see both.

    Args:
        matcher: pairs their points.
        plan: the job.
    """

    def __init__(self, matcher: PairMatcher, plan: JobPlan) -> None:
        self._matcher, self._load = matcher, lru_cache(RECENT)(lambda photo: load_item(plan, photo))

    def fingerprint(self) -> str:
        """Return a digest of what is found between a drawn picture and itself."""
        query, _, matches = self._matcher.match_images(probe_image(), probe_image())
        return features_digest(query, matches.scores)

    def results(self, items: Iterator[JobItem]) -> Iterator[tuple[bytes, bool]]:
        """Yield each pair's comparison or failure."""
        for item in items:
            yield _result(item, self._load(item["a"]), self._load(item["b"]), self._matcher.match_images)


def _result(
    item: JobItem,
    a: Side | Failure,
    b: Side | Failure,
    match: Callable[[Side, Side], tuple[LocalFeatures, LocalFeatures, Matches]],
) -> tuple[bytes, bool]:
    """Return the line of one pair, and whether one of its photos has failed."""
    if isinstance(a, Failure):
        return json_line(item | {"error": a.error}), True
    if isinstance(b, Failure):
        return json_line(item | {"error": b.error}), True
    query, reference, matches = match(a, b)
    verified = HomographyVerifier().verify(query, reference, matches)
    line = {
        "num_keypoints": [len(query), len(reference)],
        "num_matches": len(matches),
        "num_inliers": verified.num_inliers,
        "homography": None if verified.homography is None else verified.homography.tolist(),
        "problem": verified.problem,
    }
    return json_line(item | line), False
