"""The manifests: valid by the published schemas, and of one mind with the service and its image."""

import subprocess
import sys
from pathlib import Path

import pytest
from support.compose import ROOT
from support.toml import load

from redirect.config.settings import Settings, variable

from .manifests import FOLDERS, built, container, pod, resources, variables

# The first has the newest of the keys that are used, the last was the newest when this was written.
VERSIONS = ("1.27", "1.37")

# Custom resources, of which there is no schema here.
CUSTOM = {"ServiceMonitor", "PrometheusRule"}

SETTINGS = {variable(name) for name in Settings.model_fields}

pytestmark = pytest.mark.parametrize("folder", FOLDERS)


@pytest.mark.parametrize("version", VERSIONS)
def test_each_resource_is_valid_and_has_no_unknown_key(folder: str, version: str, tmp_path: Path) -> None:
    file = tmp_path / "built.yaml"
    file.write_text(built(folder))
    done = subprocess.run(
        [sys.executable, "-m", "kubernetes_validate", "--strict", "-k", version, file],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in (done.stdout + done.stderr).splitlines() if not any(kind in line for kind in CUSTOM)]
    assert done.returncode == 0, done.stderr
    assert lines
    assert all(line.startswith("INFO ") and " passed " in line for line in lines), lines


def test_only_what_names_the_component_needs_an_operator(folder: str) -> None:
    """A cluster without it refuses a ServiceMonitor, and `kubectl apply -k` ends with an error."""
    kinds = {kind for kind in CUSTOM if resources(folder, kind)}
    assert kinds == (CUSTOM if folder.endswith("monitored") else set())


def test_each_selector_matches_the_pods(folder: str) -> None:
    labels = pod(folder)["metadata"]["labels"]
    selectors = [
        *(each["spec"]["selector"] for each in resources(folder, "Service")),
        *(each["spec"]["podSelector"]["matchLabels"] for each in resources(folder, "NetworkPolicy")),
        *(
            each["spec"]["selector"]["matchLabels"]
            for kind in ("Deployment", "PodDisruptionBudget")
            for each in resources(folder, kind)
        ),
        *(each["labelSelector"]["matchLabels"] for each in pod(folder)["spec"]["topologySpreadConstraints"]),
    ]
    assert len(selectors) >= 6
    assert all(selector and selector.items() <= labels.items() for selector in selectors)


def test_what_is_scraped_is_one_service(folder: str) -> None:
    for monitor in resources(folder, "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        (service,) = (
            each for each in resources(folder, "Service") if wanted <= each["metadata"].get("labels", {}).items()
        )
        assert {each["port"] for each in monitor["spec"]["endpoints"]} <= {
            each["name"] for each in service["spec"]["ports"]
        }


def test_each_port_that_is_named_is_one_of_the_container(folder: str) -> None:
    ours = container(folder)
    ports = {each["name"]: each["containerPort"] for each in ours["ports"]}
    probes = {ours[name]["httpGet"]["port"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    served = {each["targetPort"] for service in resources(folder, "Service") for each in service["spec"]["ports"]}
    assert ports == {"http": Settings.model_fields["server_port"].default, "admin": 9000}
    assert variables(folder)["REDIRECT_ADMIN_BIND"] == f"0.0.0.0:{ports['admin']}"
    assert probes == {"admin"}
    assert served <= ports.keys()


def test_each_variable_is_a_setting(folder: str) -> None:
    assert {each["name"] for each in container(folder)["env"]} <= SETTINGS


def test_the_user_is_that_of_the_image(folder: str) -> None:
    assert f"\nUSER {pod(folder)['spec']['securityContext']['runAsUser']}\n" in (ROOT / "Dockerfile").read_text()


def test_a_pod_has_time_for_all_of_its_stop(folder: str) -> None:
    """preStop counts, too."""
    _, seconds = container(folder)["lifecycle"]["preStop"]["exec"]["command"]
    default = Settings.model_fields["graceful_timeout"].default
    stop = int(variables(folder).get("REDIRECT_GRACEFUL_TIMEOUT", default))
    assert pod(folder)["spec"]["terminationGracePeriodSeconds"] >= int(seconds) + stop + 5


def test_the_configmap_is_mounted_as_a_directory_that_has_the_toml(folder: str, tmp_path: Path) -> None:
    (volume,) = pod(folder)["spec"]["volumes"]
    (configmap,) = (each for each in resources(folder, "ConfigMap") if "vector.toml" not in each["data"])
    (mount,) = container(folder)["volumeMounts"]
    path = Path(variables(folder)["REDIRECT_POOLS_CONFIG_PATH"])
    assert volume["configMap"]["name"] == configmap["metadata"]["name"]
    assert "subPath" not in mount
    assert str(path.parent) == mount["mountPath"]
    (tmp_path / path.name).write_text(configmap["data"][path.name])
    assert load(tmp_path / path.name).pools
