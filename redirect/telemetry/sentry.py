"""Sends what the error log says at level error to Sentry, or to what speaks as it does.

The rule: nothing about a request is sent that the access log may not have. No request, local variable or environment is
looked at; what is masked in the log may still be in a message or in the text of an exception, so only the message's
template and the exception's type are sent then. Nothing waits: a thread per process sends, and drops over a hundred.
"""

import socket
from importlib import metadata

import sentry_sdk
from sentry_sdk.integrations.atexit import AtexitIntegration
from sentry_sdk.integrations.logging import LoggingIntegration
from sentry_sdk.types import Event, Hint

# For the last events of a process that ends.
FLUSH_SECONDS = 1


def begin(dsn: str, *, is_masked: bool) -> None:
    """Begins in this process and in those that it forks. Raises ValueError for a bad DSN."""
    sentry_sdk.init(
        dsn,
        release=f"redirect@{metadata.version('redirect')}",
        server_name=socket.gethostname(),
        # Others look at requests, arguments and frameworks.
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[LoggingIntegration(level=None), AtexitIntegration(callback=lambda *_: None)],
        include_local_variables=False,
        max_breadcrumbs=0,
        auto_session_tracking=False,
        send_client_reports=False,
        shutdown_timeout=FLUSH_SECONDS,
        before_send=_mask if is_masked else None,
    )


def _mask(event: Event, _: Hint) -> Event:
    if "logentry" in event:
        event["logentry"] = {"message": event["logentry"].get("message")}
    for exception in event.get("exception", {}).get("values", []):
        exception["value"] = None
    return event
