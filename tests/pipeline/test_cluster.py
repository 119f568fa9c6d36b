"""A cluster: builds on several nodes of Ray, and what is in `cluster/`, without a cloud.

Nodes are Ray's own processes on this machine (`ray.cluster_utils`), so they share its folders.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from builds import ENVIRONMENT, clip, options, shards
from places import ROOT

from pipeline.build import build
from pipeline.engine.choice import make_engine
from pipeline.engine.ray import RayEngine
from pipeline.report.report import Report

CLUSTER = ROOT / "cluster"

NODES = """
import json, sys
from collections import Counter
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
for _ in range(int(sys.argv[3]) - 1):
    cluster.add_node(num_cpus=1)

from pipeline.engine import ray as engine
from pipeline.engine.pool import Pool
import ray

placed = []
close = Pool.close

def watched(pool):
    from ray._private.state import actors
    ray.get([worker.ready for worker in pool.workers])
    known = actors()
    homes = [known[one.actor._actor_id.hex()]["Address"]["NodeID"] for one in pool.workers]
    placed.append(sorted(Counter(homes).values()))
    close(pool)

Pool.close = watched

class Where:
    name, batch, gpus, limit_s = "where", 1, 0.0, 0.0

    def setup(self):
        pass

    def __call__(self, items):
        import os
        import pipeline
        return [(pipeline.__file__, os.environ.get("D2M_CACHE"))]

joined = engine.RayEngine(cluster.address)
found = list(joined.run([Where()], [1], None))
joined.close()
from pipeline.cli import main

words = ["build", "--dataset", "folder", "--source", sys.argv[1], "--out", sys.argv[2]]
try:
    main([*words, "--visual", "none", "--engine", "ray", "--address", cluster.address])
except SystemExit as end:
    print(json.dumps({"exit": end.code, "placed": placed, "where": found[0]}))
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for name in ("a", "b", "c", "d", "e"):
        clip(folder / f"{name}.mp4", 2.2)
    return folder


