"""Lines as container engines keep and print them are read as those that the service wrote."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.log_lines import line, run

from redirect.commands.logs import files
from redirect.commands.logs.follow import tail
from redirect.commands.logs.progress import Progress

TIME = "2026-11-20T19:43:07.002123456Z"
LINES = [line(path=f"/{each}", user_agent='a { "b" | c') for each in range(3)]
ERROR = b"2026-11-20 19:43:07 [WARNING] a message {of the error log}\n"


def of_docker(content: bytes, stream: str = "stdout") -> bytes:
    return json.dumps({"log": content.decode(), "stream": stream, "time": TIME}).encode() + b"\n"


def of_cri(content: bytes, stream: str = "stdout", tag: str = "F") -> bytes:
    return f"{TIME} {stream} {tag} ".encode() + content.removesuffix(b"\n") + b"\n"


# What else stands before a line.
PREFIXES = {
    "compose": b"redirect-12  | ",
    "compose where it erases the line of a terminal that there is not": b"\x1b[2K\x1b[2K",
    "compose --ansi always": b"\x1b[36mredirect-12  | \x1b[0m",
    "compose logs --timestamps": b"redirect-1  | %b " % TIME.encode(),
    "kubectl": b"[pod/redirect-5c9d/redirect] ",
}
WRAPPINGS = pytest.mark.parametrize(
    "wrap", [of_docker, of_cri, *(pytest.param(prefix.__add__, id=name) for name, prefix in PREFIXES.items())]
)


@WRAPPINGS
@pytest.mark.parametrize("is_packed", [False, True])
def test_each_command_reads_wrapped_lines(log: Path, wrap: Callable[[bytes], bytes], is_packed: bool) -> None:
    content = b"".join(map(wrap, LINES))
    path = log.with_suffix(".jsonl.gz") if is_packed else log
    path.write_bytes(gzip.compress(content) if is_packed else content)
    assert run("--json", path.name).stdout_bytes == b"".join(LINES)
    assert json.loads(run("report", "top", "--json", path.name).stdout)["records"] == 3
    assert run("query", "--csv", "SELECT count(*) AS n FROM access", path.name).stdout == "n\n3\n"
    if not is_packed:
        with path.open("rb") as file:
            assert next(tail(file)) == b"".join(LINES)


@WRAPPINGS
def test_wrapped_lines_are_read_from_standard_input(log: Path, wrap: Callable[[bytes], bytes]) -> None:
    content = b"".join(map(wrap, LINES))
    assert run("--json", "-", content=content).stdout_bytes == b"".join(LINES)
    assert run("query", "--csv", "SELECT max(path) AS m FROM access", "-", content=content).stdout == "m\n/2\n"


@pytest.mark.parametrize("wrap", [of_docker, of_cri])
def test_lines_of_standard_error_are_no_lines_of_the_log(log: Path, wrap: Callable[..., bytes]) -> None:
    log.write_bytes(wrap(ERROR, "stderr") + wrap(LINES[0]) + wrap(ERROR, "stderr"))
    shown = run("--json", "access.jsonl")
    assert (shown.stdout_bytes, shown.stderr) == (LINES[0], "")


@pytest.mark.parametrize("size", [200, files.BLOCK_BYTES])
@pytest.mark.parametrize(
    "parts",
    [
        of_docker(LINES[0][:100]) + of_docker(ERROR, "stderr") + of_docker(LINES[0][100:]),
        of_cri(LINES[0][:100], tag="P") + of_cri(ERROR, "stderr") + of_cri(LINES[0][100:], tag="F"),
    ],
    ids=["docker", "cri"],
)
def test_parts_of_a_line_are_joined(log: Path, monkeypatch: pytest.MonkeyPatch, parts: bytes, size: int) -> None:
    """Across blocks, too, and with lines of the other stream between them."""
    monkeypatch.setattr(files, "BLOCK_BYTES", size)
    log.write_bytes(parts)
    assert b"".join(files.blocks("access.jsonl", Progress(0))) == LINES[0]


@pytest.mark.parametrize("broken", [b'{"log":\n', b'{"log":1}\n', b'{"log":"x\n', b"x y {\n", b"{\n"])
def test_what_is_no_line_of_an_engine_is_left_out_and_counted(log: Path, broken: bytes) -> None:
    log.write_bytes(of_docker(LINES[0]) + broken + LINES[1])
    shown = run("--json", "access.jsonl")
    assert (shown.stdout_bytes, shown.stderr) == (LINES[0] + LINES[1], "1 line is no access record and was left out\n")
