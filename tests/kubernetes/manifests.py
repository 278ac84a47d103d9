"""What kustomize makes of misc/kubernetes."""

import subprocess
from functools import cache
from typing import Any

from ruamel.yaml import YAML
from support.compose import ROOT

Resource = dict[str, Any]

# The last one is what someone with the Prometheus operator and ClickHouse would write.
FOLDERS = ("base", "overlays/local", "overlays/gateway", "../../tests/kubernetes/monitored")


@cache
def built(folder: str) -> str:
    path = ROOT / "misc/kubernetes" / folder
    return subprocess.run(["kubectl", "kustomize", path], capture_output=True, text=True, check=True).stdout


def resources(folder: str, kind: str) -> list[Resource]:
    return [each for each in YAML(typ="safe").load_all(built(folder)) if each["kind"] == kind]


def pod(folder: str) -> Resource:
    """The template of the Deployment: its metadata and its spec."""
    (deployment,) = resources(folder, "Deployment")
    template: Resource = deployment["spec"]["template"]
    return template


def container(folder: str) -> Resource:
    (found,) = pod(folder)["spec"]["containers"]
    result: Resource = found
    return result


def variables(folder: str) -> dict[str, Any]:
    """The environment, without what comes from a Secret."""
    return {each["name"]: each["value"] for each in container(folder)["env"] if "value" in each}
