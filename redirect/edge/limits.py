"""The limits of a connection: sizes, times, and the refusals of requests that exceed them.

docs/operations.md has the same table. Where a value was chosen for a reason, the reason stands here.
"""

from redirect.core.decision import Decision

MAX_REQUEST_LINE_BYTES = 8 * 1024
MAX_HEADER_BYTES = 32 * 1024
MAX_HEADER_FIELDS = 100
MAX_BODY_BYTES = 64 * 1024

# Bytes that are fed to the parser at once, for two reasons. The parser joins the parts of a field again and again,
# so a field has to be refused before it is complete: chunks that complete nothing are counted. And a client may
# pipeline without end: nothing is fed while requests wait, so at most one chunk of requests does.
MAX_FED_BYTES = 4 * 1024

# The same while the bytes are a body of known length that is passed on. No more, as requests may follow it.
MAX_PASSED_BYTES = 64 * 1024

# For a client that has to act: to complete a head, from its first byte on; to send more of a body; to read any of
# what waits for it; and to send its first byte, as in nginx. Browsers that connect in advance connect again.
CLIENT_TIMEOUT_SECONDS = 10.0

# Between two checks of a client that has bytes to read: nothing else shows whether it reads any.
READ_CHECK_SECONDS = 1.0

# For a client that was too late to read the 408.
LATE_SECONDS = 0.5

# For a client that may still be sending to read the last response, from the last byte that it sent. Closing with unread
# bytes makes the kernel reset the connection, and the response is lost.
LINGER_SECONDS = 2.0

# For all of what a client sends of a body that is not passed on, however steadily, as nginx's lingering_time. The first
# is a chunked body or one that was answered, from its first byte on; the second what comes behind the last response.
BODY_SECONDS = 30.0
ALL_LINGER_SECONDS = 30.0

# For which a connection stays open between requests while its worker stops, or half of the worker's own time to
# stop if that is less. A client that sends a request meanwhile gets a response that closes the connection.
DRAIN_SECONDS = 2.0


def refusal(status: int, detail: str) -> Decision:
    return Decision(status, detail=detail, close=True)


def malformed(error: Exception) -> Decision:
    return refusal(400, f"the request is malformed: {error}")


def unknown_method(method: bytes) -> Decision:
    return refusal(501, f"the method {method.decode()} is not known here")


HEAD_TIMEOUT = refusal(408, f"the request's head did not end within {CLIENT_TIMEOUT_SECONDS:g} seconds")
BODY_TIMEOUT = refusal(408, f"the request's body did not go on for {CLIENT_TIMEOUT_SECONDS:g} seconds")
BODY_TOO_SLOW = refusal(408, f"the request's body did not end within {BODY_SECONDS:g} seconds")
LINE_TOO_LONG = refusal(414, f"the request line is longer than {MAX_REQUEST_LINE_BYTES} bytes")
FIELD_TOO_LONG = refusal(431, f"{MAX_HEADER_BYTES} bytes came without completing a header field")
_MOST = f"{MAX_HEADER_FIELDS} fields or {MAX_HEADER_BYTES} bytes"
HEADERS_TOO_LARGE = refusal(431, f"the header section has more than {_MOST}")
