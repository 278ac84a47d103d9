"""The service with the fast front taken away: `starlette_front.py serve` is `redirect serve` on Starlette.

The guard alone hands every request to uvicorn and the app; nothing else differs.
"""

from redirect.cli import cli
from redirect.guard import Guard
from redirect.worker import RedirectWorker

if __name__ == "__main__":
    RedirectWorker.CONFIG_KWARGS = {**RedirectWorker.CONFIG_KWARGS, "http": Guard}
    cli()
