"""The README and the documents are true: every command that they show is run, and every response compared.

`make run` is started as the README says, and the console blocks are run against it. What needs a container engine is
run by tests/e2e; `make test` runs this.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
from support.admin import every_metric
from support.corpus import CORPUS
from support.logged import KEYS, write_log
from support.service import ROOT, environment, free_port, is_ready, wait_for
from support.toml import load

from redirect.commands.serve import serve
from redirect.config import schema
from redirect.config.loader import parse_config
from redirect.config.settings import Settings
from redirect.core.cors import Cors
from redirect.core.decision import Decision
from redirect.core.discovery import Discover
from redirect.core.forward import Forward
from redirect.core.pools import Ejection, HealthCheck
from redirect.core.routes import Caching, RequestLimit, Response, Timeouts
from redirect.core.service import new_service
from redirect.core.wording import shown
from redirect.telemetry import access_log, failure_log

PATHS = [
    *(ROOT / each for each in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
]
DOCUMENTS = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in PATHS}
README = DOCUMENTS["README.md"]
CONFIGURATION = DOCUMENTS["docs/configuration.md"]
OPERATIONS = DOCUMENTS["docs/operations.md"]
SOURCE = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "redirect").rglob("*.py")))


class Shown(NamedTuple):
    """A command of a document and what it prints there."""

    document: str
    command: str
    output: str


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENTS[document], re.DOTALL | re.MULTILINE)


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the table in `text` that begins with `heading`, without its first two lines."""
    table = text[text.index(f"| {heading} |") :].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def name(cell: str) -> str:
    return cell.strip("`")


