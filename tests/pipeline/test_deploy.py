"""The files of pipeline/deploy: the paths in them exist, and their resources suffice for a run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from packaging.specifiers import SpecifierSet

from pipeline import config
from pipeline.checkup.finding import State
from pipeline.checkup.tools import DEPLOY, deployment
from pipeline.cli import app
from pipeline.config import Config
from pipeline.engine.engines import RayEngine
from pipeline.engine.lane_plan import LanePlan
from pipeline.engine.lane_sizes import Node, fits_some_node
from pipeline.run import lanes
from tests.test_project import ROOT, lock_lines, project_files

CONTAINERS = sorted(DEPLOY.glob("Containerfile.*"))
UNITS = {"Gi": 2**30, "Mi": 2**20}
JOB: Mapping[str, Any] = yaml.safe_load((DEPLOY / "rayjob.yaml").read_text(encoding="utf-8"))
CLUSTER = JOB["spec"]["rayClusterSpec"]
GROUPS = {group["groupName"]: group for group in CLUSTER["workerGroupSpecs"]}
PODS = {"head": CLUSTER["headGroupSpec"], **GROUPS}


def locked(name: str) -> str:
    return dict(line.split("==") for line in lock_lines())[name]


def container(group: Mapping[str, Any]) -> Mapping[str, Any]:
    (only,) = group["template"]["spec"]["containers"]
    assert isinstance(only, Mapping)
    return only


def bytes_of(quantity: str) -> float:
    return float(quantity[:-2]) * UNITS[quantity[-2:]]


def node(group: Mapping[str, Any]) -> Node:
    """What Ray makes of a pod."""
    limits = container(group)["resources"]["limits"]
    return Node(float(limits["cpu"]), float(limits.get("nvidia.com/gpu", 0)), bytes_of(limits["memory"]))


def commands(text: str) -> list[list[str]]:
    """The arguments of each `ola` in a text: at the beginning of a line, or after `--` or the name of an image."""
    found = re.findall(r"^(?:.*(?: -- |:[\w.]+-[cg]pu ))?(ola [a-z]+ .*)$", text, re.MULTILINE)
    return [shlex.split(line)[1:] for line in found]


def all_commands() -> list[list[str]]:
    return [shlex.split(JOB["spec"]["entrypoint"])[1:], *commands((DEPLOY / "README.md").read_text(encoding="utf-8"))]


def parsed(arguments: list[str]) -> dict[str, Any]:
    """The values of a command's parameters. Raises typer's UsageError where the command does not take them."""
    group: Any = typer.main.get_command(app)
    with group.make_context("ola", arguments) as context:
        name, command, rest = group.resolve_command(context, list(arguments))
        with command.make_context(name, rest, parent=context) as inner:
            return dict(inner.params)


def settings(arguments: list[str]) -> Config:
    """The configuration of a command line, with a scripted model in the place of weights that are not here."""
    params = parsed(arguments)
    sets = [*(params["overrides"] or ()), "annotator.engine=tests.pipeline.scripted:sensible", "annotator.model="]
    return config.load(None, [*sets, f"engine={params['engine'] or 'inline'}"])


@pytest.mark.parametrize("arguments", all_commands(), ids=" ".join)
def test_every_command_line_is_one_of_ours(arguments: list[str]) -> None:
    params = parsed(arguments)
    if arguments[0] == "run":
        config.load(None, params["overrides"] or ())
        assert params["root"]
        assert params["inputs"]


def test_commands_are_found_and_wrong_ones_are_not_parsed() -> None:
    assert len(all_commands()) == 5
    with pytest.raises(Exception, match="No such option"):
        parsed(["run", "videos", "--rooot", "out"])


def lanes_of_the_job(tmp_path: Path) -> Iterator[tuple[LanePlan, int]]:
    """Each lane of the RayJob's run, and the number of its actors."""
    made = settings(shlex.split(JOB["spec"]["entrypoint"])[1:])
    assert made.engine == "ray"
    engine = RayEngine(made.workers)
    for lane in lanes(made.plan(str(tmp_path)).steps, isolate=True):
        yield lane, engine._requested_actors(lane)


