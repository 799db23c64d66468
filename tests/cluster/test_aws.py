"""The files for EC2: valid by Ray's own schema, launched in a simulated EC2, no right too many."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto import mock_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.node_provider_availability_tracker import NodeProviderAvailabilityTracker
from ray.autoscaler._private.resource_demand_scheduler import ResourceDemandScheduler
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.node_launch_exception import NodeLaunchException
from ray.autoscaler.tags import TAG_RAY_CLUSTER_NAME, TAG_RAY_NODE_KIND, TAG_RAY_NODE_STATUS

from tests.cluster.filled import FOLDER, SITE, fill

AWS = FOLDER / "aws"
POLICIES = sorted((AWS / "iam").glob("*.json"))


def launcher_file(**site: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(fill("aws/cluster.yaml", **site))
    return loaded


def statements(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(fill(f"aws/iam/{name}"))["Statement"]
    return found


def as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


@pytest.fixture
def ec2(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A simulated EC2 in this process."""
    for name, value in (("AWS_ACCESS_KEY_ID", "none"), ("AWS_SECRET_ACCESS_KEY", "none")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
        boto3.setup_default_session()
        yield boto3.client("ec2", region_name="us-west-2")


def filled_in(ec2: Any) -> dict[str, Any]:
    """The launcher file with what there is in the simulated EC2."""
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = {
        f"subnet_{letter}": ec2.create_subnet(
            VpcId=vpc, CidrBlock=f"10.0.{i}.0/24", AvailabilityZone=f"us-west-2{letter}"
        )["Subnet"]["SubnetId"]
        for i, letter in enumerate("ab")
    }
    group = ec2.create_security_group(VpcId=vpc, GroupName="ray", Description="ray")["GroupId"]
    cpu_image, gpu_image = (image["ImageId"] for image in ec2.describe_images()["Images"][:2])
    ec2.create_key_pair(KeyName="ours")
    iam = boto3.client("iam")
    for name in ("deepfake-head", "deepfake-worker"):
        iam.create_instance_profile(InstanceProfileName=name)
    return launcher_file(
        security_group=group,
        key_name="ours",
        cpu_machine_image=cpu_image,
        gpu_machine_image=gpu_image,
        **subnets,
    )


def test_the_launcher_file_is_valid_by_rays_own_schema() -> None:
    validate_config(launcher_file())


def test_a_misspelt_key_of_the_launcher_file_would_be_found() -> None:
    with pytest.raises(Exception, match="idle_timeout_minute"):
        validate_config(launcher_file() | {"idle_timeout_minute": 5})


@pytest.mark.slow(3)
def test_every_kind_of_machine_starts_as_described_and_ends(ec2: Any) -> None:
    config = AWSNodeProvider.bootstrap_config(prepare_config(filled_in(ec2)))
    called = set()
    boto3.DEFAULT_SESSION.events.register("before-call", lambda model, **_: called.add(model.name))
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    started = {
        kind: next(iter(provider.create_node(node["node_config"], {TAG_RAY_NODE_KIND: "worker"}, 1).values()))
        for kind, node in config["available_node_types"].items()
        if kind != "head"
    }
    lifecycles = {kind: machine.instance_lifecycle for kind, machine in started.items()}
    assert lifecycles == {
        "driver": None, "cpu-spot-c7i": "spot", "cpu-spot-c7a": "spot", "cpu-spot-c6i": "spot",
        "cpu-on-demand": None, "gpu": None,
    }  # fmt: skip
    for machine in started.values():
        assert {"Key": TAG_RAY_CLUSTER_NAME, "Value": "deepfake"} in machine.tags
        assert machine.iam_instance_profile["Arn"].endswith("/deepfake-worker")
    names = provider.non_terminated_nodes({})
    assert len(names) == len(started)
    provider.set_node_tags(names[0], {TAG_RAY_NODE_STATUS: "up-to-date"})
    provider.terminate_nodes(names)
    assert provider.non_terminated_nodes({}) == []
    allowed = {action for s in statements("autoscaler.json") for action in as_list(s["Action"])}
    assert {f"ec2:{name}" for name in called} == {name for name in allowed if name.startswith("ec2:")}


def test_nothing_that_a_worker_starts_with_is_missing_from_the_autoscalers_policy() -> None:
    ours = f"arn:aws:ec2:us-west-2:{SITE['account']}"
    covered = [r for s in statements("autoscaler.json") for r in s["Resource"] if "RunInstances" in str(s)]
    images = set()
    for kind, node in launcher_file()["available_node_types"].items():
        config = node["node_config"]
        images.add(config["ImageId"])
        needed = [
            f"arn:aws:ec2:us-west-2::image/{config['ImageId']}",
            f"{ours}:key-pair/{config['KeyName']}",
            *(f"{ours}:subnet/{name}" for name in config["SubnetIds"]),
            *(f"{ours}:security-group/{name}" for name in config["SecurityGroupIds"]),
        ]
        missing = [name for name in needed if not any(fnmatch(name, pattern) for pattern in covered)]
        assert not missing, kind
    assert images == {SITE["cpu_machine_image"], SITE["gpu_machine_image"]}


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_a_policy_allows_named_actions_on_named_things(path: Path) -> None:
    document = json.loads(fill(str(path.relative_to(FOLDER))))
    assert document["Version"] == "2012-10-17"
    # AWS knows no resource for these two: https://docs.aws.amazon.com/service-authorization
    anywhere = {"ec2:DescribeInstances", "ecr:GetAuthorizationToken"}
    for statement in document["Statement"]:
        assert statement["Effect"] == "Allow" and statement["Sid"].isalnum()
        assert not {"NotAction", "NotResource", "NotPrincipal"} & set(statement)
        assert not [action for action in as_list(statement["Action"]) if "*" in action]
        if "*" in as_list(statement.get("Resource", [])):
            assert set(as_list(statement["Action"])) <= anywhere


def test_machines_can_be_started_tagged_and_ended_only_for_this_cluster() -> None:
    name = launcher_file()["cluster_name"]
    on_instances = [s for s in statements("autoscaler.json") if any("instance/*" in r for r in s["Resource"])]
    tags = {"aws:RequestTag/ray-cluster-name", "ec2:ResourceTag/ray-cluster-name"}
    for statement in on_instances:
        wanted = statement["Condition"]["StringEquals"]
        assert wanted == {"ec2:CreateAction": "RunInstances"} or (
            set(wanted) <= tags and set(wanted.values()) == {name}
        )
    (passing,) = [s for s in statements("autoscaler.json") if s["Action"] == ["iam:PassRole"]]
    assert passing["Resource"] == [f"arn:aws:iam::{SITE['account']}:role/deepfake-worker"]


def test_the_archive_may_be_read_but_not_changed() -> None:
    on_archive = {
        action
        for statement in statements("worker.json")
        for action in statement["Action"]
        if any(SITE["archive_bucket"] in resource for resource in statement["Resource"])
    }
    assert on_archive == {"s3:ListBucket", "s3:GetBucketLocation", "s3:GetObject"}


def test_the_head_runs_no_work_and_its_job_server_listens_on_loopback_behind_a_token() -> None:
    config = launcher_file()
    (start,) = [line for line in config["head_start_ray_commands"] if "ray start" in line]
    assert {"--num-cpus=0", "--num-gpus=0", "--dashboard-host=127.0.0.1"} <= set(start.split())
    assert config["available_node_types"]["head"]["resources"] == {"CPU": 0, "GPU": 0}
    assert "--env RAY_AUTH_MODE=token" in config["docker"]["run_options"]
    assert "~/.ray/auth_token" in config["file_mounts"]
    assert config["provider"]["use_internal_ips"]
    for node in config["available_node_types"].values():
        assert node["node_config"]["MetadataOptions"]["HttpTokens"] == "required"


def next_machines(count: int, unavailable: list[str], gpus: int = 0) -> dict[str, int]:
    """What Ray's autoscaler starts for tasks of a CPU, where these types could not be started lately."""
    os.environ["RAY_AUTOSCALER_UTILIZATION_SCORER"] = "deepfake.execution.ray_compat.prefer_available"
    try:
        config = prepare_config(launcher_file())
        scheduler = ResourceDemandScheduler(
            None, config["available_node_types"], config["max_workers"], config["head_node_type"], 1.0
        )  # fmt: skip
    finally:
        del os.environ["RAY_AUTOSCALER_UTILIZATION_SCORER"]
    tracker = NodeProviderAvailabilityTracker(timer=lambda: 100.0, ttl=1800)
    for kind in unavailable:
        tracker.update_node_availability(
            kind, 99, NodeLaunchException("InsufficientInstanceCapacity", "", None)
        )
    wanted = [{"CPU": 1}] * count + [{"CPU": 1, "GPU": 1}] * gpus
    found = scheduler.get_nodes_to_launch([], {}, wanted, {}, [], {}, [], tracker.summary())[0]
    return {kind: number for kind, number in found.items() if kind != "head"}


@pytest.mark.parametrize(
    ("unavailable", "started"),
    [
        ([], {"cpu-spot-c7i": 4}),
        (["cpu-spot-c7i"], {"cpu-spot-c7a": 4}),
        (["cpu-spot-c7i", "cpu-spot-c7a", "cpu-spot-c6i"], {"cpu-on-demand": 4}),
    ],
    ids=["spot", "another kind of spot", "on demand"],
)
def test_where_a_kind_of_machine_cannot_be_had_the_next_is_started(
    unavailable: list[str], started: dict[str, int]
) -> None:
    assert next_machines(64, unavailable) == started


def test_no_machine_with_a_gpu_is_started_for_want_of_others() -> None:
    kinds = [kind for kind in launcher_file()["available_node_types"] if kind.startswith("cpu")]
    assert "gpu" not in next_machines(16, kinds)
    assert next_machines(0, [], gpus=1) == {"gpu": 1}


def test_the_machines_that_cut_faces_are_alike_in_cores_and_memory_and_have_the_cores_that_they_promise(
    ec2: Any,
) -> None:
    sizes = set()
    for kind, node in launcher_file()["available_node_types"].items():
        (machine,) = ec2.describe_instance_types(InstanceTypes=[node["node_config"]["InstanceType"]])[
            "InstanceTypes"
        ]
        cores = machine["VCpuInfo"]["DefaultVCpus"]
        assert node["resources"]["CPU"] in (0, cores), kind
        if kind.startswith("cpu"):
            sizes.add((cores, machine["MemoryInfo"]["SizeInMiB"]))
    assert len(sizes) == 1


def test_pods_of_our_service_account_alone_take_the_role_of_eks() -> None:
    (statement,) = statements("eks-trust.json")
    provider = SITE["oidc_provider"]
    assert statement["Principal"]["Federated"].endswith(f":oidc-provider/{provider}")
    assert statement["Condition"] == {
        "StringEquals": {
            f"{provider}:aud": "sts.amazonaws.com",
            f"{provider}:sub": "system:serviceaccount:deepfake:deepfake",
        }
    }
    accounts = [d for d in yaml.safe_load_all(fill("kuberay/site.yaml")) if d["kind"] == "ServiceAccount"]
    assert [(a["metadata"]["namespace"], a["metadata"]["name"]) for a in accounts] == [
        ("deepfake", "deepfake")
    ]


def test_the_machine_image_has_what_the_launcher_calls_before_the_container_runs() -> None:
    path = AWS / "machine_image.sh"
    subprocess.run(["sh", "-n", str(path)], check=True)
    (installed,) = re.findall(r"for tool in ([^;]*); do", path.read_text())
    called = {
        line.split()[0]
        for command in launcher_file()["initialization_commands"]
        for line in command.split("|")
    }
    assert called | {"rsync"} == set(installed.split())
