"""Programs that are not ours, as origins of a service that runs: uvicorn, websockets, Node and nginx."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.app import MIB
from support.nginx import nginx_conf
from support.programs import started, uvicorn
from support.service import Running, free_port, running

HERE = Path(__file__).parent
SERVER = """\
    server {{
        listen 127.0.0.1:{port};
        root {folder}/files;
    }}"""
FILE_BYTES = 64 * MIB


def commands(folder: Path, ports: dict[str, int]) -> dict[str, list[str]]:
    return {
        "starlette": uvicorn("support.app:app", ports["starlette"]),
        "websockets": [sys.executable, str(HERE / "echo.py"), str(ports["websockets"])],
        "node": ["node", str(HERE / "node.mjs"), str(ports["node"])],
        "nginx": ["nginx", "-e", "stderr", "-c", str(folder / "nginx.conf")],
    }


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Two workers before one origin of each kind, under its name as path."""
    folder = tmp_path_factory.mktemp("software")
    ports = {name: free_port() for name in ("starlette", "websockets", "node", "nginx")}
    (folder / "files").mkdir()
    with (folder / "files" / "large").open("wb") as file:
        for number in range(FILE_BYTES // MIB):
            file.write(bytes([number]) * MIB)
    (folder / "nginx.conf").write_text(nginx_conf(folder, SERVER.format(folder=folder, port=ports["nginx"])))
    routes = [{"path_prefix": f"/{name}", "forward_to": name, "strip_prefix": True} for name in ports]
    pools = {name: {"weighted_hosts": {f"127.0.0.1:{port}": 1}} for name, port in ports.items()}
    with contextlib.ExitStack() as stack:
        for name, command in commands(folder, ports).items():
            stack.enter_context(started(command, ports[name]))
        yield stack.enter_context(running(folder, pools={"routes": routes, **pools}))