def test_the_pods_hold_the_lanes(tmp_path: Path) -> None:
    taken = dict.fromkeys(GROUPS, 0.0)
    for lane, actors in lanes_of_the_job(tmp_path):
        assert actors, f"{lane.name}: without a number a cluster does not grow for it"
        name = "gpu" if lane.gpus else "cpu"
        pod = node(GROUPS[name])
        assert fits_some_node([pod], lane.cpus, lane.gpus)
        assert pod.memory >= lane.memory
        taken[name] += actors / min(pod.cpus // lane.cpus, pod.gpus // lane.gpus if lane.gpus else pod.cpus)
    for name, pods in taken.items():
        assert GROUPS[name]["minReplicas"] <= GROUPS[name]["replicas"] <= pods <= GROUPS[name]["maxReplicas"]
    assert node(GROUPS["cpu"]).gpus == 0 < node(GROUPS["gpu"]).gpus
    assert CLUSTER["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_the_job_ends_and_costs_nothing_after_it() -> None:
    assert (JOB["apiVersion"], JOB["kind"]) == ("ray.io/v1", "RayJob")
    spec = JOB["spec"]
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] > 0
    assert spec["backoffLimit"] > 0
    assert CLUSTER["enableInTreeAutoscaling"] is True


@pytest.mark.parametrize("name", PODS)
def test_each_pod_has_what_a_run_needs(name: str) -> None:
    group, pod = PODS[name], container(PODS[name])
    spec = group["template"]["spec"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in pod["volumeMounts"]}
    shared = mounts["/dev/shm"]["emptyDir"]
    assert shared["medium"] == "Memory"
    assert bytes_of(shared["sizeLimit"]) > float(group["rayStartParams"]["object-store-memory"])
    assert bytes_of(mounts["/tmp"]["emptyDir"]["sizeLimit"]) <= bytes_of(
        pod["resources"]["limits"]["ephemeral-storage"]
    )
    assert mounts["/weights"]["persistentVolumeClaim"]["readOnly"]
    assert pod["envFrom"] == [{"secretRef": {"name": "ola-store"}}]
    assert pod["resources"]["requests"] == pod["resources"]["limits"]
    port = group["rayStartParams"]["metrics-export-port"]
    assert {"name": "metrics", "containerPort": int(port)} in pod["ports"]
    assert group["template"]["metadata"]["annotations"]["prometheus.io/port"] == port
    assert re.fullmatch(rf"[\w./-]+:{project()['version']}-{'gpu' if name == 'gpu' else 'cpu'}", pod["image"])


def project() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def test_versions_are_those_of_the_lock() -> None:
    assert CLUSTER["rayVersion"] == locked("ray")
    images = [re.findall(r"^FROM (\S+)$", file.read_text(encoding="utf-8"), re.MULTILINE) for file in CONTAINERS]
    assert images[0] == images[1], "Ray refuses a cluster of two Pythons"
    ((image,), _) = images
    python = re.fullmatch(r"docker\.io/library/python:(\d+\.\d+)-slim-\w+", image)
    assert python is not None
    assert SpecifierSet(project()["requires-python"]).contains(python[1])
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert f"CPython {python[1]}" in lock, "the lock was written on another Python"


@pytest.mark.parametrize(
    "file", [*CONTAINERS, DEPLOY / "rayjob.yaml", DEPLOY / "README.md"], ids=lambda file: file.name
)
def test_no_image_moves(file: Path) -> None:
    assert ":latest" not in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("file", CONTAINERS, ids=lambda file: file.name)
def test_container_files_name_what_is_there(file: Path) -> None:
    text, tracked = file.read_text(encoding="utf-8"), {path.relative_to(ROOT) for path in project_files()}
    copied = {Path(name) for line in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE) for name in line.split()}
    for name in copied:
        assert name in tracked or any(name in path.parents for path in tracked), name
    built = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = built["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    needed = ["pyproject.toml", project()["readme"], *project()["license-files"], *packages, "requirements.lock"]
    assert copied == {Path(name) for name in needed}
    assert re.search(r"^RUN .*--constraint requirements\.lock \.", text, re.MULTILINE)
    assert bool(re.search(r"^RUN .*whl/cpu", text, re.MULTILINE)) is (file.suffix == ".cpu")
    assert f"-t {container(GROUPS[file.suffix[1:]])['image']} ." in text, "the image that rayjob.yaml names"


def test_the_wheel_has_them(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = zipfile.ZipFile(wheel).namelist()
    assert {f"pipeline/deploy/{file.name}" for file in DEPLOY.iterdir()} <= set(held)
    assert {file.name for file in DEPLOY.iterdir()} == {
        "Containerfile.cpu",
        "Containerfile.gpu",
        "README.md",
        "rayjob.yaml",
    }


def test_doctor_says_where_they_are() -> None:
    finding = deployment()
    assert (finding.state, finding.found) == (State.GOOD, str(DEPLOY))
