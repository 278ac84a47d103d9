"""What an overlay may add: the rules for alerts, and the collector of logs, both as they are without Kubernetes."""

import re
import tomllib
from typing import Any

from ruamel.yaml import YAML
from support.compose import ROOT
from support.log_lines import line

from .manifests import container, resources

FOLDER = "../../tests/kubernetes/monitored"
DOCKER = tomllib.loads((ROOT / "misc/logs/vector.toml").read_text())


def collector() -> dict[str, Any]:
    """The spec of its pods."""
    (daemonset,) = resources(FOLDER, "DaemonSet")
    spec: dict[str, Any] = daemonset["spec"]["template"]["spec"]
    return spec


def configuration() -> dict[str, Any]:
    (name,) = (each["configMap"]["name"] for each in collector()["volumes"] if "configMap" in each)
    (configmap,) = (each for each in resources(FOLDER, "ConfigMap") if each["metadata"]["name"] == name)
    return tomllib.loads(configmap["data"]["vector.toml"])


def test_the_rules_are_those_of_the_compose_stack() -> None:
    (rule,) = resources(FOLDER, "PrometheusRule")
    assert rule["spec"] == YAML(typ="safe").load(ROOT / "misc/monitoring/alerts.yml")


def test_the_collector_differs_from_that_of_docker_in_how_lines_are_kept() -> None:
    ours = configuration()
    assert ours["sinks"] == DOCKER["sinks"]
    checked = [each["transforms"]["lines"]["source"].splitlines()[-2:] for each in (ours, DOCKER)]
    assert checked[0] == checked[1]


def test_the_collector_reads_lines_of_standard_output_as_runtimes_keep_them() -> None:
    (pattern,) = re.findall(r"r'(.*)'", configuration()["transforms"]["lines"]["source"])
    written = line(path="/a stdout F {").decode()
    found = re.search(pattern, f"2026-11-20T19:43:07.002123456Z stdout F {written}")
    assert found is not None
    assert (found["time"], found["log"]) == ("2026-11-20T19:43:07.002123456Z", written.rstrip())
    assert not re.search(pattern, f"2026-11-20T19:43:07.002123456Z stderr F {written}")


def test_the_collector_reads_the_files_of_the_services_container() -> None:
    mounts = {each["name"]: each["mountPath"] for each in collector()["containers"][0]["volumeMounts"]}
    (include,) = configuration()["sources"]["files"]["include"]
    (deployment,) = resources(FOLDER, "Deployment")
    assert include == f"{mounts['logs']}/*_{deployment['metadata']['name']}-*_*/{container(FOLDER)['name']}/*.log"
    assert configuration()["data_dir"] == mounts["data"]


def test_the_collector_has_all_that_its_configuration_takes_from_the_environment() -> None:
    text = (ROOT / "misc/kubernetes/components/logs/vector.toml").read_text()
    wanted = set(re.findall(r"\$\{([A-Z_]+)\}", text))
    assert wanted == {each["name"] for each in collector()["containers"][0]["env"]}


def test_no_selector_of_the_service_takes_the_collector() -> None:
    (daemonset,) = resources(FOLDER, "DaemonSet")
    labels = daemonset["spec"]["template"]["metadata"]["labels"]
    assert daemonset["spec"]["selector"]["matchLabels"] == labels == {"app.kubernetes.io/name": "redirect-collector"}
