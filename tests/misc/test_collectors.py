"""The collectors of misc/logs agree. `make logs` runs syslog-ng; of the others no program is to be had there."""

import re
import tomllib

from ruamel.yaml import YAML
from support.service import ROOT

LOGS = ROOT / "misc/logs"
SYSLOG_NG = (LOGS / "syslog-ng.conf").read_text()
FLUENT_BIT = YAML(typ="safe").load(LOGS / "fluent-bit.yaml")["pipeline"]
VECTOR = tomllib.loads((LOGS / "vector.toml").read_text())
COLLECTOR = YAML(typ="safe").load(ROOT / "docker-compose.yml")["services"]["collector"]


def test_all_read_what_docker_writes_of_containers_with_the_tag() -> None:
    (tail,) = FLUENT_BIT["inputs"]
    assert VECTOR["sources"]["files"]["include"] == [tail["path"]] == ["/var/lib/docker/containers/*/*-json.log"]
    assert FLUENT_BIT["filters"][0]["regex"] == ["$stream ^stdout$", "$attrs['tag'] ^redirect$"]
    assert 'engine.attrs.tag != "redirect" || engine.stream != "stdout"' in VECTOR["transforms"]["lines"]["source"]
    assert '"${.engine.attrs.tag}" eq "redirect" and "${.engine.stream}" eq "stdout"' in SYSLOG_NG


def test_all_insert_in_the_same_way() -> None:
    (output,) = FLUENT_BIT["outputs"]
    (url,) = re.findall(r'url\("`CLICKHOUSE_URL`(.*)"\)', SYSLOG_NG)
    assert re.sub("`(.*?)`", r"${\1}", url) == output["uri"]
    sink = VECTOR["sinks"]["clickhouse"]
    assert f"INSERT%20INTO%20{sink['table']}%20" in url
    assert sink["date_time_best_effort"] is sink["skip_unknown_fields"] is True


def test_the_collector_has_all_that_its_configuration_takes_from_the_environment() -> None:
    assert set(re.findall("`([A-Z_]+)`", SYSLOG_NG)) == COLLECTOR["environment"].keys()
