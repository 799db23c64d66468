"""A Ray without a private name that is used here fails these tests in plain words."""

from __future__ import annotations

import gc
import importlib
import logging
import os
import pkgutil
import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
import ray
from ray._private import worker
from ray.train import FailureConfig, ScalingConfig
from ray.train.v2._internal.execution.failure_handling import create_failure_policy
from ray.train.v2._internal.execution.scaling_policy import create_scaling_policy
from ray.train.v2.api.exceptions import WorkerGroupError

from deepfake.errors import UsageError
from deepfake.execution import pools, ray_compat, runner
from deepfake.execution.ray_compat import embedded
from deepfake.execution.ray_compat.private_names import PRIVATE_NAMES, REQUESTS, TRAINER, PrivateName
from deepfake.model import keras_runtime
from tests.processes import descendants
from tests.running import ROOT, run


@pytest.mark.parametrize("name", PRIVATE_NAMES, ids=lambda name: name.path)
def test_the_installed_ray_has_the_private_name(name: PrivateName) -> None:
    assert name.exists(), (
        f"Ray {ray.__version__} has no {name.module}.{name.path} (seen in {name.seen_in}), needed for: "
        f"{name.needed_for}. Find what took its place and change deepfake/execution/ray_compat"
    )


def test_a_name_that_is_gone_is_noticed() -> None:
    assert not PrivateName("ray", "no_such_name", "2.60.0", "this test").exists()
    assert not PrivateName("ray.no_such_module", "anything", "2.60.0", "this test").exists()


def test_ray_train_reads_the_environment_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.train.v2._internal import constants

    names = (constants.WORKER_GROUP_START_TIMEOUT_S_ENV_VAR, constants.HEALTH_CHECK_INTERVAL_S_ENV_VAR)
    for name in names:
        monkeypatch.setenv(name, "")  # put back after the test
        monkeypatch.delenv(name)
    ray_compat.set_train_environment(600, 0.5)
    assert [os.environ.pop(name) for name in names] == ["600", "0.5"]
    assert constants.ENABLE_PREEMPTION_WATCHER_ENV_VAR == "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"


def test_ray_takes_the_private_options(ray_session: None) -> None:
    """Ray refuses options that it does not know when a task is made of them."""
    produce = ray.remote(lambda: (yield 7)).options(**ray_compat.make_streaming_options(2))
    assert [ray.get(one) for one in produce.remote()] == [7]


def test_an_embedded_ray_has_no_process_that_does_nothing(ray_session: None) -> None:
    lines = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in descendants(os.getpid())}
    assert any(b"raylet" in line for line in lines.values())
    programs = [line.split(b"\0")[:3] for line in lines.values()]  # what only waits is told of an agent
    for name in (b"dashboard.py", b"monitor.py", b"ray::DashboardAgent", b"RuntimeEnvAgent", b"/agent"):
        assert not [words for words in programs if any(name in word for word in words)]


def test_environments_are_set_up_where_one_is_asked_for(ray_session: None) -> None:
    read = ray.remote(runtime_env={"env_vars": {"ASKED_FOR": "yes"}})(lambda: os.environ["ASKED_FOR"])
    assert ray.get([read.remote() for _ in range(2)]) == ["yes"] * 2


SESSION = """
import atexit, os, sys, time
from pathlib import Path
from types import SimpleNamespace
import ray
from deepfake.config import RayConfig
from deepfake.execution import ray_compat, session
from tests.processes import descendants

class Hangs:
    def get_process(self):
        atexit.register(time.sleep, 600)
        return os.getpid()

def tell():
    print("imported", "deepfake.execution.stage_modules" in sys.modules)
    print("from", os.environ["PYTHONPATH"])

with session.open_session(RayConfig(start="always", num_cpus=2), units=1):
    commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in descendants(os.getpid())]
    starts = [b" ".join(words.split(b"\\0")[:2]) for words in commands]
    print("ahead", len([words for words in starts if b"default_worker.py" in words or b"ray::" in words]))
    environment = {"env_vars": {"ASKED_FOR": "yes"}}
    print("asked", ray.get(ray.remote(runtime_env=environment)(lambda: os.environ["ASKED_FOR"]).remote()))
    ray.get(ray.remote(tell).remote())
    hangs = ray.remote(Hangs).remote()
    print("hangs", ray.get(hangs.get_process.remote()))
    del hangs  # it leaves Ray, and waits in its own end
    while any(actor.state != "DEAD" for actor in ray_compat.list_jobs_and_actors()[1]):
        time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a job and its one worker say, by the first word."""
    folder = tmp_path_factory.mktemp("told")
    (folder / "job.py").write_text(f"import sys\nsys.path.append({str(ROOT)!r})\n{SESSION}", "utf-8")
    impatient = {"RAY_agent_register_timeout_ms": "1"}  # no agent starts so soon
    lines = run([sys.executable, str(folder / "job.py")], folder, impatient).splitlines()
    return dict(line.rpartition(") ")[2].split(" ", 1) for line in lines if " " in line)


def test_what_workers_say_last_is_shown(told: dict[str, str]) -> None:
    assert {"imported", "from"} <= told.keys()


