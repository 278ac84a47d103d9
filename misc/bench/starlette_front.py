"""The service with the fast front taken away: `starlette_front.py serve` is `redirect serve` on Starlette.

The connection without the fast path gives every request to the app; nothing else differs.
"""

from redirect.commands.main import cli
from redirect.edge.connection import HttpConnection
from redirect.processes.worker import RedirectWorker

if __name__ == "__main__":
    RedirectWorker.CONFIG_KWARGS = {**RedirectWorker.CONFIG_KWARGS, "http": HttpConnection}
    cli()
