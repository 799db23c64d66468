"""Local disk and S3 keep one contract; what differs is said below it. The S3 server is a real one."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import s3fs

from deepfake.config import StorageConfig
from deepfake.errors import JobError, UsageError
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.io.uri import join, make_absolute, split_uri

NAMES = [
    "plain.bin",
    "a folder/with spaces.bin",
    "deep/er/est.bin",
    "two\nlines.bin",
    "Übung 日本語 🎬.bin",
    "100%/a+b&c=d;e#f.bin",
    "[x]*?.bin",
    "'quoted' \"twice\".bin",
    ".hidden",
]


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URI of an empty folder, on disk and on S3 in turn."""
    return str(tmp_path / "root") if request.param == "local" else request.getfixturevalue("s3_root")


@pytest.fixture
def storage() -> Storage:
    return Storage()


def paths(storage: Storage, uri: str) -> list[str]:
    return [info.path for info in storage.list_files(uri)]


# The contract.


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_under_any_name_is_read_listed_and_removed_alone(root, storage, name):
    uri = join(root, name)
    storage.write_bytes(uri, b"content")
    storage.write_bytes(join(root, "x.bin"), b"neighbour")
    assert storage.read_bytes(uri) == b"content"
    assert [info.uri for info in storage.list_files(root) if info.path == name] == [uri]
    storage.remove(uri)
    assert paths(storage, root) == ["x.bin"]


def test_a_listing_is_sorted_and_relative_with_sizes_and_times(root, storage):
    for name in reversed(NAMES):
        storage.write_text(join(root, name), name)
    listed = storage.list_files(root)
    assert [info.path for info in listed] == sorted(NAMES)
    assert [info.size for info in listed] == [len(name.encode()) for name in sorted(NAMES)]
    now = datetime.now(UTC)
    assert all(info.modified and abs(now - info.modified) < timedelta(days=1) for info in listed)


def test_a_listed_uri_names_the_file_for_every_other_call(root, storage):
    storage.write_bytes(join(root, "a/b c.bin"), b"12345")
    listed = storage.list_files(join(root, "a"))[0]
    info = storage.get_info(listed.uri)
    assert (info.path, info.uri, info.size) == ("b c.bin", listed.uri, 5)
    assert storage.exists(listed.uri) and not storage.is_folder(listed.uri)


def test_an_error_while_writing_leaves_nothing_behind(root, storage):
    with pytest.raises(RuntimeError, match="half way"), storage.writing(join(root, "a/x.bin")) as path:
        path.write_bytes(b"half")
        raise RuntimeError("half way")
    assert paths(storage, root) == []


def test_an_error_while_replacing_a_file_keeps_the_old_one(root, storage):
    storage.write_bytes(join(root, "x.bin"), b"old")
    with pytest.raises(RuntimeError), storage.writing(join(root, "x.bin")) as path:
        path.write_bytes(b"new, but")
        raise RuntimeError
    assert paths(storage, root) == ["x.bin"]
    assert storage.read_bytes(join(root, "x.bin")) == b"old"


def test_a_file_is_not_there_before_it_is_whole(root, storage):
    with storage.writing(join(root, "x.bin")) as path:
        path.write_bytes(b"all of it")
        assert not storage.exists(join(root, "x.bin"))
    assert storage.read_bytes(join(root, "x.bin")) == b"all of it"


def test_a_file_replaces_the_one_of_its_name(root, storage):
    for content in (b"a longer first content", b"second"):
        storage.write_bytes(join(root, "x.bin"), content)
    assert storage.read_bytes(join(root, "x.bin")) == b"second"


