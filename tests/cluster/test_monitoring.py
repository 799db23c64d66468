"""Where a cluster's time goes, as Prometheus and Grafana are told: what they ask for is what workers show."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml

from deepfake.execution.accounting import COUNT_METRICS, STAGE_METRIC
from tests.cluster.filled import FOLDER, fill
from tests.cluster.local_cluster import LocalCluster, finished, free_ports
from tests.processes import wait_until
from tests.running import ROOT

SHOWN = {f"ray_{name}_total" for name in (STAGE_METRIC, *(metric for metric, _ in COUNT_METRICS.values()))}
DASHBOARD = json.loads((FOLDER / "kuberay" / "dashboard.json").read_text())
METRIC = re.compile(r"\bray_[a-z_]+")
LABELS = re.compile(r"\{([^}]*)\}")
WAIT_SECONDS = 60
needs_cluster = pytest.mark.skipif(
    not os.environ.get("DEEPFAKE_CLUSTER_TESTS"), reason="set DEEPFAKE_CLUSTER_TESTS=1 to have this run"
)


def list_queries() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def test_the_dashboard_asks_for_metrics_that_workers_show_and_for_each_of_them() -> None:
    asked = {name for query in list_queries() for name in METRIC.findall(query)} - {"ray_io_cluster"}
    assert asked == SHOWN
    [cluster] = [one["query"] for one in DASHBOARD["templating"]["list"] if one["name"] == "cluster"]
    assert cluster == f"label_values(ray_{STAGE_METRIC}_total, ray_io_cluster)"


def test_each_query_of_the_dashboard_is_a_rate_by_labels_that_there_are() -> None:
    for query in list_queries():
        assert all(query.count(left) == query.count(right) for left, right in ("()", "{}", "[]"))
        assert len(re.findall(r"rate\(ray_", query)) == len(re.findall(r"ray_deepfake", query))
        for labels in LABELS.findall(query):
            assert {label.split("=")[0].strip() for label in labels.split(",")} <= {"ray_io_cluster", "stage"}
    assert {stage for query in list_queries() for stage in re.findall(r'stage="(\w+)"', query)} == {"idle"}


def test_panels_have_names_places_and_words_of_their_own() -> None:
    panels = DASHBOARD["panels"]
    for key in ("id", "title", "description"):
        assert len({panel[key] for panel in panels}) == len(panels)
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels) and all(panel["gridPos"]["w"] == 12 for panel in panels)
    assert {panel["datasource"]["uid"] for panel in panels} == {"${datasource}"}


def test_prometheus_finds_the_port_that_every_pod_of_ray_has_and_may_reach_no_other() -> None:
    monitor, policy = yaml.safe_load_all(fill("kuberay/monitoring.yaml"))
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    cluster = yaml.safe_load(fill("kuberay/raycluster.yaml"))["spec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        [container] = group["template"]["spec"]["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert [rule["port"] for rule in policy["spec"]["ingress"][0]["ports"]] == [ports[endpoint["port"]]]
    assert policy["spec"]["podSelector"] == monitor["spec"]["selector"]


@dataclass
class Worked:
    """A cluster on which a job has ended: where its worker shows metrics, which ones, what the job told."""

    metrics_port: int
    metrics: dict[str, dict[str, float]]
    told: dict[str, Any]


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory, ffpp_small: Path) -> Iterator[Worked]:
    folder = tmp_path_factory.mktemp("worked")
    with LocalCluster() as cluster:
        worker = cluster.start_raylet("a", 2, {"driver": 1})
        cluster.wait_for([worker])
        job = cluster.submit(
            "python", "jobs/preprocess.py", "--ray.address", "auto", "--input", str(ffpp_small),
            "--output", str(folder / "out"), "--detector.name", "haar", working_dir=ROOT,
            options=("--entrypoint-resources", '{"driver": 1}'),
        )  # fmt: skip
        status, said = finished(job)
        assert status == 0, said
        found = await_metrics(worker.metrics_port)
        told = json.loads((folder / "out" / "_summary.json").read_text())["accounting"]
        yield Worked(worker.metrics_port, found, told)


@pytest.mark.slow
@needs_cluster
def test_workers_of_a_cluster_show_their_stages_where_prometheus_asks(worked: Worked) -> None:
    for name, (metric, _) in COUNT_METRICS.items():
        assert sum(worked.metrics[f"ray_{metric}_total"].values()) == worked.told[name]
    for stage, seconds in worked.metrics[f"ray_{STAGE_METRIC}_total"].items():
        if stage != "idle":  # of which a job knows until its end
            assert seconds == pytest.approx(worked.told["worker_seconds"][stage], abs=0.002)
    assert worked.told["videos"] == 12


@pytest.mark.slow
@needs_cluster
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="no prometheus on PATH")
def test_prometheus_answers_each_query_of_the_dashboard(worked: Worked, tmp_path: Path) -> None:
    target = {"targets": [f"127.0.0.1:{worked.metrics_port}"], "labels": {"ray_io_cluster": "here"}}
    scrape = {"job_name": "ray", "scrape_interval": "1s", "scrape_timeout": "1s", "static_configs": [target]}
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": [scrape]}))
    address = f"127.0.0.1:{free_ports(1)[0]}"
    command = (
        "prometheus", f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'data'}", f"--web.listen-address={address}",
    )  # fmt: skip
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stderr=log) as server:
        try:
            for query in list_queries():
                filled = query.replace("$cluster", ".*").replace("$__rate_interval", "30s")
                wait_until(lambda filled=filled: ask(address, filled), WAIT_SECONDS)
            [videos] = ask(address, "sum(ray_deepfake_videos_total)")
            assert float(videos["value"][1]) == 12
            stages = [found["metric"] for found in ask(address, f"ray_{STAGE_METRIC}_total")]
            assert {one["stage"] for one in stages} == set(worked.metrics[f"ray_{STAGE_METRIC}_total"])
            assert {one["ray_io_cluster"] for one in stages} == {"here"}
        finally:
            server.terminate()


def ask(address: str, query: str) -> list[dict[str, Any]]:
    """Series that answer a query; none while the server starts."""
    uri = f"http://{address}/api/v1/query?{urlencode({'query': query})}"
    with suppress(URLError), urlopen(uri, timeout=30) as answer:
        found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return found
    return []


def await_metrics(port: int) -> dict[str, dict[str, float]]:
    """Values by stage, '' where there is none, of our metrics that a node's agent shows in the end."""
    until = time.monotonic() + WAIT_SECONDS
    while True:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        found: dict[str, dict[str, float]] = {}
        for name, labels, value in re.findall(r"^(ray_deepfake\w+_total)\{(.*)\} (\S+)$", text, re.M):
            stage: Any = re.search(r'stage="(\w*)"', labels, re.I)
            values = found.setdefault(name, {})
            key = stage[1] if stage else ""
            values[key] = values.get(key, 0.0) + float(value)
        if sum(found.get("ray_deepfake_videos_total", {}).values()) == 12 or time.monotonic() > until:
            return found
        time.sleep(1)