def test_an_agent_that_takes_long_to_start_is_waited_for(told: dict[str, str]) -> None:
    assert told["asked"] == "yes"


def test_a_worker_that_hangs_at_its_end_ends_with_the_session(told: dict[str, str]) -> None:
    process = Path("/proc", told["hangs"], "stat")
    assert not process.exists() or process.read_text().rpartition(")")[2].split()[0] == "Z"


def test_workers_that_will_have_work_start_ahead_with_what_they_need_and_find_the_code_of_the_job(
    told: dict[str, str],
) -> None:
    assert (told["ahead"], told["imported"], told["from"]) == ("1", "True", str(ROOT))


class Answer:
    """A worker of Ray Data."""

    def __call__(self, block: pa.Table) -> pa.Table:
        return block.append_column("process", pa.array([os.getpid()] * block.num_rows))


def test_ray_data_works_on_actors_and_starts_none_for_itself(ray_session: None) -> None:
    blocks = [pa.table({"number": [number]}) for number in range(6)]
    workers = pools.Workers(2, 2, "this test")
    found = pa.concat_tables(runner.run_on_workers(blocks, Answer, {}, workers))
    assert sorted(found["number"].to_pylist()) == list(range(6))
    assert os.getpid() not in found["process"].to_pylist()
    _, actors = ray_compat.list_jobs_and_actors()
    assert {actor.class_name for actor in actors} <= {"MapWorker(MapBatches(Answer))"}


def test_a_ray_that_is_started_next_has_all_of_its_processes() -> None:
    originals = {name.path: _find(name) for name in PRIVATE_NAMES}
    with embedded.start_no_idle_processes(), embedded.start_no_data_actors(nodes=[]):
        changed = [name.path for name in PRIVATE_NAMES if originals[name.path] != _find(name)]
    assert {"Node.start_monitor", "start_ray_process", "get_actor_locations"} <= set(changed)
    assert all(originals[name.path] == _find(name) for name in PRIVATE_NAMES)


def _find(name: PrivateName) -> object:
    return pkgutil.resolve_name(f"{name.module}:{name.path}")


def test_keras_is_imported_lean_by_rays_workers_as_well(ray_session: None) -> None:
    """All but what Ray's own threads may import meanwhile, and with no garbage to look for in it."""

    def start() -> tuple[set[str], int, bool]:
        keras_runtime.start_keras()
        return {"matplotlib", "sklearn"} & set(sys.modules), gc.get_freeze_count(), gc.isenabled()

    unused, frozen, collects = ray.get(ray.remote(start).remote())
    assert not unused and frozen > 100_000 and collects


def test_harmless_lines_of_ray_stay_off_the_screen_and_no_others(
    ray_session: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with ray_compat.quiet_driver():
        pass
    lines = [
        "Actor with class name: 'PreemptionWatcher' has constructor arguments in the object store",
        "out of memory",
        "gcs_actor_scheduler.cc:538: Failed to kill actor 2fc3, return status: RpcError",
    ]
    worker.print_to_stdstream(
        {"pid": "7", "ip": "1.2.3.4", "is_err": True, "lines": lines}, ignore_prefix=False
    )
    (shown,) = capsys.readouterr().err.splitlines()
    assert "out of memory" in shown


def test_pyproject_allows_no_minor_version_of_ray_that_was_not_tried() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (wanted,) = [line for line in project["dependencies"] if line.startswith("ray[")]
    newest = max(tuple(map(int, name.seen_in.split(".")[:2])) for name in PRIVATE_NAMES)
    assert wanted.endswith(f",<{newest[0]}.{newest[1] + 1}"), (
        f"{wanted} allows versions of Ray in which nobody has looked for the private names of ray_compat"
    )


def test_no_other_module_reaches_into_ray() -> None:
    inside = re.compile(r"\bray\.([a-z_.]+\.)?_[a-z]|ray\.train\.v2|_system_config|_generator_backpressure")
    modules = [path for path in (ROOT / "deepfake").rglob("*.py") if inside.search(path.read_text("utf-8"))]
    assert {path.parent.name for path in modules} == {"ray_compat"}, "what is private goes there"


@dataclass
class Report:
    metrics: dict[str, Any]


@dataclass
class Worker:
    training_report: Report | None = None


@dataclass
class Status:
    worker_statuses: dict[int, Worker]


@dataclass
class Group:
    num_workers: int
    start_time: float = float("-inf")


def decide(policy: Any, workers: int, **reports: dict[str, Any]) -> int | None:
    """To how many workers it goes; ``reports`` are those that ranks ``r0``, ``r1``, ... have just made."""
    told = {rank: Worker() for rank in range(workers)}
    told |= {int(rank[1:]): Worker(Report(metrics)) for rank, metrics in reports.items()}
    decision = policy.make_decision_for_running_worker_group(
        worker_group_state=Group(workers), worker_group_status=Status(told)
    )
    return getattr(decision, "num_workers", None)


def test_workers_come_and_go_once_all_have_told_of_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"CPU": 0.9, "GPU": 1.0}
    policy = ray_compat.make_epoch_policy(
        ScalingConfig(
            num_workers=(1, 4), use_gpu=True, resources_per_worker=asked, elastic_resize_monitor_interval_s=0
        )
    )
    nodes = {"a": {"CPU": 2.7, "GPU": 3.0}}  # 2.7 // 0.9 is 2 or 3, as the last bit has it
    monkeypatch.setattr(policy, "_get_reserved_resources", lambda: nodes)
    monkeypatch.setattr(policy, "_maybe_send_resource_request", lambda: None)
    epoch = {"epoch": 1}
    assert decide(policy, 2) is None
    assert decide(policy, 2, r0={}, r1={}) is None  # a checkpoint within the epoch
    assert decide(policy, 2, r0=epoch) is None
    assert decide(policy, 2, r1=epoch) == 3
    assert decide(policy, 3) is None
    assert decide(policy, 3, r0=epoch, r1=epoch, r2=epoch) is None  # nothing has changed
    nodes["b"] = {"CPU": 9.0, "GPU": 8.0}
    assert decide(policy, 3, r0=epoch, r1=epoch, r2=epoch) == 4
    nodes.clear()
    assert decide(policy, 4, r0=epoch, r1=epoch, r2=epoch, r3=epoch) is None  # fewer than the least


