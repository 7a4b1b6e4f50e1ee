"""Folders that hold no photos of a person's own: trash, snapshots, thumbnails, and the packages of photo programs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path


@dataclass(frozen=True)
class FolderRule:
    """Names of folders that are not looked into.

    Attributes:
        patterns: the names in lower case; a star stands for anything.
        holds: whose folders these are, and the photos in them.
        source: where the maker or its program says so.
    """

    patterns: tuple[str, ...]
    holds: str
    source: str


# Hidden folders (a dot first) are never looked into; those here say whose they are, and cover roots within them.
FOLDER_RULES = (
    # --- disks in the network
    FolderRule(("@eadir",), "Synology: thumbnails", "Synology KB, media indexing"),
    FolderRule(("#recycle",), "Synology, TerraMaster: recycle bin", "Synology KB, Recycle Bin of shared folders"),
    FolderRule(("#snapshot",), "Synology: snapshots of the folder", "Synology KB, Snapshot Replication"),
    FolderRule(("@tmp", "@sharebin", "@synofinder*"), "Synology: services", "Synology DSM, volume root"),
    FolderRule(("@recycle",), "QNAP: network recycle bin", "QNAP QTS manual, Network Recycle Bin"),
    FolderRule(("@recently-snapshot",), "QNAP: snapshots of the folder", "QNAP QTS manual, Snapshot directory"),
    FolderRule(
        (".@__thumb", "@__thumb", ".@upload_cache", "@transcode"), "QNAP: thumbnails", "QNAP QTS manual, Multimedia"
    ),
    FolderRule((".@backup_*", "@backup_*"), "QNAP: backups of services", "QNAP QTS manual, Hybrid Backup Sync"),
    FolderRule(("network trash folder", "networktrash"), "Apple file sharing: trash", "Netatalk manual, AFP volumes"),
    FolderRule(
        ("temporary items", "thevolumesettingsfolder", ".temporaryitems", ".appledouble", ".appledb", ".appledesktop"),
        "Apple file sharing: resource forks and databases",
        "Netatalk manual, AFP volumes",
    ),
    FolderRule(
        (".recycle", "recycle bin", "recyclebin", ".recycle.bin"), "Samba: recycle bin", "Samba manual, vfs_recycle"
    ),
    FolderRule(
        (".deleted", "trashbox"), "Buffalo and others: trash of a share", "Buffalo LinkStation manual, Recycle Bin"
    ),
    FolderRule(
        ("~snapshot", ".snapshot", ".snapshots", ".zfs"), "snapshots", "NetApp ONTAP, snapper and OpenZFS manuals"
    ),
    FolderRule(("lost+found",), "pieces that a check of the disk saved", "e2fsck(8)"),
    # --- desktops and phones
    FolderRule(("$recycle.bin", "recycler", "recycled"), "Windows: recycle bin", "Microsoft Learn, SHEmptyRecycleBin"),
    FolderRule(("system volume information", "system volume"), "Windows: restore points", "Microsoft Learn, VSS"),
    FolderRule(("found.[0-9][0-9][0-9]",), "Windows: pieces that chkdsk saved", "Microsoft Learn, chkdsk"),
    FolderRule((".trash", ".trash-*"), "Linux: trash of a disk", "freedesktop.org, Trash specification 1.0"),
    FolderRule(
        (".trashes", ".spotlight-v100", ".fseventsd", ".documentrevisions-v100"),
        "macOS: trash, index",
        "Apple, root of a volume",
    ),
    FolderRule(("__macosx",), "macOS: resource forks in archives", "Apple, ditto(1)"),
    FolderRule(
        (".thumbnails", "thumbnails", ".thumbs", "thumbs"),
        "thumbnails of many programs",
        "freedesktop.org, Thumbnails; Android MediaStore",
    ),
    FolderRule(
        ("cache", "caches", ".cache"), "caches of many programs", "freedesktop.org, Base Directory; Apple, Caches"
    ),
    # --- sharing
    FolderRule((".stversions", ".stfolder"), "Syncthing: earlier versions", "Syncthing docs, File Versioning"),
    FolderRule((".dropbox.cache",), "Dropbox: deleted files", "Dropbox help, cache folder"),
    FolderRule((".sync",), "Resilio Sync: archive", "Resilio help, Archive"),
    FolderRule(
        ("files_trashbin", "files_versions", "appdata_*"),
        "Nextcloud: trash, versions, previews",
        "Nextcloud admin manual",
    ),
    # --- photo programs
    FolderRule(("*.lrdata", "*.lrcat-data"), "Lightroom: previews", "Adobe help, catalog files"),
    FolderRule(("*.aplibrary", "*.migratedaplibrary"), "Aperture: a library", "Apple, Aperture manual"),
    FolderRule(
        ("*.migratedphotolibrary", "*.photolibrary"),
        "iPhoto: a library, moved to Photos",
        "Apple support, moving from iPhoto to Photos",
    ),
    FolderRule(
        ("*.photoboothlibrary", "*.imovielibrary", "*.tvlibrary", "*.fcpbundle", "*.theater"),
        "Apple: other libraries",
        "Apple, packages",
    ),
    FolderRule(
        ("*.cocatalog", "captureone"),
        "Capture One: a catalog, settings, previews",
        "Capture One help, catalogs and sessions",
    ),
    FolderRule((".dtrash",), "digiKam: trash of an album", "digiKam handbook, Trash"),
    FolderRule((".picasaoriginals",), "Picasa: photos before they were edited", "Google, Picasa help"),
    FolderRule(
        ("nksc_param", "silkypix_ds"), "Nikon NX Studio, Silkypix: settings", "Nikon NX Studio and Silkypix manuals"
    ),
    FolderRule(
        (".photoprism", ".photostructure"),
        "servers of photos: their own pictures",
        "PhotoPrism and PhotoStructure docs",
    ),
    FolderRule(("encoded-video",), "Immich: films made smaller", "Immich docs, folder structure"),
)
_NAMES = frozenset(pattern for rule in FOLDER_RULES for pattern in rule.patterns if not set(pattern) & set("*[?"))
_PATTERNS = tuple(pattern for rule in FOLDER_RULES for pattern in rule.patterns if set(pattern) & set("*[?"))
# A library of Apple Photos: looked into for its originals alone (Apple support, Photos library packages).
PHOTOS_LIBRARY, ORIGINALS = ".photoslibrary", frozenset({"originals", "masters"})
CACHE_TAG = "CACHEDIR.TAG"  # bford.info/cachedir: a folder with this file in it can be made again


def is_left_out(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder holds no photos of a person's own, by its name, the one above it, or a mark in it."""
    path = Path(folder)
    name = path.name.casefold()
    if name in _NAMES or any(fnmatchcase(name, pattern) for pattern in _PATTERNS):
        return True
    if is_photos_library(path.parent) and name not in ORIGINALS:
        return True
    return os.path.lexists(path / CACHE_TAG)  # False where nobody may look


def is_photos_library(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder is the package of an Apple Photos library, whose own files are no photos."""
    return os.fspath(folder).rstrip(os.sep).casefold().endswith(PHOTOS_LIBRARY)
