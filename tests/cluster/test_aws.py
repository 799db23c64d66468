"""The files for EC2: valid by Ray's own schema, launched in a simulated EC2, no right too many."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto import mock_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.tags import TAG_RAY_CLUSTER_NAME, TAG_RAY_NODE_KIND, TAG_RAY_NODE_STATUS

AWS = Path(__file__).resolve().parents[2] / "cluster" / "aws"
POLICIES = sorted((AWS / "iam").glob("*.json"))


def launcher_file() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((AWS / "cluster.yaml").read_text())
    return loaded


def statements(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((AWS / "iam" / name).read_text())["Statement"]
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
    """The launcher file with the placeholders filled by what there is in the simulated EC2."""
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24", AvailabilityZone="us-west-2a")
    group = ec2.create_security_group(VpcId=vpc, GroupName="ray", Description="ray")
    image = ec2.describe_images()["Images"][0]["ImageId"]
    ec2.create_key_pair(KeyName="ours")
    iam = boto3.client("iam")
    for name in ("deepfake-head", "deepfake-worker"):
        iam.create_instance_profile(InstanceProfileName=name)
    text = (AWS / "cluster.yaml").read_text()
    for placeholder, value in (
        ("subnet-EDIT", subnet["Subnet"]["SubnetId"]),
        ("sg-EDIT", group["GroupId"]),
        ("ami-EDIT", image),
        ("key_name: &key EDIT", "key_name: &key ours"),
    ):
        assert placeholder in text
        text = text.replace(placeholder, value)
    config: dict[str, Any] = yaml.safe_load(text)
    return config


def test_the_launcher_file_is_valid_by_rays_own_schema() -> None:
    validate_config(launcher_file())


def test_a_misspelt_key_of_the_launcher_file_would_be_found() -> None:
    with pytest.raises(Exception, match="idle_timeout_minute"):
        validate_config(launcher_file() | {"idle_timeout_minute": 5})


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
    assert lifecycles == {"driver": None, "cpu": "spot", "gpu": None}
    for machine in started.values():
        assert {"Key": TAG_RAY_CLUSTER_NAME, "Value": "deepfake"} in machine.tags
        assert machine.iam_instance_profile["Arn"].endswith("/deepfake-worker")
    names = provider.non_terminated_nodes({})
    assert len(names) == 3
    provider.set_node_tags(names[0], {TAG_RAY_NODE_STATUS: "up-to-date"})
    provider.terminate_nodes(names)
    assert provider.non_terminated_nodes({}) == []
    allowed = {action for s in statements("autoscaler.json") for action in as_list(s["Action"])}
    assert {f"ec2:{name}" for name in called} == {name for name in allowed if name.startswith("ec2:")}


def test_nothing_that_a_worker_starts_with_is_missing_from_the_autoscalers_policy() -> None:
    covered = [r for s in statements("autoscaler.json") for r in s["Resource"] if "RunInstances" in str(s)]
    for kind, node in launcher_file()["available_node_types"].items():
        config = node["node_config"]
        needed = [
            f"arn:aws:ec2:us-west-2::image/{config['ImageId']}",
            f"arn:aws:ec2:us-west-2:EDIT:key-pair/{config['KeyName']}",
            *(f"arn:aws:ec2:us-west-2:EDIT:subnet/{name}" for name in config["SubnetIds"]),
            *(f"arn:aws:ec2:us-west-2:EDIT:security-group/{name}" for name in config["SecurityGroupIds"]),
        ]
        missing = [name for name in needed if not any(fnmatch(name, pattern) for pattern in covered)]
        assert not missing, kind


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_a_policy_allows_named_actions_on_named_things(path: Path) -> None:
    document = json.loads(path.read_text())
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
    assert passing["Resource"] == ["arn:aws:iam::EDIT:role/deepfake-worker"]


def test_the_archive_may_be_read_but_not_changed() -> None:
    on_archive = {
        action
        for statement in statements("worker.json")
        for action in statement["Action"]
        if any("EDIT-archive" in resource for resource in statement["Resource"])
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
