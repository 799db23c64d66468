"""Content credentials: who signed, whether it holds, and that nothing is asked of anybody."""

from __future__ import annotations

import http.server
import threading
from pathlib import Path
from typing import Any

import pytest

from deepfake.errors import UsageError
from deepfake.io.storage import Storage
from deepfake.video import credentials
from tests.clips import write_clip
from tests.signing import ACTIONS, Signer, make_signer


@pytest.fixture(scope="module")
def signer() -> Signer:
    return make_signer()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=10)


@pytest.fixture(scope="module")
def signed(signer: Signer, clip: Path) -> Path:
    signer.sign(clip, clip.with_name("signed.mp4"))
    return clip.with_name("signed.mp4")


def read(path: Path, trust_list: bytes = b"", whole: bool = True) -> dict[str, Any]:
    with path.open("rb") as file:
        file.seek(7)
        found = credentials.read_credentials(file, whole, trust_list.decode())
        assert file.tell() == 7  # a decoder reads on from where it was
    return found


def test_a_signature_that_holds_is_trusted_only_where_a_list_names_the_signer(
    signer: Signer, signed: Path
) -> None:
    said = {
        "credentials_signer": "Test Camera, Test Works",
        "credentials_time": None,
        "credentials_actions": "c2pa.created (trainedAlgorithmicMedia), c2pa.edited",
    }
    untrusted = {"credentials": "valid", **said, "credentials_problem": "signingCredential.untrusted"}
    assert read(signed, signer.root) == {"credentials": "trusted", **said, "credentials_problem": None}
    assert read(signed) == untrusted
    assert read(signed, make_signer("Somebody Else").root) == untrusted


def test_a_file_that_was_changed_since_is_not_as_it_was_signed(signer: Signer, signed: Path) -> None:
    content = bytearray(signed.read_bytes())
    content[content.index(b"mdat") + 100] ^= 1
    altered = signed.with_name("altered.mp4")
    altered.write_bytes(content)
    found = read(altered, signer.root)
    assert found["credentials"] == "invalid" and "bmffHash.mismatch" in found["credentials_problem"]


@pytest.mark.parametrize(
    ("content", "state"),
    [
        (b"\x1aE\xdf\xa3 no kind of file that holds any", "none"),
        (b"", "none"),
        (b"\0\0\x01\0ftypmp42 and no more of it", "unread"),
        (b"\xff\xd8\xff\xe0 nor of this", "unread"),
    ],
)
def test_what_has_none_and_what_cannot_be_read_are_told_apart(
    content: bytes, state: str, tmp_path: Path, clip: Path, signed: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert read(path)["credentials"] == state
    assert read(clip) == {"credentials": "none"}
    assert read(signed, whole=False) == {"credentials": "unread"}


def test_a_manifest_that_lies_elsewhere_is_not_fetched(signer: Signer, clip: Path, tmp_path: Path) -> None:
    asked: list[str] = []

    class Remember(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    with http.server.HTTPServer(("127.0.0.1", 0), Remember) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/manifest"
        signer.sign(clip, tmp_path / "remote.mp4", remote=address)
        assert address.encode() in (tmp_path / "remote.mp4").read_bytes()
        assert read(tmp_path / "remote.mp4")["credentials"] == "unread"
        server.shutdown()
    assert asked == []


def test_what_a_manifest_says_is_never_long(signer: Signer, clip: Path, tmp_path: Path) -> None:
    signer.sign(clip, tmp_path / "long.mp4", [ACTIONS[0], {"action": "org.example." + "x" * 5000}])
    found = read(tmp_path / "long.mp4")
    assert found["credentials"] == "valid"
    assert len(found["credentials_actions"]) == credentials.MOST_LETTERS


def test_what_is_no_trust_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.pem").write_text("nothing")
    with pytest.raises(UsageError, match=r"list\.pem: holds no certificate as PEM"):
        credentials.read_trust_list(str(tmp_path / "list.pem"), Storage())
    with pytest.raises(UsageError, match=r"absent\.pem: no such file"):
        credentials.read_trust_list(str(tmp_path / "absent.pem"), Storage())
    assert credentials.read_trust_list(None, Storage()) == ""
