"""Where a cluster's time goes, as Prometheus and Grafana are told: what they ask for is what workers show."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml

from deepfake.execution.accounting import COUNT_METRICS, STAGE_METRIC
from tests.clips import write_clip
from tests.cluster.filled import FOLDER, fill
from tests.cluster.local_cluster import LocalCluster, finished
from tests.running import ROOT

SHOWN = {f"ray_{name}_total" for name in (STAGE_METRIC, *(metric for metric, _ in COUNT_METRICS.values()))}
DASHBOARD = json.loads((FOLDER / "kuberay" / "dashboard.json").read_text())
METRIC = re.compile(r"\bray_[a-z_]+")
LABELS = re.compile(r"\{([^}]*)\}")
WAIT_SECONDS = 60


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


@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("DEEPFAKE_CLUSTER_TESTS"), reason="set DEEPFAKE_CLUSTER_TESTS=1 to have this run"
)
def test_workers_of_a_cluster_show_their_stages_where_prometheus_asks(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for frames in range(60, 72):
        write_clip(tmp_path / "in" / f"{frames}.mp4", frames=frames)
    with LocalCluster() as cluster:
        worker = cluster.start_raylet("a", 2, {"driver": 1})
        cluster.wait_for([worker])
        job = cluster.submit(
            "python", "jobs/preprocess.py", "--ray.address", "auto", "--input", str(tmp_path / "in"),
            "--output", str(tmp_path / "out"), "--detector.name", "haar", working_dir=ROOT,
            options=("--entrypoint-resources", '{"driver": 1}'),
        )  # fmt: skip
        status, said = finished(job)
        assert status == 0, said
        found = await_metrics(worker.metrics_port)
    told = json.loads((tmp_path / "out" / "_summary.json").read_text())["accounting"]
    for name, (metric, _) in COUNT_METRICS.items():
        if name != "crops":  # nobody is on these clips
            assert sum(found[f"ray_{metric}_total"].values()) == told[name]
    for stage, seconds in found[f"ray_{STAGE_METRIC}_total"].items():
        if stage != "idle":  # of which a job knows until its end
            assert seconds == pytest.approx(told["worker_seconds"][stage], abs=0.002)
    assert told["videos"] == 12


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
