"""Lines of the log as container engines keep and print them.

    {"log":"{...}\\n","stream":"stdout","time":"..."}     a file of docker's driver json-file
    2026-11-20T19:43:07.002Z stdout F {...}              a file of containerd or CRI-O; P is a part of a line
    redirect-1  | {...}                                  what `docker compose logs` prints, or anything else that
                                                         stands before an object, with a space between

The rule: what is left is the lines that the service wrote. Those of standard error are its error log, not this one.
"""

import io
import re

from pydantic_core import from_json

_DOCKER = b'{"log":'
_RECORD = b'{"time":'
_CRI = re.compile(rb"\S+ (stdout|stderr) ([FP])\S* ")
# compose may color its prefix (`--ansi always`), or erase the line of a terminal that it does not have.
_PREFIX = re.compile(rb"(?:[^{]* )?(?:\x1b\[[0-9;]*[A-Za-z])*(?={)")


class Unwrapper:
    """Takes the blocks of one file, in their order; a part of a line waits for the rest of it."""

    def __init__(self) -> None:
        self._part = b""

    def unwrap(self, block: bytes) -> bytes:
        if block.startswith(_RECORD) and block.count(b"\n" + _RECORD) + 1 == block.count(b"\n"):
            return block
        return b"".join(map(self._line, io.BytesIO(block)))

    def _line(self, line: bytes) -> bytes:
        if line.startswith(_DOCKER):
            return self._of_docker(line)
        if line.startswith(b"{"):
            return line
        if match := _CRI.match(line):
            return self._joined(match[1], line[match.end() :], is_part=match[2] == b"P")
        return line[match.end() :] if (match := _PREFIX.match(line)) else line

    def _of_docker(self, line: bytes) -> bytes:
        try:
            entry = from_json(line)
            content = entry["log"].encode()
        except (ValueError, AttributeError):
            return line
        return self._joined(str(entry.get("stream")).encode(), content, is_part=not content.endswith(b"\n"))

    def _joined(self, stream: bytes, content: bytes, is_part: bool) -> bytes:
        if stream == b"stderr":
            return b""
        if is_part:
            self._part += content.removesuffix(b"\n")
            return b""
        whole, self._part = self._part + content, b""
        return whole


def is_wrapped(begin: bytes) -> bool:
    """Whether the first line of a file, which begins so, is another's around the service's."""
    return begin.startswith(_DOCKER) or not begin.startswith(b"{")