def test_what_some_told_before_workers_were_lost_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = ray_compat.make_epoch_policy(
        ScalingConfig(
            num_workers=(1, 2), resources_per_worker={"CPU": 1}, elastic_resize_monitor_interval_s=0
        )
    )
    monkeypatch.setattr(policy, "_get_reserved_resources", lambda: {"a": {"CPU": 1.0}})
    monkeypatch.setattr(policy, "_maybe_send_resource_request", lambda: None)
    assert decide(policy, 2, r1={"epoch": 1}) is None
    assert policy.make_decision_for_non_running_worker_group().num_workers == 1
    monkeypatch.setattr(policy, "_get_reserved_resources", lambda: {"a": {"CPU": 2.0}})
    assert decide(policy, 2, r0={"epoch": 2}) is None


def test_a_training_ends_at_what_would_fail_again_and_tries_again_what_may_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handed: dict[str, Any] = {}
    monkeypatch.setattr(ray_compat, "_state_service_answers", lambda: True)
    trainer = ray_compat.make_trainer_class(lambda error: isinstance(error, UsageError))
    base = trainer.__mro__[1]
    monkeypatch.setattr(base, "_initialize_and_run_controller", lambda _, **given: handed.update(given))
    scaling = ScalingConfig(num_workers=2)
    made = trainer.__new__(trainer)
    made.scaling_config = scaling
    made._initialize_and_run_controller(
        scaling_policy=create_scaling_policy(scaling), failure_policy=create_failure_policy(FailureConfig(2))
    )
    policy = ray.cloudpickle.loads(ray.cloudpickle.dumps(handed["failure_policy"]))  # in another process

    def decide(*errors: Exception) -> str:
        failed = WorkerGroupError("", dict(enumerate(errors)))
        return str(policy.make_decision(failed).value)

    assert [decide(OSError()), decide(OSError()), decide(OSError())] == ["RETRY", "RETRY", "RAISE"]
    assert decide(OSError(), UsageError()) == "RAISE"
    policy = ray.cloudpickle.loads(ray.cloudpickle.dumps(handed["failure_policy"]))
    assert decide(UsageError()) == "RAISE"


@pytest.mark.parametrize("workers", [2, (1, 2)])
def test_requests_for_nodes_that_are_not_answered_in_time_are_not_the_users_worry(
    workers: int | tuple[int, int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def time_out(*_: Any, **__: Any) -> None:
        raise ray.exceptions.GetTimeoutError

    handed: dict[str, Any] = {}
    monkeypatch.setattr(ray_compat, "_state_service_answers", lambda: True)  # which asks a Ray, or starts one
    trainer = ray_compat.make_trainer_class(lambda error: False)
    base, requests = trainer.__mro__[1], importlib.import_module(REQUESTS)
    monkeypatch.setattr(base, "_initialize_and_run_controller", lambda _, **given: handed.update(given))
    monkeypatch.setattr(requests, "get_or_create_autoscaling_coordinator", time_out)
    monkeypatch.setattr(requests.logger, "level", logging.NOTSET)
    scaling = ScalingConfig(num_workers=workers, resources_per_worker={"CPU": 1})
    made = trainer.__new__(trainer)
    made.scaling_config = scaling
    made._initialize_and_run_controller(
        scaling_policy=create_scaling_policy(scaling), failure_policy=create_failure_policy(FailureConfig(3))
    )
    policy = ray.cloudpickle.loads(ray.cloudpickle.dumps(handed["scaling_policy"]))  # in another process
    with caplog.at_level(logging.WARNING, logger="ray.train"):
        policy.after_controller_start(SimpleNamespace(run_id="a"))
        policy.before_controller_abort()
        logging.getLogger(TRAINER).warning("of a node that is taken away")
    assert policy.scaling_config == scaling
    assert [record.message for record in caplog.records] == ["of a node that is taken away"]