CONSOLE = [
    Shown(document, *each.groups())
    for document in DOCUMENTS
    for block in blocks(document, "console")
    for each in re.finditer(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
]


def pattern(output: str) -> str:
    """What a command may print where a document shows `output`: another date, another origin of the pool."""
    escaped = re.escape(output)
    escaped = re.sub(r"date:\\ .*", "date: .*", escaped)
    escaped = re.sub(r"(x\\-request\\-id:\\ )\w+", r"\1[0-9a-f]{32}", escaped)
    return re.sub(r"(location:\\ http://origin\\-)\d", r"\1[456]", escaped)


class Made(NamedTuple):
    """`make run`: its input, which is a terminal's, and how to reach what it serves."""

    process: subprocess.Popen[str]
    port: int
    admin_port: int


# A terminal around a command: what comes in on standard input is typed there.
TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


@pytest.fixture(scope="module")
def made() -> Iterator[Made]:
    """`make run` at a terminal, with ports of its own."""
    port, admin_port = free_port(), free_port()
    venv = f"VENV={sys.prefix}"
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            TERMINAL,
            "make",
            "--no-print-directory",
            "run",
            venv,
            f"--old-file={sys.prefix}/.ready-run",
        ],
        cwd=ROOT,
        env=environment(REDIRECT_SERVER_PORT=str(port), REDIRECT_ADMIN_BIND=f"127.0.0.1:{admin_port}"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        wait_for(lambda: is_ready(f"http://127.0.0.1:{admin_port}") or process.poll() is not None)
        yield Made(process, port, admin_port)
    finally:
        if process.poll() is None:
            process.communicate("\x03", timeout=30)


def run(command: str, made: Made, folder: Path) -> str:
    """What `command` prints, on standard output and error, with its own ports instead of the README's."""
    own = command.replace("localhost:8080", f"localhost:{made.port}").replace(
        "localhost:9000", f"localhost:{made.admin_port}"
    )
    if "access.jsonl" in command:
        write_log(folder / "access.jsonl")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environ = environment(PATH=path, REDIRECT_POOLS_CONFIG_PATH=str(ROOT / "redirect_pools_config.toml"))
    ended = subprocess.run(
        ["bash", "-c", own], cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    return ended.stdout.decode().replace("\r\n", "\n")


def test_the_readme_shows_how_to_use_it() -> None:
    shown = [shown.command for shown in CONSOLE if shown.document == "README.md"]
    assert any(command.startswith("curl -si -H 'X-Redirect-Pool-ID: ") for command in shown)
    assert "redirect check" in shown
    assert "docker compose up" in README
    assert any("def test_distribution" in path.read_text() for path in (ROOT / "tests").glob("*/*.py"))
    assert "pytest -k distribution" in README


@pytest.mark.processes
@pytest.mark.parametrize("shown", CONSOLE, ids=[f"{shown.document}: {shown.command[:40]}" for shown in CONSOLE])
def test_commands_print_what_is_shown(shown: Shown, made: Made, tmp_path: Path) -> None:
    printed = run(shown.command, made, tmp_path)
    assert re.fullmatch(pattern(shown.output.rstrip("\n")), printed.rstrip("\n")), printed


def test_the_table_of_metrics_has_every_metric_with_its_labels() -> None:
    exposed = every_metric()
    kinds = re.findall("^# TYPE ([^ ]+)", exposed, re.MULTILINE)
    labels = {
        metric.removesuffix("_count"): set(re.findall(r'(\w+)="', labelled))
        for metric, labelled in re.findall(r"^(\w+){(.*)}", exposed, re.MULTILINE)
    }
    table = rows(OPERATIONS, "metric")
    assert [name(cells[0]) for cells in table] == kinds
    assert {name(cells[0]): set(re.findall(r"\w+", cells[1])) for cells in table if cells[1]} == {
        metric: names for metric, names in labels.items() if metric in kinds
    }


@pytest.mark.processes
def test_make_run_ends_with_ctrl_c(made: Made) -> None:
    """Ctrl-C at the terminal ends `make run` with exit code 0."""
    assert made.process.poll() is None
    output, _ = made.process.communicate("\x03", timeout=30)
    assert made.process.returncode == 0, output
    assert "make: ***" not in output


@pytest.mark.processes
def test_make_run_ends_with_term() -> None:
    """TERM to `make run` where there is no terminal, as a supervisor sends it, ends the service too."""
    port, admin_port = free_port(), free_port()
    process = subprocess.Popen(
        ["make", "run", f"VENV={sys.prefix}", f"--old-file={sys.prefix}/.ready-run"],
        cwd=ROOT,
        env=environment(REDIRECT_SERVER_PORT=str(port), REDIRECT_ADMIN_BIND=f"127.0.0.1:{admin_port}"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    wait_for(lambda: is_ready(f"http://127.0.0.1:{admin_port}") or process.poll() is not None)
    process.terminate()
    output, _ = process.communicate(timeout=30)  # ends when the last process that holds the pipe does
    assert b"Shutting down: Master" in output


@pytest.mark.processes
def test_what_make_installs(tmp_path: Path) -> None:
    """`make run` installs what serving needs, `make test` the developers' packages, and each leaves the other's work
    alone."""

    def installs(target: str) -> list[str]:
        command = ["make", "--dry-run", target, f"VENV={tmp_path}"]
        shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        return re.findall(r"pip install .* -e (\S+)$", shown, re.MULTILINE)

    assert installs("run") == ["."]
    (tmp_path / ".ready-run").touch()
    assert installs("run") == []
    assert installs("test") == ["'.[dev]'"]
    (tmp_path / ".ready-dev").touch()
    assert installs("run") == installs("test") == []


def test_the_toml() -> None:
    """Each TOML that is shown is one, and shows what the text says of it."""
    shown, moving = (parse_config(block.encode(), "README.md") for block in blocks("README.md", "toml"))
    assert shown.default is not None
    assert [origin.weight for origin in shown.default.origins] == [3, 2, 1]
    assert [route.forward_to for route in shown.routes] == ["api"]
    assert shown.pools["api"].discover == Discover("api", port=8080)
    assert shown.warnings == ()
    assert moving.default is not None
    assert moving.default.on_loop == "stay"
    shared, probed, found, ejecting, routed, secured = (
        parse_config(block.encode(), "docs/configuration.md") for block in blocks("docs/configuration.md", "toml")
    )
    for config in (shared, probed, found, ejecting, routed):
        assert config.warnings == ()
    assert ejecting.pools["api"].eject == Ejection(3, 10)
    assert probed.pools["downloads"].health_check is not None
    assert [route.action for route in routed.routes] == ["forward_to", "redirect_to", "show", "respond"]
    assert secured.warnings == ()
    assert load(ROOT / "redirect_pools_config.toml").warnings == ()


@pytest.mark.parametrize(
    ("target", "does"),
    [
        ("/.well-known/acme-challenge/x", "forward"),
        ("/robots.txt", "200"),
        ("/favicon.ico", "404"),
        ("/", "https://www.example.com/"),
        ("/a?b", "https://www.example.com/a?b"),
    ],
)
def test_the_recipe_for_https_redirects_a_host_to_itself_but_for_some_paths(target: str, does: str) -> None:
    config = parse_config(blocks("docs/configuration.md", "toml")[-1].encode(), "docs/configuration.md")
    decision = new_service(config, Random(1)).decide_by_route("GET", target, None, "http", ("www.example.com", 80))
    if isinstance(decision, Decision):
        assert (decision.location(target) or str(decision.status)) == does
    else:
        assert (isinstance(decision, Forward), does) == (True, "forward")


@pytest.mark.parametrize(
    ("heading", "keys"),
    [
        ("key of a pool", schema.POOL_KEYS),
        ("key of an origin", schema.ORIGIN_KEYS),
        ("key of `cors`", schema.keys_of(Cors)),
        ("key of `health_check`", schema.keys_of(HealthCheck)),
        ("key of `eject`", schema.keys_of(Ejection)),
        ("key of `discover`", schema.keys_of(Discover)),
        ("key of a route", schema.ROUTE_KEYS),
        ("key of `timeouts`", schema.keys_of(Timeouts)),
        ("key of `limit`", schema.keys_of(RequestLimit)),
        ("key of `cache`", schema.keys_of(Caching)),
        ("key of `respond`", schema.keys_of(Response)),
    ],
)
def test_the_table_of_keys_has_every_key_with_its_default_and_help_text(
    heading: str, keys: dict[str, schema.Key]
) -> None:
    table = rows(CONFIGURATION, heading)
    assert [(name(key), meaning) for key, _, meaning in table] == [(each, keys[each].help) for each in keys]
    for key, default, _ in table:
        value = keys[name(key)].default
        assert value in (None, ..., (), (200,), Timeouts()) or name(default) == shown(value), key  # or said in words


def test_the_record_has_every_key_in_order() -> None:
    (block,) = blocks("README.md", "json")
    assert list(json.loads(block)) == KEYS
    shown = [(name(key), meaning.replace("`", "")) for key, meaning in rows(DOCUMENTS["docs/logs.md"], "key")]
    assert shown == [(key.name, key.meaning) for key in access_log.KEYS]
    assert [name(key) for key, _, _ in rows(DOCUMENTS["docs/logs.md"], "our key")] == KEYS


def test_the_tables_of_the_error_log_have_every_key_and_cause_in_order() -> None:
    shown = [(name(key), meaning) for key, meaning in rows(DOCUMENTS["docs/logs.md"], "key of a line")]
    assert shown == [(key.name, key.meaning) for key in failure_log.KEYS]
    shown = [(name(what), meaning) for what, meaning in rows(DOCUMENTS["docs/logs.md"], "what")]
    assert shown == [(what.name, what.meaning) for what in failure_log.WHATS]


def test_the_table_of_settings_has_every_setting_with_its_option_and_default() -> None:
    table = rows(OPERATIONS, "option of `serve`")
    shown = {name(variable): name(default) for _, variable, default, _ in table}
    fields = {
        "FORWARDED_ALLOW_IPS" if field == "forwarded_allow_ips" else f"REDIRECT_{field.upper()}": info
        for field, info in Settings.model_fields.items()
    }
    assert shown.keys() == fields.keys()
    computed = {"REDIRECT_WORKERS": "cores it may use", "REDIRECT_ADMIN_TOKEN": "", "REDIRECT_STATE_DIR": ""}
    assert shown == {variable: computed.get(variable, str(info.default)) for variable, info in fields.items()}
    for _, variable, _, meaning in table:
        description = fields[name(variable)].description
        assert description in (None, meaning.replace("`", ""))
    options = {option for parameter in serve.params for option in parameter.opts}
    assert options <= {name(option) for option, *_ in table}


@pytest.mark.parametrize("document", ["docs/architecture.md", "CONTRIBUTING.md", "README.md"])
def test_every_name_of_the_code_is_in_the_code(document: str) -> None:
    """What is in backticks: `wing/module.py` is a file, `Class.method` and `function` stand in the source."""
    quoted = re.findall("`([^`\n]+)`", re.sub("```.*?```", "", DOCUMENTS[document], flags=re.DOTALL))
    files = [each for each in quoted if each.endswith(".py")]
    names = [each for each in quoted if re.fullmatch(r"_?[A-Z]\w*(\.\w+)?|_?[a-z]\w*\(\)|[a-z]+(_[a-z]+)+", each)]
    assert [each for each in files if not (ROOT / each).exists() and not (ROOT / "redirect" / each).exists()] == []
    words = {*re.findall(r"\w+", SOURCE)}
    assert [each for each in names if not words >= {*re.findall(r"\w+", each)}] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", DOCUMENTS[document])
    assert [link for link in links if not (ROOT / document).parent.joinpath(link).exists()] == []


def test_the_index_of_decisions_has_every_record() -> None:
    index = DOCUMENTS["docs/decisions/README.md"]
    assert [
        document for document in DOCUMENTS if re.search(r"/\d{4}-", document) and Path(document).name not in index
    ] == []


def test_the_hostile_requests() -> None:
    """There are as many hostile requests as it says."""
    assert f" {len(CORPUS)} requests of the kind" in OPERATIONS


@pytest.mark.processes
def test_every_target_of_make_is_there() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = {line.partition(" - ")[0] for line in listed.splitlines()}
    named = {target for text in DOCUMENTS.values() for target in re.findall(r"`make ([a-z0-9-]+)\b", text)}
    assert named | {*re.findall(r"^    make ([a-z0-9-]+)", README, re.MULTILINE)} <= targets


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 180
