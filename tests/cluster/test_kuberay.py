"""The manifests: pods by Kubernetes' own schemas, KubeRay's objects by the fields of its reference."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.cluster.kuberay_schema import SCHEMAS

FOLDER = Path(__file__).resolve().parents[2] / "cluster" / "kuberay"
KUBERNETES = ("1.30", "1.37")  # the oldest that the files are made for, and the newest whose schemas we have


def documents() -> list[Any]:
    return [
        pytest.param(document, id=f"{path.stem}-{document['kind']}")
        for path in sorted(FOLDER.glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
    ]


def clusters() -> list[Any]:
    return [
        pytest.param(cluster_spec(entry.values[0]), id=entry.id)
        for entry in documents()
        if entry.values[0]["apiVersion"] == "ray.io/v1"
    ]


def cluster_spec(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["spec"].get("rayClusterSpec", document["spec"])
    return found


def groups(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    workers = {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    return {"head": spec["headGroupSpec"], **workers}


def pod_templates(value: Any) -> Iterator[dict[str, Any]]:
    """Every pod template inside a KubeRay object."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("template", "submitterPodTemplate"):
                yield inner
            else:
                yield from pod_templates(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from pod_templates(inner)


def checked(document: dict[str, Any], version: str) -> None:
    """Raise unless the document is valid, KubeRay's pod templates as pods of that version of Kubernetes."""
    if document["apiVersion"] != "ray.io/v1":
        kubernetes_validate.validate(document, version, strict=True)
        return
    jsonschema.validate(document, SCHEMAS[document["kind"]])
    for template in pod_templates(document):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": template["spec"]}
        kubernetes_validate.validate(pod, version, strict=True)


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("document", documents())
def test_a_manifest_is_valid(document: dict[str, Any], version: str) -> None:
    checked(document, version)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("headGroupSpec", "template", "spec", "serviceAccount_name"), "x"),
        (("headGroupSpec", "template", "spec", "containers", 0, "resources", "limit"), {}),
        (("headGroupSpec", "template", "spec", "containers", 0, "livenessProbe", "httpGet"), {"path": "/"}),
        (("workerGroupSpecs", 0, "rayStartParams", "num-cpus"), 0),
        (("workerGroupSpecs", 0, "maxReplica"), 3),
        (("autoscalerOptions", "upscalingMode"), "Fast"),
        (("authOptions", "mode"), "none"),
    ],
    ids=lambda value: str(value[-1]) if isinstance(value, tuple) else None,
)
def test_a_mistake_in_a_manifest_would_be_found(path: tuple[str | int, ...], value: Any) -> None:
    document = copy.deepcopy(yaml.safe_load((FOLDER / "raycluster.yaml").read_text()))
    place = document["spec"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        checked(document, KUBERNETES[-1])


def test_a_job_brings_the_very_cluster_that_also_stands_alone() -> None:
    alone, job = (
        yaml.safe_load((FOLDER / name).read_text())["spec"] for name in ("raycluster.yaml", "rayjob.yaml")
    )
    assert job["rayClusterSpec"] == alone
    assert json.loads(job["entrypointResources"]) == {"driver": 1}


@pytest.mark.parametrize("spec", clusters())
def test_no_container_may_run_as_root_or_gain_rights(spec: dict[str, Any]) -> None:
    for name, group in groups(spec).items():
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 1000, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }
        if name != "head":  # whose autoscaler asks Kubernetes for pods
            assert pod["automountServiceAccountToken"] is False


@pytest.mark.parametrize("spec", clusters())
def test_every_container_has_equal_requests_and_limits_probes_and_shared_memory(spec: dict[str, Any]) -> None:
    for name, group in groups(spec).items():
        pod = group["template"]["spec"]
        (shared,) = [volume for volume in pod["volumes"] if volume["name"] == "shared-memory"]
        assert shared["emptyDir"]["medium"] == "Memory"
        for container in pod["containers"]:
            assert container["resources"]["requests"] == container["resources"]["limits"], name
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
            assert {"name": "shared-memory", "mountPath": "/dev/shm"} in container["volumeMounts"]
            memory = int(container["resources"]["limits"]["memory"].removesuffix("Gi"))
            assert int(shared["emptyDir"]["sizeLimit"].removesuffix("Gi")) < memory


@pytest.mark.parametrize("spec", clusters())
def test_the_head_runs_no_work_and_workers_come_and_go(spec: dict[str, Any]) -> None:
    assert spec["enableInTreeAutoscaling"] and spec["autoscalerOptions"]["idleTimeoutSeconds"] == 300
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    for group in spec["workerGroupSpecs"]:
        assert group["minReplicas"] == group["replicas"] == 0 < group["maxReplicas"]
    gpu = groups(spec)["gpu"]["template"]["spec"]
    assert gpu["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" in {toleration["key"] for toleration in gpu["tolerations"]}


@pytest.mark.parametrize("document", documents())
def test_secrets_are_named_and_never_written(document: dict[str, Any]) -> None:
    assert document["kind"] != "Secret"

    def environment(value: Any) -> Iterator[dict[str, Any]]:
        if isinstance(value, dict):
            yield from value.get("env", [])
            for inner in value.values():
                yield from environment(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from environment(inner)

    for variable in environment(document):
        secret = any(word in variable["name"] for word in ("KEY", "TOKEN", "SECRET", "PASSWORD"))
        assert not secret or "secretKeyRef" in variable["valueFrom"], variable["name"]
