"""The image that `make image` builds: what its labels say, who runs in it, and the lists of what it holds."""

import json
import os
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
IMAGE = f"redirect-labelled-{os.getpid()}"


def run(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=600).stdout


def test_the_image_says_what_it_is_of_and_lists_its_components() -> None:
    try:
        run("make", "image", f"IMAGE={IMAGE}")
        config = json.loads(run("docker", "image", "inspect", "--format", "{{json .Config}}", IMAGE))
    finally:
        run("docker", "image", "rm", "--force", IMAGE)
    labels = config["Labels"]
    assert labels["org.opencontainers.image.revision"] == run("git", "rev-parse", "HEAD").strip()
    assert labels["org.opencontainers.image.created"].endswith("Z")
    assert labels["org.opencontainers.image.licenses"] == "MIT"
    assert config["User"].isdigit()
    assert labels["org.opencontainers.image.version"] == PROJECT["version"]
    listed = json.loads((ROOT / "dist/redirect.cdx.json").read_text())
    root = listed["metadata"]["component"]
    assert (root["name"], root["version"]) == (PROJECT["name"], PROJECT["version"])
    (needed,) = (each["dependsOn"] for each in listed["dependencies"] if each["ref"] == root["bom-ref"])
    names = {each["bom-ref"]: each["name"] for each in listed["components"]}
    assert {"starlette", "uvicorn", "gunicorn"} <= {names[each] for each in needed}
    packages = (ROOT / "dist/redirect.packages.txt").read_text().splitlines()
    assert {"libc6", "libssl3t64"} <= {line.split()[0] for line in packages}
    assert all(len(line.split()) == 3 for line in packages)
