"""Prometheus and Grafana ask for what there is: the configurations in misc/monitoring beside the real exposition.

A query is read as far as it takes to know which metrics and labels it names; whether it is PromQL, Prometheus says.
"""

import json
import re
from collections import defaultdict
from itertools import combinations
from typing import Any, NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML
from support.admin import every_metric
from support.service import ROOT

from redirect.admin.app import OPEN_PATHS
from redirect.config.settings import Settings

MONITORING = ROOT / "misc/monitoring"
COMPOSE, PROMETHEUS, ALERTS, CASES, PROVIDERS = (
    YAML(typ="safe").load(path)
    for path in (
        ROOT / "docker-compose.yml",
        MONITORING / "prometheus.yml",
        MONITORING / "alerts.yml",
        MONITORING / "alerts_test.yml",
        MONITORING / "grafana/dashboards/redirect.yml",
    )
)
RULES: list[dict[str, Any]] = [rule for group in ALERTS["groups"] for rule in group["rules"]]
DASHBOARD: dict[str, Any] = json.loads((MONITORING / "grafana/dashboards/redirect.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
(SCRAPE,) = PROMETHEUS["scrape_configs"]

# What Prometheus adds to all that it scrapes, and what it makes itself of a scrape.
OF_THE_SCRAPE = {"job", "instance"}
OF_PROMETHEUS: dict[str, set[str]] = {"up": OF_THE_SCRAPE}

# Metrics that no panel shows. None: what is worth counting is worth seeing.
NOT_SHOWN: set[str] = set()

OF_GRAFANA = {"__rate_interval", "__range"}
WORDS = "group_left and or unless bool offset".split()


def exposed() -> dict[str, set[str]]:
    """By name of a sample: the labels that all of that name have, once they are scraped."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(every_metric()):
        for sample in family.samples:
            labels = sample.labels.keys() | OF_THE_SCRAPE
            found[sample.name] = found.get(sample.name, labels) & labels
    return found


EXPOSED = exposed()
KNOWN = EXPOSED | OF_PROMETHEUS


class Query(NamedTuple):
    """What a query names: per metric the labels that it selects by, the labels that it keeps, and variables."""

    metrics: dict[str, set[str]]
    kept: set[str]
    variables: set[str]


def read(expression: str) -> Query:
    variables = set(re.findall(r"\$(\w+)", expression))
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', expression)  # strings, as they may hold braces
    bare = re.sub(r"\[[^\]]*\]", "", bare)  # ranges
    kept: set[str] = set()
    for labels in re.findall(r"\b(?:by|on|group_left)\s*\(([^)]*)\)", bare):
        kept |= set(re.findall(r"\w+", labels))
    bare = re.sub(r"\b(?:by|on|group_left)\s*\([^)]*\)", "", bare)
    assert not re.search(r"\b(?:without|ignoring|group_right)\b", bare), f"not read here: {expression}"
    metrics: dict[str, set[str]] = defaultdict(set)
    for name, selected in re.findall(r"\b([a-zA-Z_:][\w:]*)\b(?!\s*\()\s*(?:\{([^}]*)\})?", bare):
        if name not in WORDS:
            metrics[name] |= set(re.findall(r"(\w+)\s*[=!]", selected))
    return Query(dict(metrics), kept, variables)


TARGETS = [
    pytest.param(target, id=f"{panel['title']}: {target['refId']}")
    for panel in PANELS
    for target in panel.get("targets", [])
]


def variables() -> list[tuple[str, str, str]]:
    """Name, query and label of each variable."""
    found = []
    for each in DASHBOARD["templating"]["list"]:
        if each["type"] == "datasource":
            continue
        match = re.fullmatch(r"label_values\((.+), (\w+)\)", each["query"]["query"])
        assert match, each
        found.append((each["name"], *match.groups()))
    return found


def check(query: Query) -> None:
    """All that is named is there, each label at each metric."""
    assert query.metrics
    for metric, selected in query.metrics.items():
        assert metric in KNOWN
        assert selected | query.kept <= KNOWN[metric]
    assert query.variables <= OF_GRAFANA | {name for name, _, _ in variables()}


@pytest.mark.parametrize(
    ("expression", "metrics", "kept"),
    [
        ('a{b="c{",d!~"$e"}', {"a": {"b", "d"}}, set()),
        ("sum(rate(a[$__range]))", {"a": set()}, set()),
        ("sum by (b, c) (a) / on (d) group_left () (e or vector(0)) > 1e3", {"a": set(), "e": set()}, {"b", "c", "d"}),
        ("time() - a:b_c{} * 1000", {"a:b_c": set()}, set()),
        ("avg_over_time(a{b='c'}[5m] offset 1h)", {"a": {"b"}}, set()),
    ],
)
def test_queries_are_read(expression: str, metrics: dict[str, set[str]], kept: set[str]) -> None:
    """No metric and no label of a query is missed, and nothing else is taken for one."""
    assert read(expression)[:2] == (metrics, kept)


@pytest.mark.parametrize("target", TARGETS)
def test_panels_ask_for_what_is_exposed(target: dict[str, Any]) -> None:
    """Every metric, label and variable of a query exists; the legend shows labels that the query leaves."""
    query = read(target["expr"])
    check(query)
    shown = set(re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")))
    assert shown <= query.kept


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_alerts_ask_for_what_is_exposed(rule: dict[str, Any]) -> None:
    """As panels do; a message names labels that the metric has, whatever the conditions behind it are of. The value is
    not one."""
    asked, *conditions = (read(part) for part in re.split(r"\b(?:and|unless)\b", rule["expr"]))
    for query in (asked, *conditions):
        check(query)
    named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    assert all(named <= KNOWN[metric] for metric in asked.metrics)


def test_each_alert_has_cases() -> None:
    """In which it fires, and in which it does not."""
    cases = [case for test in CASES["tests"] for case in test["alert_rule_test"]]
    for fires in (True, False):
        assert {case["alertname"] for case in cases if bool(case["exp_alerts"]) == fires} == {
            rule["alert"] for rule in RULES
        }


def test_cases_have_series_that_are_exposed() -> None:
    """Each with exactly the labels that it has."""
    for test in CASES["tests"]:
        for series in test["input_series"]:
            name, labels = re.fullmatch(r"(\w+)\{(.*)\}", series["series"]).groups()  # type: ignore[union-attr]
            assert set(re.findall(r"(\w+)=", labels)) == KNOWN[name], series


@pytest.mark.parametrize(("name", "expression", "label"), variables())
def test_variables_ask_for_what_is_exposed(name: str, expression: str, label: str) -> None:
    """A variable lists the values of the label that it is named after."""
    assert label == name
    query = read(expression)
    check(query._replace(kept={label}))
    assert name not in query.variables


def test_all_that_is_exposed_is_shown() -> None:
    """Each metric is on the dashboard, all of a histogram too."""
    shown = {
        metric for panel in PANELS for target in panel.get("targets", []) for metric in read(target["expr"]).metrics
    }
    assert EXPOSED.keys() - shown == NOT_SHOWN


@pytest.mark.parametrize("panel", [each for each in PANELS if each["type"] == "table"], ids=lambda each: each["title"])
def test_columns_of_tables(panel: dict[str, Any]) -> None:
    """A table arranges exactly the columns that its queries give: labels, values, the time."""
    given = {"Time"}
    for target in panel["targets"]:
        value = f"Value #{target['refId']}" if len(panel["targets"]) > 1 else "Value"
        given |= read(target["expr"]).kept | {value}
    (arranged,) = (each["options"] for each in panel["transformations"] if each["id"] == "organize")
    assert arranged["renameByName"].keys() | arranged["excludeByName"].keys() == given
    columns = arranged["renameByName"].values()
    for override in panel["fieldConfig"]["overrides"]:
        pattern = override["matcher"]["options"].strip("/")
        assert any(re.search(pattern, column) for column in columns), pattern


def test_panels_are_explained() -> None:
    """Each panel has a number of its own, a title, and but for headings a unit and a word on what it shows."""
    assert len({each["id"] for each in PANELS}) == len(PANELS)
    for each in PANELS:
        assert each["title"]
        if each["type"] != "row":
            assert each["description"].endswith(".")
            assert each["fieldConfig"]["defaults"]["unit"]
            assert len({target["refId"] for target in each["targets"]}) == len(each["targets"])


def test_panels_do_not_overlap() -> None:
    """Panels lie inside the 24 columns of a dashboard, side by side."""
    places = [each["gridPos"] for each in PANELS]
    assert all(each["x"] >= 0 and each["w"] > 0 and each["x"] + each["w"] <= 24 for each in places)
    for one, other in combinations(places, 2):
        assert (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        ), (one, other)


def test_the_data_source_is_a_variable() -> None:
    """One may choose it where the dashboard is imported, and there is one where it is provisioned; all use it. Every
    kind of panel is declared."""
    (source,) = [each for each in DASHBOARD["templating"]["list"] if each["type"] == "datasource"]
    uids = set(re.findall(r'\{"type": "prometheus", "uid": "([^"]*)"\}', json.dumps(DASHBOARD)))
    assert uids == {f"${{{source['name']}}}"}
    declared = {each["id"] for each in DASHBOARD["__requires"] if each["type"] == "panel"}
    assert declared == {each["type"] for each in PANELS} - {"row"}


def test_scraping_finds_the_replicas() -> None:
    """Prometheus asks compose's replicas on the port where they answer it, for a path that needs no token."""
    assert SCRAPE["metrics_path"] == "/metrics"
    assert SCRAPE["metrics_path"] in OPEN_PATHS
    (found,) = SCRAPE["dns_sd_configs"]
    assert found["type"] == "A"
    (name,) = found["names"]
    environment = COMPOSE["services"][name]["environment"]
    settings = Settings(admin_bind=environment["REDIRECT_ADMIN_BIND"])
    assert settings.is_admin_exposed
    assert settings.admin_bind.rpartition(":")[2] == str(found["port"])


def test_compose_mounts_what_prometheus_and_grafana_read() -> None:
    """Rules lie beside the configuration, data sources and dashboards where Grafana looks for them."""
    prometheus, grafana = COMPOSE["services"]["prometheus"], COMPOSE["services"]["grafana"]
    assert prometheus["volumes"][0] == "./misc/monitoring:/etc/prometheus:ro"
    assert all((MONITORING / name).is_file() for name in PROMETHEUS["rule_files"])
    assert grafana["volumes"][0] == "./misc/monitoring/grafana:/etc/grafana/provisioning:ro"
    (provider,) = PROVIDERS["providers"]
    assert provider["options"]["path"] == "/etc/grafana/provisioning/dashboards"


def test_the_dashboard_may_be_changed_in_grafana() -> None:
    """As docs/operations.md says; without the key Grafana refuses to save one that is provisioned."""
    (provider,) = PROVIDERS["providers"]
    assert provider["allowUiUpdates"] is True


def test_the_dashboard_and_the_alerts_ask_for_the_job() -> None:
    """What no exposition names, the job, is named as the scrape configuration has it, and as Kubernetes gives it: by a
    label of the Service, and by its name where there is no such label."""
    asked = json.dumps([DASHBOARD, ALERTS]).replace('\\"', '"')
    service, monitor = YAML(typ="safe").load_all(ROOT / "misc/kubernetes/components/monitoring/monitor.yaml")
    job = service["metadata"]["labels"][monitor["spec"]["jobLabel"]]
    assert set(re.findall(r'job="([^"]*)"', asked)) == {SCRAPE["job_name"]} == {job}
