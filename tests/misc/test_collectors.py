"""The collectors of misc/logs agree, with each other and with what they need: the tag of each replica, and the tables.
`make logs` runs syslog-ng; of the others no program is to be had there."""

import re
import tomllib
from typing import Any

import pytest
from ruamel.yaml import YAML
from support.service import ROOT

LOGS = ROOT / "misc/logs"
SYSLOG_NG = (LOGS / "syslog-ng.conf").read_text()
FLUENT_BIT = YAML(typ="safe").load(LOGS / "fluent-bit.yaml")["pipeline"]
VECTOR = tomllib.loads((LOGS / "vector.toml").read_text())
COMPOSE, STACK = (
    YAML(typ="safe").load(ROOT / name)["services"] for name in ("docker-compose.yml", "misc/swarm/stack.yml")
)
COLLECTOR = COMPOSE["collector"]
SQL = re.sub(r"--.*", "", (LOGS / "clickhouse.sql").read_text())


def test_all_read_what_docker_writes_of_containers_with_the_tag() -> None:
    (tail,) = FLUENT_BIT["inputs"]
    assert VECTOR["sources"]["files"]["include"] == [tail["path"]] == ["/var/lib/docker/containers/*/*-json.log"]
    assert FLUENT_BIT["filters"][0]["regex"] == ["$stream ^stdout$", "$attrs['tag'] ^redirect$"]
    assert 'engine.attrs.tag != "redirect" || engine.stream != "stdout"' in VECTOR["transforms"]["lines"]["source"]
    assert '"${.engine.attrs.tag}" eq "redirect" and "${.engine.stream}" eq "stdout"' in SYSLOG_NG


def test_all_leave_out_what_is_no_object_with_a_time() -> None:
    assert FLUENT_BIT["filters"][-1] == {"name": "grep", "match": "*", "regex": "time ^[0-9]"}
    assert "parse_json!(string!(engine.log))" in VECTOR["transforms"]["lines"]["source"]
    assert "if !is_string(.time)" in VECTOR["transforms"]["lines"]["source"]
    assert r"""match('^\{(?=.*"time":")""" in SYSLOG_NG
    assert "filter(access); filter(object);" in SYSLOG_NG


def test_all_insert_in_the_same_way() -> None:
    (output,) = FLUENT_BIT["outputs"]
    (url,) = re.findall(r'url\("`CLICKHOUSE_URL`(.*)"\)', SYSLOG_NG)
    assert re.sub("`(.*?)`", r"${\1}", url) == output["uri"]
    sink = VECTOR["sinks"]["clickhouse"]
    assert f"INSERT%20INTO%20{sink['table']}%20" in url
    assert sink["date_time_best_effort"] is sink["skip_unknown_fields"] is True


def test_the_collector_has_all_that_its_configuration_takes_from_the_environment() -> None:
    assert set(re.findall("`([A-Z_]+)`", SYSLOG_NG)) == COLLECTOR["environment"].keys()


@pytest.mark.parametrize("services", [pytest.param(COMPOSE, id="compose"), pytest.param(STACK, id="swarm")])
def test_replicas_have_the_tag_that_collectors_ask_for_and_nothing_else_has_it(services: dict[str, Any]) -> None:
    tags = {name: service["logging"]["options"].get("tag") for name, service in services.items()}
    assert {name for name, tag in tags.items() if tag} == {"redirect"}
    assert tags["redirect"] == "redirect"
    assert services["redirect"]["logging"]["driver"] == "json-file"


def test_the_tables_are_in_the_collectors_database_however_the_file_is_run() -> None:
    """The entrypoint of ClickHouse's image runs it in `default`, whatever CLICKHOUSE_DB is."""
    database = COLLECTOR["environment"]["CLICKHOUSE_DB"]
    assert re.findall(r"CREATE DATABASE IF NOT EXISTS (\w+);", SQL) == [database]
    named = re.findall(r"(?:(?:TABLE|VIEW) IF NOT EXISTS|FROM) (\S+)", SQL)
    assert named == [f"{database}.{name}" for name in ("access_lines", "access", "access_lines")]
