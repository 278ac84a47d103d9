"""`redirect init`: writes a TOML to begin with."""

import click

from redirect.commands.loading import leave, read_settings

TEMPLATE = """\
# Pools of origins, and what becomes of requests. `redirect check` validates this file, and a running service takes
# changes by itself. All keys are in docs/configuration.md.

[main]
# Hosts, with a port if it is not that of the scheme, and their weights: the first gets two requests of three, and one
# with weight 0 gets none.
weighted_hosts = { "origin-1.example.com" = 2, "origin-2.example.com" = 1 }
# Of the redirects: 301, 302, 303, 307 or 308.
status = 302
# Requests that name no pool in X-Redirect-Pool-ID, or an unknown one.
is_default = true
# Origins that do not answer this with 200 are left out.
# health_check = { path = "/healthz", interval = 5 }

# Another pool, for requests that name it.
# [canary]
# weighted_hosts = { "canary.example.com" = 1 }

# Requests of which something else becomes: they are forwarded, or answered at once. The most specific route counts.
# [[routes]]
# path_prefix = "/api"
# forward_to = "api"
#
# [[routes]]
# path = "/robots.txt"
# respond = { status = 200, body = "User-agent: *\\nDisallow: /\\n" }
#
# [api]
# weighted_hosts = { "api-1:8080" = 1 }
"""


@click.command()
@click.argument("file", required=False, type=click.Path())
def init(file: str | None) -> None:
    """Write a TOML to begin with, with comments. A file that is there stays as it is; - is standard output."""
    path = read_settings("pools_config_path", pools_config_path=file).pools_config_path
    if str(path) == "-":
        click.echo(TEMPLATE, nl=False)
        return
    try:
        with path.open("x", encoding="utf-8") as new:
            new.write(TEMPLATE)
    except FileExistsError:
        leave(1, f"{path} is there already, and stays as it is")
    except OSError as error:
        leave(1, f"{path} cannot be written: {error.strerror}; name another file")
    click.echo(f"{path} is written: name your hosts in it, and then see `redirect check` and `redirect serve`")
