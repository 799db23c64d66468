"""Fixtures that several test modules share."""

from __future__ import annotations

import ast
import fcntl
import gc
import json
import os
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

from tests import running

ROOT = running.ROOT
DATA = Path(os.environ.get("DEEPFAKE_TEST_DATA", ROOT.parent / "shared" / "data"))

pytest_plugins = ["tests.browser", "tests.stored_crops"]  # their fixtures

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["DEEPFAKE_YUNET_URLS"] = ""  # no job of a test fetches anything, whatever the machine can reach
os.environ.update(running.FAIR)
if "PYTEST_XDIST_WORKER" not in os.environ:
    # Of this run's own, for all its processes: what an earlier run exported is not taken for this one's.
    _cache = tempfile.TemporaryDirectory(prefix="deepfake-cache-")
    os.environ["DEEPFAKE_CACHE"] = _cache.name

_ray = ExitStack()

SLOW_SECONDS = 20  # of a test marked slow that does not say how slow

# What makes a test too long for `--fast`: its marks, the fixtures it asks for, what its file imports.
NOT_FAST_MARKS = ("browser", "s3", "slow")
NOT_FAST_FIXTURES = {"browser", "moto_root", "ray_session", "run_job", "s3_server"}
NOT_FAST_IMPORTS = {
    "deepfake.model.keras_runtime",
    "ray",
    "tests.benchmarks.mesonet",
    "tests.cluster.local_cluster",
    "tests.running",
    "tests.small_bundle",
    "tests.small_network",
}

# The same examples every time, and no deadline: machines of every speed run this.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fast", action="store_true", help="units and properties: no Ray, TensorFlow, browser, S3"
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With ``--fast``, a file that imports what takes long, and not only a constant of it, is left alone."""
    if not config.getoption("fast") or collection_path.suffix != ".py":
        return None
    used = set()
    for node in ast.parse(collection_path.read_bytes()).body:
        if isinstance(node, ast.Import):
            used |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and not all(name.name.isupper() for name in node.names):
            used |= {str(node.module), *(f"{node.module}.{name.name}" for name in node.names)}
    return True if NOT_FAST_IMPORTS & used else None


def _is_fast(item: pytest.Item) -> bool:
    """Whether a test asks for neither Ray, a browser nor an S3 server, and takes seconds."""
    assert isinstance(item, pytest.Function)
    return not (
        any(map(item.get_closest_marker, NOT_FAST_MARKS)) or NOT_FAST_FIXTURES & set(item.fixturenames)
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("fast"):
        terminalreporter.write_line(
            "These were units and properties. Jobs, Ray, training, pages in a browser and S3: make test"
        )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files with the slowest tests come first, so that no process is left alone with one at the end.

    Tests marked ``data`` skip where the real clips are absent.
    """
    if config.getoption("fast"):
        config.hook.pytest_deselected(items=[item for item in items if not _is_fast(item)])
        items[:] = filter(_is_fast, items)
    slow: Counter[Path] = Counter()
    for item in items:
        for mark in item.iter_markers("slow"):
            slow[item.path] += mark.args[0] if mark.args else SLOW_SECONDS
    # Within a file those that ask for Ray come last, so that it is started once.
    items.sort(
        key=lambda item: (-slow[item.path], item.path, "ray_session" in getattr(item, "fixturenames", ()))
    )
    if DATA.is_dir():
        return
    skip = pytest.mark.skip(reason=f"no real clips at {DATA}; set DEEPFAKE_TEST_DATA to have this run")
    for item in items:
        if "data" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="module", autouse=True)
def _networks_of_a_module_go_with_it() -> Iterator[None]:
    """Keras keeps what it built, and TensorFlow its graphs, for as long as nobody says otherwise."""
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].utils.clear_session()
        gc.collect()
        gc.freeze()  # what is left, most of it modules, is not looked through again after each module


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real clips and faces; for tests marked ``data``."""
    return DATA


@pytest.fixture(scope="session")
def cases() -> Path:
    """The folder of small files that went wrong once, with their right values; the test skips without it."""
    folder = DATA.parent / "cases"
    if not folder.is_dir():
        pytest.skip(f"no such files at {folder}; set DEEPFAKE_TEST_DATA to the folder beside it")
    return folder


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Ray runs for a test that asks for it, and on for those that come next and ask as well.

    Jobs of the others do their work in this process, as they do for whoever starts no Ray.
    """
    if "ray_session" not in getattr(item, "fixturenames", ()):
        _ray.close()
    elif not _ray_runs():
        from deepfake.config import RayConfig
        from deepfake.execution.session import open_session

        _ray.enter_context(open_session(RayConfig(address=None, num_cpus=2, object_store_mb=256)))


