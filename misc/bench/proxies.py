"""The proxies that forwarding is measured with: a row for each, with its files of `configurations/forwarding`.

Each has one process or thread that forwards, connections to the origin that are kept, a JSON access log, and writes
X-Forwarded-* of its own. @ORIGIN_PORT@ in a file stands for the port of the origin.
"""

import sys

import servers
from servers import Server

CONFIGURATIONS = servers.CONFIGURATIONS / "forwarding"
OURS = "Redirect"
NGINX = "nginx"
FILES = {
    OURS: ("pools.toml",),
    NGINX: ("nginx.conf",),
    "HAProxy": ("haproxy.cfg",),
    "Caddy": ("Caddyfile",),
    "Traefik": ("traefik.yaml", "routes.yaml"),
    "Envoy": ("envoy.yaml",),
}
COMMANDS = {
    NGINX: servers.NGINX_COMMAND,
    "HAProxy": servers.HAPROXY_COMMAND,
    "Caddy": servers.CADDY_COMMAND,
    "Traefik": "traefik --configFile=@FOLDER@/traefik.yaml",
    "Envoy": "envoy -c @FOLDER@/envoy.yaml --concurrency 1 --disable-hot-restart --log-level error",
}

ORIGIN = Server(
    "the origin",
    tuple(servers.NGINX_COMMAND.split()),
    {
        "nginx.conf": (CONFIGURATIONS / "origin.conf").read_text().replace("@1KIB@", "x" * 1024),
        "1mib": "x" * 1024 * 1024,
    },
    forwards=True,
)
TUNNEL_ORIGIN = Server(
    "the origin of tunnels", (sys.executable, str(servers.HERE / "tunnel_origin.py"), "@PORT@"), forwards=True
)


def forwarding_to(port: int) -> list[Server]:
    return [_proxy(name, port) for name in FILES]


def _proxy(name: str, port: int) -> Server:
    files = {file: (CONFIGURATIONS / file).read_text().replace("@ORIGIN_PORT@", str(port)) for file in FILES[name]}
    if name == OURS:
        return servers.redirect(name, files["pools.toml"])._replace(forwards=True)
    return Server(name, tuple(COMMANDS[name].split()), files, servers.KEEPING_NOTHING, forwards=True)
