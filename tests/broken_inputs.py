"""Hundreds of files that are broken, hostile or oddly named, made from a few small good clips."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.clips import write_clip

SOURCES = {
    "a.mp4": {"codec": "libx264"},
    "b.mkv": {"codec": "libx264"},
    "c.avi": {"codec": "mpeg4"},
    "d.webm": {"codec": "libvpx", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "e.mpg": {"codec": "mpeg1video"},
    "f.mov": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "g.ts": {"codec": "mpeg2video"},
    "h.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none"}},
    "i.flv": {"codec": "flv"},
    "j.gif": {"codec": "gif", "pix_fmt": "rgb8"},
}


def write(folder: Path, rounds: int, seed: int = 0) -> list[str]:
    """Write the broken files below ``folder``; their names. ``rounds`` scales how many there are."""
    folder.mkdir()
    scratch = folder.parent / f"{folder.name}-sources"
    scratch.mkdir()
    good = {
        name: write_clip(scratch / name, frames=30, **how).read_bytes()  # type: ignore[arg-type]
        for name, how in SOURCES.items()
        if name != "j.gif"
    }
    rng = np.random.default_rng(seed)
    breaks: list[Callable[[bytes, np.random.Generator], bytes]] = [
        _flip_bits,
        _cut_off,
        _swap_headers,
        _zero_a_stretch,
        _repeat_a_stretch,
        _lie_about_lengths,
        _drop_the_start,
    ]
    number = 0
    for _ in range(rounds):
        for name, content in good.items():
            for how in breaks:
                number += 1
                path = folder / f"{number:04d}-{how.__name__.strip('_')}-{name}"
                path.write_bytes(how(content, rng))
    mp4, mov, webm = good["a.mp4"], good["f.mov"], good["d.webm"]
    _write_special(folder, mp4, mov, webm)
    return sorted(
        os.fsencode(path.relative_to(folder)).decode("utf-8", "backslashreplace")
        for path in folder.rglob("*")
        if not path.is_dir() or path.is_symlink()
    )


def _write_special(folder: Path, mp4: bytes, mov: bytes, webm: bytes) -> None:
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("this is a text\n" * 50)
    (folder / "zeros.mp4").write_bytes(bytes(100_000))
    (folder / "noise.mkv").write_bytes(np.random.default_rng(1).bytes(100_000))
    (folder / "million samples.mp4").write_bytes(_million_samples(mp4))
    (folder / "16384.mp4").write_bytes(_resized(mp4, b"avc1"))
    (folder / "16384.mov").write_bytes(_resized(mov, b"jpeg"))
    (folder / "16384.webm").write_bytes(
        webm.replace(b"\x9d\x01\x2a\xc0\x00\x90\x00", b"\x9d\x01\x2a\xff\x3f\xff\x3f")
    )
    header = b"IHDR" + struct.pack(">IIBBBBB", 16384, 16384, 8, 2, 0, 0, 0)
    checksum = struct.pack(">I", zlib.crc32(header))
    data = struct.pack(">I", 10) + b"IDAT" + bytes(10)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + checksum + data
    (folder / "16384.png").write_bytes(png)
    (folder / "lying duration.mp4").write_bytes(_long_durations(mp4))
    (folder / "name with spaces .mp4").write_bytes(mp4[:2000])
    (folder / "new\nline.mp4").write_bytes(mp4[:2000])
    (folder / "quote\"and'quote;$(x).mp4").write_bytes(mp4[:2000])
    (folder / "loop.mp4").symlink_to(folder / "loop.mp4")
    (folder / "loop2.mp4").symlink_to(folder / "loop3.mp4")
    (folder / "loop3.mp4").symlink_to(folder / "loop2.mp4")
    (folder / "dangling.mp4").symlink_to(folder / "nowhere")
    (folder / "loop folder").symlink_to(folder, target_is_directory=True)
    os.mkfifo(folder / "pipe.mp4")
    with open(os.fsencode(folder) + b"/bytes\xff\xfe.mp4", "wb") as file:
        file.write(mp4[:2000])
    (folder / "playlist.mp4").write_text(f"#EXTM3U\n#EXTINF:10,\n{folder}/text.mp4\n")


def _flip_bits(data: bytes, rng: np.random.Generator) -> bytes:
    out = np.frombuffer(data, np.uint8).copy()
    where = rng.integers(0, len(out), max(1, len(out) // 400))
    out[where] ^= (1 << rng.integers(0, 8, len(where))).astype(np.uint8)
    return out.tobytes()


def _cut_off(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: int(rng.integers(1, len(data)))]


def _swap_headers(data: bytes, rng: np.random.Generator) -> bytes:
    size = int(rng.integers(4, 200))
    return data[-size:] + data[size:-size] + data[:size]


def _zero_a_stretch(data: bytes, rng: np.random.Generator) -> bytes:
    start = int(rng.integers(0, len(data)))
    size = int(rng.integers(1, max(2, len(data) // 4)))
    return data[:start] + bytes(min(size, len(data) - start)) + data[start + size :]


def _repeat_a_stretch(data: bytes, rng: np.random.Generator) -> bytes:
    start, stop = sorted(rng.integers(0, len(data), 2).tolist())
    return data[:stop] + data[start:stop] * 3 + data[stop:]


def _lie_about_lengths(data: bytes, rng: np.random.Generator) -> bytes:
    out = bytearray(data)
    for _ in range(8):
        at = int(rng.integers(0, min(len(out) - 4, 2000)))
        out[at : at + 4] = struct.pack(">I", int(rng.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 2**24])))
    return bytes(out)


def _drop_the_start(data: bytes, rng: np.random.Generator) -> bytes:
    return data[int(rng.integers(1, min(len(data), 4000))) :]


def _million_samples(mp4: bytes) -> bytes:
    """An index that says that there are 10^6 samples of one byte."""
    out = bytearray(mp4)
    sizes, times = out.index(b"stsz"), out.index(b"stts")
    out[sizes + 8 : sizes + 16] = struct.pack(">II", 1, 10**6)
    out[times + 12 : times + 16] = struct.pack(">I", 10**6)
    chunks = out.index(b"stsc")
    out[chunks + 16 : chunks + 20] = struct.pack(">I", 10**6)
    return bytes(out)


def _resized(movie: bytes, entry: bytes) -> bytes:
    """A sample description, and JPEG frame headers, that say 16384x16384."""
    out = bytearray(movie)
    at = out.index(entry, out.index(b"stsd"))
    out[at + 28 : at + 32] = struct.pack(">HH", 16384, 16384)
    return bytes(out).replace(
        b"\xff\xc0\x00\x11\x08\x00\x90\x00\xc0", b"\xff\xc0\x00\x11\x08\x40\x00\x40\x00"
    )


def _long_durations(mp4: bytes) -> bytes:
    out = bytearray(mp4)
    for box in (b"mvhd", b"mdhd"):
        at = out.index(box)
        out[at + 20 : at + 24] = struct.pack(">I", 0xFFFFFFF0)
    return bytes(out)