def test_a_file_of_many_parts_comes_back_whole_and_can_seek(root, storage):
    content = bytes(range(256)) * (101 * 2**20 // 256)  # S3 takes it in several requests
    storage.write_bytes(join(root, "big.bin"), content)
    assert storage.get_info(join(root, "big.bin")).size == len(content)
    with storage.open(join(root, "big.bin")) as file:
        file.seek(100 * 2**20 + 7)
        assert file.read(3) == b"\x07\x08\x09"
    assert storage.read_bytes(join(root, "big.bin")) == content


def test_missing_files_raise_and_missing_folders_list_nothing(root, storage):
    missing = join(root, "no/such.bin")
    for call in (storage.open, storage.read_bytes, storage.read_text, storage.get_info):
        with pytest.raises(FileNotFoundError):
            call(missing)
    assert not storage.exists(missing)
    assert not storage.is_folder(missing)
    assert storage.list_files(missing) == []


def test_a_folder_with_files_exists_and_is_a_folder(root, storage):
    storage.write_bytes(join(root, "a/b/x.bin"), b"")
    for folder in (root, join(root, "a"), join(root, "a/b") + "/"):
        assert storage.exists(folder) and storage.is_folder(folder)


def test_removing_what_is_absent_is_fine_and_a_folder_goes_whole(root, storage):
    storage.remove(join(root, "absent"))
    for name in ("a/1", "a/b/2", "ab/3"):
        storage.write_bytes(join(root, name), b"")
    storage.remove(join(root, "a"))
    assert paths(storage, root) == ["ab/3"]


def test_a_name_that_looks_like_a_pattern_removes_nothing_else(root, storage):
    for name in ("out[1]/x", "out1/x", "out*/x"):
        storage.write_bytes(join(root, name), b"")
    storage.remove(join(root, "out[1]"))
    storage.remove(join(root, "out*"))
    assert paths(storage, root) == ["out1/x"]


def test_a_storage_works_after_pickling(root):
    storage = Storage(StorageConfig(max_attempts=2))
    storage.write_text(join(root, "x"), "before")
    again = pickle.loads(pickle.dumps(storage))
    assert again.config == storage.config
    assert again.read_text(join(root, "x")) == "before"


def test_folders_are_copied_there_and_back(root, storage, tmp_path):
    for name in ("a.txt", "b/c d.txt"):
        file = tmp_path / "source" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    storage.upload_folder(tmp_path / "source", root)
    storage.download_folder(root, tmp_path / "copy")
    assert (tmp_path / "copy/b/c d.txt").read_text() == "b/c d.txt"
    assert paths(storage, str(tmp_path / "copy")) == ["a.txt", "b/c d.txt"]


def test_a_table_is_read_by_name_and_its_uri_is_in_the_refusal_of_another(root, storage):
    uri = join(root, "t.parquet")
    tables.write_table(storage, uri, tables.from_rows("catalog", [{"video_id": "a", "uri": "b"}]))
    assert tables.read_table(storage, uri, "catalog", ["video_id"]).to_pylist() == [{"video_id": "a"}]
    filesystem, path = storage.get_arrow_filesystem(uri)
    assert filesystem.get_file_info(path).size == storage.get_info(uri).size
    with pytest.raises(tables.TableError, match=r"t\.parquet: this is a catalog table, expected crops"):
        tables.read_table(storage, uri, "crops")


# URIs.


@pytest.mark.parametrize("uri", ["http://host/x", "s3a://bucket/x", "gs://bucket/x", "S3://bucket"])
def test_another_scheme_is_refused_with_what_is_supported(storage, uri):
    with pytest.raises(UsageError, match=r"not supported; use a local path, file:// or s3://"):
        storage.read_bytes(uri)


@pytest.mark.parametrize("uri", ["", "s3://", "s3:///", "file://relative/x"])
def test_an_incomplete_uri_is_a_usage_error_and_not_some_other_place(uri):
    with pytest.raises(UsageError):
        split_uri(uri)


def test_local_paths_and_file_uris_mean_the_same_file(tmp_path, storage, monkeypatch):
    (tmp_path / "a b.txt").write_text("x")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for uri in (
        "a b.txt",
        "./a b.txt",
        "~/a b.txt",
        str(tmp_path / "a b.txt"),
        f"file://{tmp_path}/a%20b.txt",
    ):
        assert storage.read_text(uri) == "x"
        assert make_absolute(uri) == str(tmp_path / "a b.txt")


@pytest.mark.parametrize("uri", ["s3://bucket/folder/", "s3://bucket/folder"])
def test_a_uri_below_another_has_one_slash_between(uri):
    assert join(uri, "a/", "/b") == "s3://bucket/folder/a/b"


# Local disk.


def test_names_that_are_no_unicode_are_listed_and_read(tmp_path, storage):
    name = os.fsdecode(b"clip-\xff.mp4")
    (tmp_path / name).write_bytes(b"x")
    (info,) = storage.list_files(str(tmp_path))
    assert info.path == r"clip-\xff.mp4"
    info.uri.encode("utf-8")
    assert storage.read_bytes(info.uri) == b"x"


def test_a_name_as_long_as_the_filesystem_takes_can_be_written(tmp_path, storage):
    storage.write_bytes(str(tmp_path / ("n" * 255)), b"x")
    assert paths(storage, str(tmp_path)) == ["n" * 255]


def test_a_folder_that_cannot_be_made_is_a_usage_error_that_names_it(tmp_path, storage):
    (tmp_path / "file").touch()
    for uri in (tmp_path / "file/x.bin", tmp_path / "file/deeper/x.bin"):
        with pytest.raises(UsageError, match=r"file.*: cannot be a folder, since a file is in its place"):
            storage.write_bytes(str(uri), b"")


def test_a_full_disk_is_said_in_words_and_leaves_the_old_file(tmp_path, storage):
    uri = str(tmp_path / "x.bin")
    storage.write_bytes(uri, b"old")
    with pytest.raises(JobError, match=r"x\.bin: no space is left there"), storage.writing(uri) as path:
        path.write_bytes(b"new")
        os.pwrite(os.open("/dev/full", os.O_WRONLY), b"more", 0)
    assert storage.read_bytes(uri) == b"old" and paths(storage, str(tmp_path)) == ["x.bin"]


# S3: what goes wrong is said in words, and never with the secret.


@pytest.fixture
def shunned(s3_root: str, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Change the environment, then reach the server with what it says."""
    Storage().write_bytes(join(s3_root, "x"), b"1")
    s3fs.S3FileSystem.clear_instance_cache()
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    return monkeypatch


CALLS: dict[str, Callable[[Storage, str], object]] = {
    "read": lambda storage, bucket: storage.read_bytes(f"{bucket}/x"),
    "read absent": lambda storage, bucket: storage.read_bytes(f"{bucket}/absent"),
    "exists": lambda storage, bucket: storage.exists(f"{bucket}/x"),
    "bucket exists": lambda storage, bucket: storage.exists(bucket),
    "is_folder": lambda storage, bucket: storage.is_folder(f"{bucket}/x"),
    "list": lambda storage, bucket: storage.list_files(bucket),
    "info": lambda storage, bucket: storage.get_info(f"{bucket}/x"),
    "write": lambda storage, bucket: storage.write_bytes(f"{bucket}/x", b""),
    "remove": lambda storage, bucket: storage.remove(f"{bucket}/x"),
}


def refusals(bucket: str) -> dict[str, Exception]:
    """What each call raises."""
    storage = Storage()
    found: dict[str, Exception] = {}
    for name, call in CALLS.items():
        try:
            call(storage, bucket)
        except (UsageError, OSError) as error:
            found[name] = error
    return found


def test_without_credentials_every_call_says_how_to_give_some(shunned):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        shunned.delenv(name)
    raised = refusals("s3://archive")
    assert set(raised) == set(CALLS)
    for error in raised.values():
        assert isinstance(error, UsageError)
        assert "no S3 credentials were found; set AWS_ACCESS_KEY_ID" in str(error)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("AWS_ACCESS_KEY_ID", "the access key is not known to the server"),
        ("AWS_SECRET_ACCESS_KEY", "the secret key does not fit the access key"),
    ],
)
def test_wrong_keys_are_named_as_such_by_every_call_and_never_shown(shunned, s3_server, name, message):
    shunned.setenv(name, "wrong-value")
    raised = refusals("s3://archive")
    assert set(raised) == set(CALLS)
    for error in raised.values():
        assert str(error).endswith(f": bucket 'archive' refuses these credentials: {message}")
        assert s3_server.environment["AWS_SECRET_ACCESS_KEY"] not in str(error)
        assert isinstance(error, UsageError)
        assert not isinstance(error, OSError)  # the job stops, instead of giving every video a status


def test_a_missing_bucket_is_named_by_every_call(s3_root):
    raised = refusals("s3://nowhere")
    assert set(raised) == set(CALLS) - {"is_folder"}
    for error in raised.values():
        assert isinstance(error, UsageError)
        assert str(error).endswith("there is no bucket 'nowhere'; make it first, or mend its name")


def test_what_may_not_be_read_costs_one_file_and_not_the_job(shunned, s3_server):
    for name, value in s3_server.reader.items():
        shunned.setenv(name, value)
    with pytest.raises(PermissionError, match=r"s3://secrets/x: access denied.*bucket 'secrets'"):
        Storage().read_bytes("s3://secrets/x")


def test_writing_with_keys_that_may_only_read_is_a_usage_error(shunned, s3_server, s3_root):
    for name, value in s3_server.reader.items():
        shunned.setenv(name, value)
    assert Storage().read_bytes(join(s3_root, "x")) == b"1"
    with pytest.raises(
        UsageError, match="access denied; these credentials lack a permission on bucket 'archive'"
    ):
        Storage().write_bytes(join(s3_root, "y"), b"")


def test_a_server_that_does_not_answer_is_named(shunned):
    shunned.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(JobError, match=r"does not answer.*127\.0\.0\.1:1.*AWS_ENDPOINT_URL"):
        Storage(StorageConfig(max_attempts=1)).read_bytes("s3://archive/x")


def test_the_endpoint_of_the_configuration_goes_before_the_environment(shunned, s3_server, s3_root):
    shunned.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    storage = Storage(StorageConfig(endpoint_url=s3_server.endpoint))
    assert storage.read_bytes(join(s3_root, "x")) == b"1"


def test_nothing_is_left_in_the_temporary_folder_after_an_upload(s3_root, storage, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    storage.write_bytes(join(s3_root, "x"), b"1")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_removed_though_the_working_directory_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    (tmp_path / "out/_work").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    Storage().remove(str(tmp_path / "out/_work"))
    Storage().remove(str(tmp_path / "out/absent"))
    assert list((tmp_path / "out").iterdir()) == []
