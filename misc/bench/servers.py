"""The servers that are measured: a row for each, with everything that it needs to run.

In commands, settings and the files of `configurations` these words stand for what is only known at the
start: @FOLDER@ for a temporary folder, @PORT@ and @ADMIN_PORT@ for free ports. A file says what is
between `# log` and `# end of log` only where the log is on.
"""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
CONFIGURATIONS = HERE / "configurations"

# Where Caddy keeps what it is asked not to keep.
KEEPING_NOTHING = {"XDG_DATA_HOME": "@FOLDER@", "XDG_CONFIG_HOME": "@FOLDER@"}

_LOG = re.compile(r"^\s*# log\n.*?# end of log\n", re.DOTALL | re.MULTILINE)


class Server(NamedTuple):
    name: str
    command: tuple[str, ...]
    files: Mapping[str, str] = {}  # in @FOLDER@
    environment: Mapping[str, str] = {}
    ready: str = "http://127.0.0.1:@PORT@/"  # gives 200 or a redirect once the server serves
    forwards: bool = False  # answers 200, where others redirect

    @property
    def program(self) -> str:
        return self.command[0]


def configured(name: str, command: str, file: str, *, log: bool) -> Server:
    """A server that is not ours, with its file of `configurations`."""
    text = (CONFIGURATIONS / file).read_text()
    return Server(
        name + (", JSON log" if log else ", no log"),
        tuple(command.split()),
        {file: text if log else _LOG.sub("", text)},
        KEEPING_NOTHING,
    )


def redirect(name: str, pools: str, *, workers: int = 1, launcher: tuple[str, ...] = ("-m", "redirect")) -> Server:
    """The service as it ships, over a TOML. Connections stay open however long others are measured."""
    settings = {
        "REDIRECT_POOLS_CONFIG_PATH": "@FOLDER@/pools.toml",
        "REDIRECT_SERVER_HOST": "127.0.0.1",
        "REDIRECT_SERVER_PORT": "@PORT@",
        "REDIRECT_ADMIN_BIND": "127.0.0.1:@ADMIN_PORT@",
        "REDIRECT_WORKERS": str(workers),
        "REDIRECT_ACCESS_LOG": "@FOLDER@/access.log",
        "REDIRECT_KEEPALIVE": "3600",
    }
    ready = "http://127.0.0.1:@ADMIN_PORT@/readyz"
    return Server(name, (sys.executable, *launcher, "serve"), {"pools.toml": pools}, settings, ready)


POOLS = (CONFIGURATIONS / "pools.toml").read_text()
NGINX_COMMAND = "nginx -p @FOLDER@ -e stderr -c @FOLDER@/nginx.conf"
HAPROXY_COMMAND = "haproxy -f @FOLDER@/haproxy.cfg"
CADDY_COMMAND = "caddy run --config @FOLDER@/Caddyfile --adapter caddyfile"

OURS = redirect("Redirect", POOLS)
STARLETTE = redirect("Redirect, Starlette front", POOLS, launcher=(str(HERE / "starlette_front.py"),))
PURE_PYTHON = redirect("Redirect, pure Python", POOLS, launcher=(str(HERE / "pure_python.py"),))
NGINX = configured("nginx", NGINX_COMMAND, "nginx.conf", log=True)
NGINX_NO_LOG = configured("nginx", NGINX_COMMAND, "nginx.conf", log=False)
HAPROXY = configured("HAProxy", HAPROXY_COMMAND, "haproxy.cfg", log=True)
HAPROXY_NO_LOG = configured("HAProxy", HAPROXY_COMMAND, "haproxy.cfg", log=False)
CADDY = configured("Caddy", CADDY_COMMAND, "Caddyfile", log=True)
CADDY_NO_LOG = configured("Caddy", CADDY_COMMAND, "Caddyfile", log=False)
CONSTANT = Server("a constant from uvloop", (sys.executable, str(HERE / "constant.py"), "@PORT@"))
