"""The manifests: pods by Kubernetes' own schemas, KubeRay's objects by the fields of its reference."""

from __future__ import annotations

import copy
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import moto
import pytest
import yaml

from deepfake import config
from deepfake.config import parse
from deepfake.execution import process
from tests.cluster.filled import FOLDER, fill
from tests.cluster.kuberay_schema import SCHEMAS
from tests.running import ROOT

JOBS = {
    "preprocess": config.PreprocessJobConfig,
    "train": config.TrainJobConfig,
    "score": config.ScoreJobConfig,
}
_TYPES = Path(moto.__file__).parent / "ec2" / "resources" / "instance_types.json.gz"
INSTANCE_TYPES: dict[str, Any] = json.loads(gzip.decompress(_TYPES.read_bytes()))
KUBERNETES = ("1.30", "1.37")  # the oldest that the files are made for, and the newest whose schemas we have


def documents() -> list[Any]:
    return [
        pytest.param(document, id=f"{path.stem}-{document['kind']}")
        for path in sorted((FOLDER / "kuberay").glob("*.yaml"))
        for document in yaml.safe_load_all(fill(f"kuberay/{path.name}"))
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
    if document["kind"] not in SCHEMAS:
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
    document = copy.deepcopy(yaml.safe_load(fill("kuberay/raycluster.yaml")))
    place = document["spec"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        checked(document, KUBERNETES[-1])


def test_a_job_brings_the_very_cluster_that_also_stands_alone() -> None:
    alone = yaml.safe_load(fill("kuberay/raycluster.yaml"))["spec"]
    for name in JOBS:
        job = yaml.safe_load(fill(f"kuberay/rayjob-{name}.yaml"))["spec"]
        assert job["rayClusterSpec"] == alone
        assert json.loads(job["entrypointResources"]) == {"driver": 1}


@pytest.mark.parametrize(("name", "model"), JOBS.items())
def test_a_job_s_command_is_one_that_it_understands(name: str, model: type[config.JobConfig]) -> None:
    entrypoint = yaml.safe_load(fill(f"kuberay/rayjob-{name}.yaml"))["spec"]["entrypoint"]
    program, job, *words = entrypoint.replace("/opt/deepfake", str(ROOT)).split()
    assert (program, Path(job)) == ("python", ROOT / "jobs" / f"{name}.py")
    parse.load_config(model, words)


def allocatable(node: str) -> tuple[float, float]:
    """CPUs and GiB that EKS leaves to pods on a node, less what daemons ask for.

    What its nodes keep: 6 % of the first core, 1 % of the second, .5 % of two, .25 % of the rest; 255 MiB,
    11 MiB for each pod that its network cards have addresses for, 100 MiB before pods are evicted
    (awslabs/amazon-eks-ami). A kernel shows some 4 % less memory than the type's name promises.
    """
    machine = INSTANCE_TYPES[node]
    cores, network = machine["VCpuInfo"]["DefaultVCpus"], machine["NetworkInfo"]
    pods = network["MaximumNetworkInterfaces"] * (network["Ipv4AddressesPerInterface"] - 1) + 2
    kept = 0.06 + 0.01 + 0.005 * 2 + 0.0025 * (cores - 4)
    mebibytes = machine["MemoryInfo"]["SizeInMiB"] * 0.96 - 255 - 11 * pods - 100
    return cores - kept - 0.5, mebibytes / 1024 - 1


def test_every_pod_fits_the_node_that_is_named_beside_it() -> None:
    lines = (FOLDER / "kuberay" / "raycluster.yaml").read_text().splitlines()
    nodes = [found[1] for line in lines if (found := re.search(r"# a node such as (\S+)$", line))]
    by_group = groups(yaml.safe_load(fill("kuberay/raycluster.yaml"))["spec"])
    assert len(nodes) == len(by_group)
    for (name, group), node in zip(by_group.items(), nodes, strict=True):
        has_cpus, has_memory = allocatable(node)
        (container,) = group["template"]["spec"]["containers"]
        asked = container["resources"]["requests"]
        autoscaler = (0.5, 1.0) if name == "head" else (0.0, 0.0)  # its container's CPUs and GiB
        assert int(asked["cpu"]) + autoscaler[0] <= has_cpus, (name, has_cpus)
        assert int(asked["memory"].removesuffix("Gi")) + autoscaler[1] <= has_memory, (name, has_memory)


def test_what_the_workers_of_a_pod_may_take_together_is_less_than_it_has(tmp_path: Path) -> None:
    cpu = groups(yaml.safe_load(fill("kuberay/raycluster.yaml"))["spec"])["cpu"]
    asked = cpu["template"]["spec"]["containers"][0]["resources"]["limits"]
    for name, text in {
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/memory.max": str(int(asked["memory"].removesuffix("Gi")) * 2**30),
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    children = process.CHILDREN_SHARE * process.count_memory_mb(tmp_path)
    workers = 300 * int(asked["cpu"])  # MiB, an allowance for each worker beside its child
    assert children + workers < int(asked["memory"].removesuffix("Gi")) * 1024


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
