"""No video, whatever it says, makes the decoder read another file or open a connection.

Each attack on a file is then shown to work on FFmpeg where nothing forbids it, so that its failure means
something.
"""

from __future__ import annotations

import struct
from pathlib import Path

import av
import av.error
import pytest

from deepfake.config import CropConfig, DetectorConfig, SamplingConfig
from deepfake.crops.extraction import ExtractConfig, extract
from deepfake.faces.detectors.factory import make_detector
from deepfake.io.storage import Storage
from deepfake.io.tables import Status
from tests.clips import write_clip
from tests.security.watching import WatchedFile, WatchedPort

PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n",
    "hls file protocol": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:{target}\n#EXT-X-ENDLIST\n",
    "hls header": '#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXT-X-MAP:URI="{target}"\n#EXTINF:9,\n{target}\n'
    "#EXT-X-ENDLIST\n",
    "hls of hls": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{target}.m3u8\n",
    "ffconcat": "ffconcat version 1.0\nfile '{target}'\n",
    "ffconcat file protocol": "ffconcat version 1.0\nfile 'file:{target}'\n",
    "dash": "<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011' type='static' "
    "mediaPresentationDuration='PT1S' profiles='urn:mpeg:dash:profile:isoff-on-demand:2011'><Period>"
    "<AdaptationSet mimeType='video/mp4' contentType='video'><Representation id='1' bandwidth='1'>"
    "<BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>",
}
# What it takes for FFmpeg to fall for them: segments of any name, and concat lists that name any path.
GULLIBLE = {
    "allowed_extensions": "ALL",
    "allowed_segment_extensions": "ALL",
    "extension_picky": "0",
    "safe": "0",
    "protocol_whitelist": "file,http,tcp,crypto,data",
}


def extracted(path: Path) -> dict[str, object]:
    """The row of a file, as every job makes it."""
    detector = DetectorConfig(name="haar")
    config = ExtractConfig(SamplingConfig(policy="count", count=2), detector, CropConfig())
    storage = Storage()
    return extract(
        {"video_id": path.name, "uri": str(path)}, config, make_detector(detector, storage), storage
    ).video


def taken_in(path: Path, options: dict[str, str]) -> None:
    """Open and read as a careless program would."""
    try:
        with av.open(str(path), options=options) as container:
            for packet in container.demux(video=0):
                if packet.size:
                    return
    except (av.error.FFmpegError, ValueError, IndexError):
        return


@pytest.mark.parametrize("name", PLAYLISTS)
def test_a_playlist_leaves_the_file_it_names_unread(name: str, tmp_path: Path) -> None:
    target = write_clip(tmp_path / "secret.mp4", frames=3)
    if name == "hls of hls":
        (tmp_path / "secret.mp4.m3u8").write_text(PLAYLISTS["hls"].format(target=target))
    attack = tmp_path / f"attack.{'m3u8' if name.startswith('hls') else 'mpd' if name == 'dash' else 'mp4'}"
    attack.write_text(PLAYLISTS[name].format(target=target))
    with WatchedFile(target) as watched:
        row = extracted(attack)
        assert not watched.touched
        assert row["status"] == Status.UNREADABLE and row["faces"] == 0
        taken_in(attack, GULLIBLE)
        # No DASH manifest was found that this FFmpeg follows, so for that one there is no such proof.
        assert watched.touched or name == "dash", "the attack does not work at all, so this shows nothing"


@pytest.mark.parametrize("name", [name for name in PLAYLISTS if "file protocol" not in name])
@pytest.mark.parametrize("scheme", ["http", "tcp", "udp", "rtmp", "ftp"])
def test_a_playlist_opens_no_connection(name: str, scheme: str, tmp_path: Path) -> None:
    attack = tmp_path / "attack.mkv"
    with WatchedPort() as watched:
        attack.write_text(PLAYLISTS[name].format(target=f"{scheme}://127.0.0.1:{watched.port}/x.ts"))
        assert extracted(attack)["status"] == Status.UNREADABLE
        assert watched.connections == 0


def test_a_playlist_opens_a_connection_where_nothing_forbids_it(tmp_path: Path) -> None:
    """What the test above would miss if the attack did not work."""
    attack = tmp_path / "attack.m3u8"
    with WatchedPort() as watched:
        attack.write_text(PLAYLISTS["hls"].format(target=f"http://127.0.0.1:{watched.port}/x.ts"))
        taken_in(attack, GULLIBLE)
        assert watched.connections > 0


def test_a_movie_that_keeps_its_pictures_in_another_file_leaves_that_file_unread(tmp_path: Path) -> None:
    target = write_clip(tmp_path / "secret.mov", frames=3)
    attack = tmp_path / "attack.mov"
    attack.write_bytes(referring_to(target, target.read_bytes()))
    with WatchedFile(target) as watched:
        extracted(attack)
        assert not watched.touched
        taken_in(attack, {"enable_drefs": "1", "use_absolute_path": "1"})
        assert watched.touched, "the attack does not work at all, so this shows nothing"


@pytest.mark.parametrize(
    "name",
    ["concat:{0}|{0}", "subfile,,start,0,end,99,,:{0}", "file:{0}", "async:{0}", "cache:{0}", "data:,x"],
)
def test_a_file_name_that_is_an_ffmpeg_url_is_only_a_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = write_clip(tmp_path / "secret.mp4", frames=3)
    monkeypatch.chdir(tmp_path)
    url = name.format("secret.mp4")
    with WatchedFile(target) as watched:
        row = extracted(Path(url))
        assert row["status"] == Status.UNREADABLE and not watched.touched
        (tmp_path / url).write_text("no video")  # the same with a file of that very name
        assert extracted(tmp_path / url)["status"] == Status.UNREADABLE
        assert not watched.touched


def referring_to(target: Path, movie: bytes) -> bytes:
    """The movie with its data reference replaced by an alias record of another file's absolute path.

    The record's layout: https://developer.apple.com/library/archive/documentation/QuickTime/QTFF
    """
    path = str(target).encode()
    volume = b"disk"
    alias = struct.pack(">10xB27s12xB63s16xhh16x", len(volume), volume, 6, b"secret", -1, -1)
    absolute = volume + path.replace(b"/", b":")
    alias += struct.pack(">hh", 2, len(absolute)) + absolute + b"\0" * (len(absolute) % 2)
    alias += struct.pack(">hh", -1, 0)
    entry = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    reference = struct.pack(">I4sII", 16 + len(entry), b"dref", 0, 1) + entry
    return _with_box(movie, [b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"], reference)


def _with_box(data: bytes, path: list[bytes], new: bytes) -> bytes:
    """The boxes with the first one at ``path`` replaced, and its parents' lengths mended."""
    at = 0
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        size = size or len(data) - at
        if kind == path[0]:
            if len(path) == 1:
                return data[:at] + new + data[at + size :]
            inner = _with_box(data[at + 8 : at + size], path[1:], new)
            return data[:at] + struct.pack(">I4s", 8 + len(inner), kind) + inner + data[at + size :]
        at += size
    raise ValueError(f"no box {path[0]!r}")
