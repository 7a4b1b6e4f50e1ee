"""What comes out of commands: nothing into other files where streams are closed, and no lines of decoders."""

import io
import itertools
import struct
import subprocess
import sys

import PIL.Image
import pytest
from support import world

CLOSED = [closed for count in (1, 2, 3) for closed in itertools.combinations(("0<", "1>", "2>"), count)]
COMMANDS = [(["models"], 0), (["list", "nowhere"], 2)]


def started(arguments, closed, folder):
    """Run a command with some of its streams closed, by the shell that closes them."""
    redirections = " ".join(f"{stream}&-" for stream in closed)
    call = ["sh", "-c", f'exec "$@" {redirections}', "sh", sys.executable, "-m", "veduta", *arguments]
    return subprocess.run(call, capture_output=True, text=True, check=False, cwd=folder)


@pytest.mark.parametrize("closed", CLOSED, ids="".join)
@pytest.mark.parametrize(("arguments", "code"), COMMANDS, ids=lambda value: str(value))
def test_closed_streams_change_no_exit_status_and_make_no_traceback(tmp_path, arguments, code, closed):
    result = started(arguments, closed, tmp_path)
    assert result.returncode == code, result
    assert "Traceback" not in result.stderr
    assert "Error" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_gallery_does_not_get_what_was_to_be_printed(tmp_path):
    for arguments in (["create", "g"], ["info", "g"], ["list", "g"], ["info", "g", "--format", "json"]):
        result = started(arguments, ["1>", "2>"], tmp_path)
        assert result.returncode == 0, (arguments, result)
    assert started(["info", "g"], [], tmp_path).stdout


def odd_tiff(*fields, lost=0):
    """A TIFF with further fields (tag, type, count, value) in its directory, and without its last bytes."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(world.facade(1, 240, 180)).save(buffer, "TIFF", compression="tiff_lzw")
    data = buffer.getvalue()
    start = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, start)[0]
    entries = [data[start + 2 + 12 * i : start + 14 + 12 * i] for i in range(count)]
    entries = sorted(entries + [struct.pack("<HHII", *f) for f in fields], key=lambda e: struct.unpack_from("<H", e)[0])
    data += bytes(len(data) % 2)
    place = struct.pack("<I", len(data))
    data = data[:4] + place + data[8:] + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return data[: len(data) - lost]


ODD = {
    "unknown_type": odd_tiff((40008, 0, 1, 5)),
    "type_of_tomorrow": odd_tiff((40009, 99, 1, 5)),
    "beyond_the_end": odd_tiff((42112, 2, 900_000, 64)),
    "at_the_end": odd_tiff((42113, 2, 64, 2**31)),
    "private": odd_tiff(*((50000 + i, 4, 1, i) for i in range(30))),
    "twice": odd_tiff((270, 2, 1, 0), (270, 2, 1, 0)),
    "description_of_nothing": odd_tiff((270, 2, 0, 0)),
    "odd_exif": odd_tiff((0x8769, 4, 1, 2**30)),
    "odd_gps": odd_tiff((0x8825, 4, 1, 7)),
    "odd_resolution": odd_tiff((282, 5, 1, 2**31), (283, 2, 1, 0)),
    "odd_unit": odd_tiff((296, 12, 1, 9)),
    "no_directory": odd_tiff(lost=10),
    "cut": odd_tiff(lost=3000),
    "no_tiff": b"II*\0" + bytes(100),
}


def test_decoders_say_nothing_that_names_no_photo(tmp_path):
    library = tmp_path / "library"
    library.mkdir()
    for name, content in ODD.items():
        (library / f"{name}.tif").write_bytes(content)
    result = started(["library", "scan", library], [], tmp_path)
    lines = [line for line in result.stderr.splitlines() if not line.startswith("no gallery was asked")]
    assert [line for line in lines if not any(f"{name}.tif: " in line for name in ODD)] == []
    assert len(lines) == len({line.partition(".tif: ")[0] for line in lines}) >= 3
