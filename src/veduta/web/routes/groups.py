"""The groups of a library: photos that show one place, named by a person, and names taken back."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Literal, Self

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from veduta.errors import LibraryError
from veduta.files import utf8
from veduta.landmarks import Landmark
from veduta.library import Group, Library
from veduta.library.cluster.group import landmark_id
from veduta.library.cluster.names import GroupName, GroupNaming, forget_name, name_groups, without_photos
from veduta.library.model import Asset
from veduta.types import Failure
from veduta.web.errors import ApiError, error_detail
from veduta.web.fields import MAX_TEXT, Identifier, Number, Text
from veduta.web.request import RequestModel, describe_body, read
from veduta.web.routes.api import WORKING, WRITING, EngineDependency, GalleryName, engine_of
from veduta.web.routes.gallery import Limit, Offset, check_whole
from veduta.web.schemas import LandmarkSchema, PhotoFailure
from veduta.web.served import ServedGallery, ServedLibrary

PAGE, MAX_NAMES, MAX_LEFT_OUT, MAX_GROUP = 100, 100, 1000, 2**31
STATES = {"unnamed": (False,), "named": (True,), "all": (False, True)}
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
groups_router = APIRouter(prefix="/v1/groups", tags=["groups"], dependencies=[*WRITING, *WORKING])


class GroupPhoto(BaseModel):
    """A photo of a group; its name is its place in the library."""

    sha256: str
    name: str
    taken: datetime | None
    named: bool = Field(description="Whether a person gave the photo the landmark of the group.")

    @classmethod
    def of(cls, library: Library, asset: Asset, landmark: Landmark | None) -> Self:
        """Return a photo of a group that shows a landmark by a person's word, or None."""
        label = asset.label if asset.label is not None and asset.label.by == "person" else None
        named = label is not None and landmark is not None and label.landmark.id == landmark.id
        name = utf8(str(asset.file.relative_to(library.path)))
        return cls(sha256=asset.sha256, name=name, taken=asset.taken, named=named)


class GroupGuess(BaseModel):
    """The landmark that a gallery answered most often for the photos of a group."""

    landmark: LandmarkSchema
    photos: int


class GroupSchema(BaseModel):
    """Photos that show one place, the best picture first."""

    group: int
    photos: list[GroupPhoto]
    landmark: LandmarkSchema | None = Field(description="Landmark that a person named, or null.")
    guess: GroupGuess | None
    position: list[float] | None = Field(description="Degrees north and east, the median of the photos.")

    @classmethod
    def of(cls, library: Library, group: Group) -> Self:
        """Return a group of a library."""
        return cls(
            group=group.number,
            photos=[GroupPhoto.of(library, asset, group.landmark) for asset in group.assets],
            landmark=None if group.landmark is None else LandmarkSchema.model_validate(group.landmark),
            guess=None if group.guess is None else GroupGuess(landmark=_schema(group.guess[0]), photos=group.guess[1]),
            position=None if group.position is None else [round(degrees, 6) for degrees in group.position],
        )


class GroupsResponse(BaseModel):
    """One page of the groups, the largest first, and how many there are."""

    groups: list[GroupSchema]
    total: int


class NameRequest(RequestModel):
    """The name of one group: the fields of a row in a table of names."""

    model_config = ConfigDict(extra="forbid")

    group: Annotated[int, Field(ge=1, le=MAX_GROUP)]
    name: Annotated[Text, Field(min_length=1, max_length=MAX_TEXT)]
    id: Annotated[Identifier, Field(description="Id of the landmark; made of the name by default.")] | None = None
    latitude: Annotated[Number, Field(ge=-90, le=90)] | None = None
    longitude: Annotated[Number, Field(ge=-180, le=180)] | None = None
    without: list[Sha256] = Field(
        default=[], max_length=MAX_LEFT_OUT, description="sha256 of photos that do not show the place."
    )


class NamesRequest(RequestModel):
    """The names of groups: nothing is named if one of them is wrong."""

    model_config = ConfigDict(extra="forbid")

    names: list[NameRequest] = Field(min_length=1, max_length=MAX_NAMES)
    references: bool = Field(default=True, description="Whether the photos become references of the gallery.")
    gallery: Text | None = None


class NamedSchema(BaseModel):
    """The outcome of naming a group: photos that have the name, and references that are new."""

    group: int
    landmark: LandmarkSchema
    photos: int
    added: int
    failures: list[PhotoFailure]


class NamedResponse(BaseModel):
    """The outcome of naming groups, and the gallery that has the references."""

    named: list[NamedSchema]
    gallery: str | None


class UnnamedResponse(BaseModel):
    """The number of photos that lost their name, and of references that were removed."""

    photos: int
    removed: int


def library_of(request: Request) -> ServedLibrary:
    """Return the library; ApiError where none is served."""
    library = engine_of(request).library
    if library is None:
        raise ApiError(404, "this server has no library; open one with 'veduta library review'")
    return library


LibraryDependency = Annotated[ServedLibrary, Depends(library_of)]


