"""An nginx for a test: what stands around its servers, with all its files in a folder of the test."""

from pathlib import Path

_AROUND = """\
daemon off;
user root;  # the files are ours alone
pid {folder}/{name}.pid;
error_log {folder}/{name}.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/{name}-body;
    proxy_temp_path {folder}/{name}-proxy;
    fastcgi_temp_path {folder}/{name}-fastcgi;
    scgi_temp_path {folder}/{name}-scgi;
    uwsgi_temp_path {folder}/{name}-uwsgi;
{servers}
}}
"""


def nginx_conf(folder: Path, servers: str, name: str = "nginx") -> str:
    """A configuration with these `servers`, and with what else stands in `http`."""
    return _AROUND.format(folder=folder, name=name, servers=servers)
