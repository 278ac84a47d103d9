"""Makes the TOML of what the environment says, and becomes the gateway.

Not by `configs: content:` of compose: a container whose files are read-only cannot get them, and compose cannot take a
URL apart.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from string import Template
from urllib.parse import urlsplit

TEMPLATE = Path(__file__).with_name("smart.toml.template")
TOML = Path("/tmp/smart.toml")  # noqa: S108  in a container of its own


def toml(settings: Mapping[str, str]) -> str:
    """The TOML; what a value must be is checked by the gateway. Raises ValueError if the URL is none."""
    url = urlsplit(settings["REMOTE_URL"])
    if url.scheme not in ("http", "https") or not url.hostname or "@" in url.netloc or url.query or url.fragment:
        form = "must be such as https://remote.example.com/api/work, without a query"
        raise ValueError(f"REMOTE_URL: {form}, got {settings['REMOTE_URL']!r}")
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        scheme=url.scheme,
        host=url.netloc,
        path=url.path or "/",
        timeout=settings["REQ_TIMEOUT"],
        limit=settings["REQ_LIMIT"],
    )


if __name__ == "__main__":
    try:
        TOML.write_text(toml(os.environ), encoding="utf-8")
    except ValueError as error:
        sys.exit(str(error))
    os.execvp("redirect", ["redirect", "serve", "--config", str(TOML)])  # noqa: S606, S607  the image's own program