@groups_router.get("")
async def list_groups(
    engine: EngineDependency,
    served: LibraryDependency,
    state: Literal["unnamed", "named", "all"] = "all",
    offset: Offset = 0,
    limit: Limit = PAGE,
) -> GroupsResponse:
    """Return the groups of the library, the largest first."""

    def work() -> GroupsResponse:
        with served.lock:
            groups = [one for one in served.library.groups() if (one.landmark is not None) in STATES[state]]
            page = [GroupSchema.of(served.library, group) for group in groups[offset : offset + limit]]
        return GroupsResponse(groups=page, total=len(groups))

    return await engine.run(work)


@groups_router.get("/pictures/{sha256}", responses={200: {"content": {"image/webp": {}}}})
async def group_picture(
    engine: EngineDependency, served: LibraryDependency, sha256: Annotated[str, Path(pattern="^[0-9a-f]{64}$")]
) -> Response:
    """Return a small picture of a photo of the library."""

    def work() -> bytes:
        try:
            with served.lock:
                return served.library.thumbnail(sha256)
        except LibraryError:
            raise ApiError(404, f"there is no photo {sha256}") from None

    return Response(await engine.run(work), media_type="image/webp", headers={"Cache-Control": "no-store"})


@groups_router.post("", openapi_extra=describe_body(NamesRequest))
async def post_names(request: Request, engine: EngineDependency, served: LibraryDependency) -> NamedResponse:
    """Name groups, and make their photos references of a gallery."""
    body = await read(request, engine.settings, NamesRequest)
    gallery = engine.named(body.gallery)
    named = await engine.run(_name, served, gallery, body, heavy=True)
    return NamedResponse(named=named, gallery=gallery.name if body.references else None)


def _name(served: ServedLibrary, gallery: ServedGallery, body: NamesRequest) -> list[NamedSchema]:
    with served.lock, gallery.lock:
        groups = _groups_named(served.library, body.names)
        names = [_group_name(one) for one in body.names]
        outcomes = name_groups(served.library, names, groups, gallery.gallery if body.references else None)
        return [_outcome(served.library, outcome) for outcome in outcomes]


def _groups_named(library: Library, names: Iterable[NameRequest]) -> list[Group]:
    """Return the group of each name without the photos left out; ApiError for what is in no group."""
    known, chosen = {group.number: group for group in library.groups()}, dict[int, Group]()
    for one in names:
        if one.group in chosen:
            raise ApiError(400, f"names: group {one.group} is named twice; send one name for each group")
        try:
            (chosen[one.group],) = without_photos([known[one.group]], one.without)
        except KeyError:
            raise _no_group(one.group) from None
        except LibraryError:
            raise ApiError(400, f"without: expected photos of group {one.group}") from None
        if not chosen[one.group].assets:
            raise ApiError(400, f"without: leaves no photo of group {one.group}")
    return list(chosen.values())


def _group_name(one: NameRequest) -> GroupName:
    check_whole(one.latitude, one.longitude)
    if one.id is None:
        try:
            landmark_id(one.name)
        except LibraryError:
            raise ApiError(400, f"name: {one.name!r} has no letter or digit; send an id as well") from None
    position = None if one.latitude is None or one.longitude is None else (one.latitude, one.longitude)
    return GroupName(one.group, one.name, one.id, position)


def _outcome(library: Library, named: GroupNaming) -> NamedSchema:
    """Return the outcome of naming a group, without the server's folders."""
    failures = [_failure(failure, f"{utf8(str(library.path))}/") for failure in named.failures]
    return NamedSchema(
        group=named.group, landmark=_schema(named.landmark), photos=named.photos, added=named.added, failures=failures
    )


def _failure(failure: Failure, folder: str) -> PhotoFailure:
    """Return the failure of a photo in a folder; the error's own sentence would say where that is."""
    photo, conflict = failure.photo.removeprefix(folder), failure.code == "conflict"
    problem = "is a reference of another landmark already" if conflict else "cannot be read as a photo any more"
    return PhotoFailure(photo=photo, error=error_detail(409 if conflict else 400, f"{photo}: {problem}"))


@groups_router.delete("/{group}/name")
async def forget_group_name(
    group: Annotated[int, Path(ge=1, le=MAX_GROUP)],
    engine: EngineDependency,
    served: LibraryDependency,
    gallery: GalleryName = None,
) -> UnnamedResponse:
    """Take the name of a group back, with the references that naming made in a gallery."""
    return await engine.run(_forget, served, engine.named(gallery), group)


def _forget(served: ServedLibrary, gallery: ServedGallery, number: int) -> UnnamedResponse:
    with served.lock, gallery.lock:
        group = next((one for one in served.library.groups() if one.number == number), None)
        if group is None:
            raise _no_group(number)
        if group.landmark is None:
            raise ApiError(409, f"group {number} has no name to take back")
        photos, removed = forget_name(served.library, number, gallery.gallery)
    return UnnamedResponse(photos=photos, removed=removed)


def _no_group(number: int) -> ApiError:
    return ApiError(404, f"there is no group {number}")


def _schema(landmark: object) -> LandmarkSchema:
    return LandmarkSchema.model_validate(landmark)