def pytest_sessionfinish() -> None:
    _ray.close()


def _ray_runs() -> bool:
    return "ray" in sys.modules and sys.modules["ray"].is_initialized()


@pytest.fixture(scope="session")
def ray_session() -> None:
    """One embedded Ray of two CPUs, whose workers do the work; see ``pytest_runtest_setup``."""
    assert _ray_runs()


@pytest.fixture(scope="session")
def ffpp_small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a small data set in the FF++ layout, with its official-style ``splits/``; read only.

    6 originals and 6 fakes (each of the 4 methods) of 60 frames, 480x360, 30 fps; one person a split.
    """
    from deepfake.pipelines.demo import make_dataset

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # one for all processes of the run: the first makes it
    with (folder / "ffpp_small.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        root = folder / "ffpp_small"
        return make_dataset(root, identities_per_split=2, fakes_per_identity=1, seconds=2.0, fps=30).root


@dataclass(frozen=True)
class S3Server:
    """A real S3 server on this machine, which checks signatures and permissions."""

    endpoint: str
    bucket: str
    environment: dict[str, str]  # for users of the server: its address and the owner's keys
    reader: dict[str, str]  # the same with keys that may only read


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """SeaweedFS with one bucket; its data goes with the test's folder."""
    folder = tmp_path_factory.mktemp("s3_server")
    identities = [
        {"name": "owner", "actions": ["Admin", "Read", "Write", "List"]},
        {"name": "reader", "actions": ["Read:archive", "List:archive"]},
    ]
    for identity in identities:
        name = identity["name"]
        identity["credentials"] = [{"accessKey": f"{name}-key", "secretKey": f"{name}-secret-{uuid.uuid4()}"}]
    (folder / "identities.json").write_text(json.dumps({"identities": identities}))
    services = ("master", "volume", "filer", "s3")
    listeners = [f"{service}.{kind}" for kind in ("port", "port.grpc") for service in services]
    ports = dict(zip(listeners, _free_ports(len(listeners)), strict=True))
    command = [
        str(Path(sysconfig.get_path("scripts"), "weed")), "server", "-s3", f"-dir={folder}",
        "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.config={folder / 'identities.json'}",
        *(f"-{name}={port}" for name, port in ports.items()),
        "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false", "-s3.autoCreateBucket=false",
        "-master.telemetry=false", "-master.volumeSizeLimitMB=128", "-volume.max=0",
    ]  # fmt: skip
    endpoint = f"http://127.0.0.1:{ports['s3.port']}"
    environments = [
        {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": credential["accessKey"],
            "AWS_SECRET_ACCESS_KEY": credential["secretKey"],
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        for identity in identities
        for credential in identity["credentials"]
    ]
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        _make_bucket("archive", environments[0], process, folder / "log.txt")
        yield S3Server(endpoint, "archive", *environments)
    finally:
        process.kill()
        process.wait()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _make_bucket(name: str, keys: dict[str, str], process: subprocess.Popen[bytes], log: Path) -> None:
    """Make the bucket and write to it, as soon as the server does; raises where it never does."""
    import botocore.session
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    client = botocore.session.Session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=keys["AWS_ENDPOINT_URL"],
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        config=Config(retries={"total_max_attempts": 1}),
    )
    give_up = time.monotonic() + 120
    while True:
        try:
            if name not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
                client.create_bucket(Bucket=name)
            client.put_object(Bucket=name, Key="ready", Body=b"")
        except (BotoCoreError, ClientError) as error:
            try:
                process.wait(0.1)  # the pause between two tries ends at once if the server does
            except subprocess.TimeoutExpired:
                if time.monotonic() < give_up:
                    continue
            raise RuntimeError(f"the S3 server did not start: {error}\n{log.read_text()[-2000:]}") from error
        return


@pytest.fixture
def s3_root(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """URI of an empty folder on the S3 server; this process has the owner's credentials.

    s3fs keeps a connection, and what it knew of credentials, for good: what other tests left is forgotten
    here, and a test that goes on to change the environment clears that cache once more.
    """
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{s3_server.bucket}/{uuid.uuid4().hex}"
