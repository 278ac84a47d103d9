"""The image that `make image` builds: what its labels say, who runs in it, and the list of its components."""

import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
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
    components = json.loads((ROOT / "dist/redirect.cdx.json").read_text())["components"]
    assert {"redirect", "starlette", "uvicorn", "gunicorn"} <= {each["name"] for each in components}