@pytest.fixture(scope="module")
def quiet(source, tmp_path_factory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("quiet")
    build(options(source, out))
    return shards(out)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_nodes_give_the_bytes_of_one_process(source, quiet, tmp_path, count):
    """Each node has its worker, and works with the code that the driver brought."""
    words = [sys.executable, "-c", NODES, source, tmp_path / "out", count]
    environment = {**ENVIRONMENT, "D2M_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        list(map(str, words)),
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    said = json.loads(ended.stdout.splitlines()[-1])
    assert said["exit"] == 0, ended.stderr
    assert Report.load(tmp_path / "out").counts == {"ok": 5}
    assert len(quiet) >= 1 and shards(tmp_path / "out") == quiet
    assert len(said["placed"]) >= 2 and all(one == [1] * count for one in said["placed"])
    code, cache = said["where"]
    assert "runtime_resources/py_modules_files" in code and cache == str(tmp_path / "cache")


APART = """
import json
from collections import Counter
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
cluster.add_node(num_cpus=2)
cluster.add_node(num_cpus=1, num_gpus=2)

from pipeline.engine import ray as engine
from pipeline.engine.pool import Pool
import ray

class Add:
    batch, limit_s = 1, 0.0

    def __init__(self, name, gpus):
        self.name, self.gpus = name, gpus

    def setup(self):
        pass

    def __call__(self, items):
        return [item + 1 for item in items]

placed = {}
close = Pool.close

def watched(pool):
    from ray._private.state import actors
    ray.get([worker.ready for worker in pool.workers])
    kinds = {n["NodeID"]: "gpu" if n["Resources"].get("GPU") else "cpu" for n in ray.nodes()}
    known = actors()
    homes = [known[one.actor._actor_id.hex()]["Address"]["NodeID"] for one in pool.workers]
    placed[pool.stage.name] = dict(Counter(kinds[home] for home in homes))
    close(pool)

Pool.close = watched
joined = engine.RayEngine(cluster.address)
stages = [Add("cut", 0.0), Add("pose", 1.0), Add("visual", 1.0)]
found = sorted(joined.run(stages, range(12), None))
joined.close()
print(json.dumps({"found": found, "placed": placed}))
"""


@pytest.mark.slow
def test_stages_that_want_a_gpu_get_it_and_leave_the_cores_to_the_others(tmp_path):
    """GPUs here are what a node says it has: Ray counts them, nothing computes on them."""
    environment = {**ENVIRONMENT, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-c", APART],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout.splitlines()[-1])
    assert said["found"] == [item + 3 for item in range(12)]
    expected = {"cut": {"cpu": 2, "gpu": 1}, "pose": {"gpu": 2}, "visual": {"gpu": 2}}
    assert said["placed"] == expected  # a worker a core, a worker a GPU, none on the head


# --- ray up ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ray_up() -> dict[str, Any]:
    return yaml.safe_load((CLUSTER / "ray-cluster.yaml").read_text(encoding="utf-8"))


def test_ray_up_takes_the_file(ray_up):
    """By Ray's own schema and defaults, as `ray up` checks it before it asks the provider."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(ray_up)
    validate_config(prepared)
    assert prepared["head_node_type"] in prepared["available_node_types"]
    assert prepared["head_setup_commands"] == prepared["worker_setup_commands"] == []
    with pytest.raises(Exception, match="'cluster' was unexpected"):
        validate_config({**prepared, "cluster": 1})


AWS = """
import json, sys
import yaml
from moto import mock_aws

with mock_aws():
    import boto3
    from ray.autoscaler._private.aws.config import bootstrap_aws
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(yaml.safe_load(open(sys.argv[1])))
    validate_config(config)
    config = bootstrap_aws(config)
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    for name, kind in config["available_node_types"].items():
        provider.create_node(kind["node_config"], {"ray-user-node-type": name}, 1)
    found = boto3.client("ec2").describe_instances()["Reservations"]
    started = [machine["InstanceType"] for one in found for machine in one["Instances"]]
    print(json.dumps(sorted(started)))
"""


@pytest.mark.slow
def test_ray_up_starts_each_kind_of_node_on_a_mocked_aws(ray_up, tmp_path):
    """Ray's own AWS provider makes role, key, network rules and machines, at moto's EC2 and IAM."""
    known = {name: "test" for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    known |= {"AWS_DEFAULT_REGION": "us-west-2", "MOTO_IAM_LOAD_MANAGED_POLICIES": "true"}
    known |= {"HOME": str(tmp_path)}  # Ray puts the key into its .ssh
    ended = subprocess.run(
        [sys.executable, "-c", AWS, CLUSTER / "ray-cluster.yaml"],
        env={**ENVIRONMENT, **known}, capture_output=True, encoding="utf-8", errors="replace",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    kinds = ray_up["available_node_types"].values()
    expected = sorted(kind["node_config"]["InstanceType"] for kind in kinds)
    assert json.loads(ended.stdout.splitlines()[-1]) == expected


def test_ray_up_nodes_are_all_there_from_the_start(ray_up):
    """Workers are counted when a stage starts, so no node may come later."""
    types = dict(ray_up["available_node_types"])
    head = types.pop(ray_up["head_node_type"])
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    assert sum(kind["max_workers"] for kind in types.values()) == ray_up["max_workers"]
    for kind in types.values():
        assert kind["min_workers"] == kind["max_workers"] > 0
    cpus, gpus = (kind["resources"] for kind in (types["cpu"], types["gpu"]))
    assert cpus.get("GPU", 0) == 0 and gpus["GPU"] > 0 and 0 < gpus["CPU"] < cpus["CPU"]


def shell_lines(config: Any) -> list[str]:
    """Return every command of a `ray up` file."""
    if isinstance(config, dict):
        return [line for value in config.values() for line in shell_lines(value)]
    if isinstance(config, list):
        return [line for value in config for line in shell_lines(value)]
    return [config] if isinstance(config, str) else []


def test_ray_up_commands_are_shell_and_mount_one_folder(ray_up):
    lists = {name: value for name, value in ray_up.items() if name.endswith("_commands")}
    lines = shell_lines(lists)
    assert len(lines) >= 6
    for line in lines:
        subprocess.run(["bash", "-n", "-c", line], check=True)
    mounts = [line for line in lines if "mount -t nfs4" in line]
    assert len(mounts) == 1 and mounts[0] in ray_up["initialization_commands"]
    starts = ray_up["head_start_ray_commands"] + ray_up["worker_start_ray_commands"]
    assert sum("ray start" in line for line in starts) == 2
    assert sum("ray stop" in line for line in starts) == 2
    run_options = ray_up["docker"]["run_options"]
    assert "--volume=/shared:/shared" in run_options
    assert "--env=D2M_CACHE=/shared/cache" in run_options


# --- KubeRay --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kube() -> dict[str, dict[str, Any]]:
    return {
        d["kind"]: d
        for d in yaml.safe_load_all((CLUSTER / "kuberay.yaml").read_text(encoding="utf-8"))
    }


def groups(kube: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    spec = kube["RayJob"]["spec"]["rayClusterSpec"]
    workers = {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    return {"head": spec["headGroupSpec"], **workers}


def test_kuberay_has_the_fields_it_requires(kube):
    """Fields that the custom resource definitions of ray.io/v1 require, and those used here."""
    assert set(kube) == {"PersistentVolumeClaim", "RayJob"}
    job = kube["RayJob"]
    assert job["apiVersion"] == "ray.io/v1" and job["metadata"]["name"]
    assert set(job["spec"]) <= {
        "entrypoint", "rayClusterSpec", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished",
        "submissionMode", "backoffLimit", "activeDeadlineSeconds",
    }  # fmt: skip
    assert set(groups(kube)) == {"head", "cpu", "gpu"}
    for name, group in groups(kube).items():
        assert isinstance(group["rayStartParams"], dict)
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        (container,) = group["template"]["spec"]["containers"]
        assert container["name"] and container["image"] and container["resources"]["limits"]
        if name != "head":
            assert group["replicas"] == group["minReplicas"] == group["maxReplicas"] > 0


def test_kuberay_says_the_ray_that_is_installed_and_one_image(kube):
    import ray

    assert kube["RayJob"]["spec"]["rayClusterSpec"]["rayVersion"] == ray.__version__
    images = {g["template"]["spec"]["containers"][0]["image"] for g in groups(kube).values()}
    assert len(images) == 1


def test_kuberay_shares_one_folder_and_keeps_gpus_for_those_who_want_them(kube):
    claim = kube["PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for group in groups(kube).values():
        spec = group["template"]["spec"]
        volume = next(v for v in spec["volumes"] if "persistentVolumeClaim" in v)
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        (container,) = spec["containers"]
        mounted = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
        assert mounted[volume["name"]] == "/shared"
        assert {"name": "D2M_CACHE", "value": "/shared/cache"} in container["env"]
    limits = {
        name: group["template"]["spec"]["containers"][0]["resources"]["limits"]
        for name, group in groups(kube).items()
    }
    assert [name for name, limit in limits.items() if "nvidia.com/gpu" in limit] == ["gpu"]
    assert groups(kube)["head"]["rayStartParams"]["num-cpus"] == "0"
    assert int(groups(kube)["gpu"]["rayStartParams"]["num-cpus"]) < int(limits["cpu"]["cpu"])


def test_kuberay_runs_a_command_that_exists(kube):
    from pipeline.cli import parser

    program, *words = shlex.split(kube["RayJob"]["spec"]["entrypoint"])
    assert program == "pipeline"
    asked = parser().parse_args(words)
    assert asked.address == "auto"
    assert isinstance(make_engine(asked.engine, asked.address), RayEngine)
    assert str(asked.source).startswith("/shared/") and str(asked.out).startswith("/shared/")


# --- the image ------------------------------------------------------------------------------------
