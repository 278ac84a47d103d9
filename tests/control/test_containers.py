"""What becomes of a container that Docker lists: an origin, or what is left out, with what to write."""

from dataclasses import replace
from typing import Any

import pytest
from support.docker import container, full_id

from redirect.control.containers import LIST, Container, View, doubts, label_filter, read
from redirect.core.authority import parse
from redirect.core.discovery import Discover, Found, LeftOut, Member

SHOP = Discover(labels=("app=shop",))
NO_PORT = (
    "docker lists no port of it, as it exposes none, or is in an internal network alone: write the port in the "
    "container, such as port = 8080 in discover, or as its label redirect.port"
)


def listed(*entries: dict[str, Any]) -> list[Container]:
    return LIST.validate_python(entries)


def only(entry: dict[str, Any], view: View = View(), **discover: Any) -> Member | LeftOut:  # noqa: B008  frozen
    found = read(listed(entry), replace(SHOP, **discover), view)
    if found.members:
        return found.members[0]
    return found.left_out[0]


@pytest.mark.parametrize(
    ("given", "state", "reason", "health"),
    [
        pytest.param({}, "up", None, None, id="no health check"),
        pytest.param({"health": "healthy"}, "up", None, "healthy", id="healthy"),
        pytest.param(
            {"health": "health: starting"}, "down", "its health check has not passed yet", "starting", id="starting"
        ),
        pytest.param({"health": "unhealthy"}, "down", "docker calls it unhealthy", "unhealthy", id="unhealthy"),
        pytest.param({"state": "paused", "health": "Paused"}, "down", "docker calls it paused", None, id="paused"),
    ],
)
def test_what_docker_says_of_a_running_container(
    given: dict[str, Any], state: str, reason: str | None, health: str | None
) -> None:
    """One that is not healthy yet, or not any more, or paused, is an origin that is down, and why is told; docker's own
    words go along."""
    said = (full_id(1), given.get("state", "running"), health)
    assert only(container(1, **given)) == Member("shop-1", parse("172.18.0.1:8080"), 1, state, reason, *said)


@pytest.mark.parametrize("health", ["health: starting", "unhealthy"])
def test_the_health_check_can_be_ignored(health: str) -> None:
    """With `health = "ignore"` a container that runs is up."""
    assert only(container(1, health=health), health="ignore").state == "up"


def test_the_health_of_newer_lists_counts() -> None:
    """Lists since API 1.52 have it as a field, which wins over the words."""
    entry = container(1, health="healthy") | {"Health": {"Status": "unhealthy", "FailingStreak": 3}}
    assert only(entry).reason == "docker calls it unhealthy"


@pytest.mark.parametrize("state", "created restarting removing exited dead".split())
def test_a_container_that_does_not_run_is_left_out(state: str) -> None:
    """It is no origin, and shown with its state."""
    found = read(listed(container(1, state=state, networks={"front": ""})), SHOP, View())
    assert found.left_out == (LeftOut("shop-1", full_id(1), state, f"docker calls it {state}"),)
    assert (found.members, found.none_reason) == ((), "no running container with app=shop was found")


def test_a_container_that_is_told_to_stop_is_draining() -> None:
    """Also where it is not healthy any more."""
    found = only(container(1, health="unhealthy"), View(stopping={full_id(1)}))
    assert (found.state, found.reason) == ("draining", "docker stops it")


def test_one_made_for_a_command_is_left_out() -> None:
    """`docker compose run` makes containers with the labels of the service."""
    found = only(container(1, labels={"com.docker.compose.oneoff": "True"}))
    assert found.reason == "`docker compose run` made it, for one command"


@pytest.mark.parametrize(
    ("given", "discover", "authority"),
    [
        pytest.param({"ports": (80,)}, {}, "172.18.0.1:80", id="the only port"),
        pytest.param({"ports": (80, 90)}, {"port": 90}, "172.18.0.1:90", id="one of several, in the file"),
        pytest.param({"ports": ()}, {"port": 90}, "172.18.0.1:90", id="a port that is not exposed"),
        pytest.param(
            {"ports": (80, 90), "labels": {"redirect.port": "90"}}, {"port": 80}, "172.18.0.1:90", id="the label wins"
        ),
        pytest.param({"networks": {"a": "10.0.0.1", "b": ""}}, {}, "10.0.0.1:8080", id="the only address"),
        pytest.param(
            {"networks": {"a": "10.0.0.1", "b": "10.1.0.1"}}, {"network": "b"}, "10.1.0.1:8080", id="a network of two"
        ),
        pytest.param(
            {"networks": {"a": "10.0.0.1", "b": "10.1.0.1"}, "labels": {"redirect.network": "a"}},
            {"network": "b"},
            "10.0.0.1:8080",
            id="the label of a network wins",
        ),
        pytest.param({"networks": {"a": "fd00::1"}}, {}, "[fd00::1]:8080", id="IPv6 only"),
        pytest.param(
            {"mode": "host", "networks": {"host": ""}, "ports": ()}, {"port": 81}, "127.0.0.1:81", id="the host's"
        ),
    ],
)
def test_where_a_container_is_reached(given: dict[str, Any], discover: dict[str, Any], authority: str) -> None:
    """At its port and address, which its labels or the pool name where there are several."""
    found = only(container(1, **given), **discover)
    assert isinstance(found, Member), found
    assert str(found.authority) == authority


def test_ipv4_comes_before_ipv6() -> None:
    """Of a container that has both."""
    entry = container(1)
    entry["NetworkSettings"]["Networks"]["front"]["GlobalIPv6Address"] = "fd00::1"
    assert only(entry)[1] == parse("172.18.0.1:8080")


@pytest.mark.parametrize(
    ("given", "discover", "reason"),
    [
        pytest.param({"ports": ()}, {}, NO_PORT, id="no port"),
        pytest.param(
            {"ports": (9090, 80)},
            {},
            "it exposes the ports 80, 9090: write which one counts, such as port = 80 in discover, or as its label "
            "redirect.port",
            id="several ports",
        ),
        pytest.param(
            {"networks": {"front": "10.0.0.1", "back": "10.1.0.1"}},
            {},
            'it is in the networks back, front: write which one counts, such as network = "back" in discover, or as '
            "its label redirect.network",
            id="several networks",
        ),
        pytest.param(
            {"networks": {"kx_back": "10.1.0.1"}},
            {"network": "back"},
            'it is not in the network "back", but in kx_back: docker compose puts the project\'s name first, so write '
            'which one counts, such as network = "kx_back" in discover, or as its label redirect.network',
            id="a name without its project",
        ),
        pytest.param(
            {"networks": {"front": "10.1.0.1"}},
            {"network": "other"},
            'it is not in the network "other", but in front',
            id="another network",
        ),
        pytest.param(
            {"networks": {}},
            {},
            "it has no address in any network: connect it to one that the gateway is in",
            id="disconnected",
        ),
        pytest.param(
            {"labels": {"redirect.port": "http"}},
            {},
            'its label redirect.port is "http", and must be a whole number from 1 to 65535',
            id="a port that is none",
        ),
        pytest.param(
            {"labels": {"redirect.port": "65536"}},
            {},
            'its label redirect.port is "65536", and must be a whole number from 1 to 65535',
            id="a port too large",
        ),
        pytest.param(
            {"labels": {"redirect.weight": "-1"}},
            {},
            'its label redirect.weight is "-1", and must be a whole number from 0 to 1000000',
            id="a weight below 0",
        ),
        pytest.param(
            {"labels": {"redirect.weight": "1\n\x1b[2J" + "9" * 99}},
            {},
            f'its label redirect.weight is "1\\n\\u001b[2J{"9" * 54}...", and must be a whole number from 0 to 1000000',
            id="a label that would write to a terminal",
        ),
        pytest.param(
            {"mode": "host", "networks": {"host": ""}, "ports": ()}, {}, NO_PORT, id="the host's network without a port"
        ),
        pytest.param(
            {"mode": f"container:{full_id(7)}", "networks": {}},
            {},
            "it shares the network of the container 000000000007, which is not there",
            id="the network of one that is gone",
        ),
        pytest.param(
            {"networks": {"front": "not an address"}},
            {},
            'docker names "not an address" as its address: a host name is made of letters, digits, - and _ between '
            "dots",
            id="an address that is none",
        ),
    ],
)
def test_what_is_not_clear_is_left_out(given: dict[str, Any], discover: dict[str, Any], reason: str) -> None:
    """Nothing is guessed: the reason says what there is, and what to write."""
    assert only(container(1, **given), **discover) == LeftOut("shop-1", full_id(1), "running", reason)


def test_the_host_is_not_reached_from_a_network_of_ones_own() -> None:
    """A gateway in a container reaches one in the host's network only if it is there itself."""
    entry = container(1, mode="host", networks={"host": ""})
    (own,) = listed(container(9, mode="host", networks={"host": ""}))
    (elsewhere,) = listed(container(9))
    assert isinstance(only(entry, View(full_id(9), own), port=80), Member)
    for view in (View(full_id(9), elsewhere), View(full_id(9))):
        found = only(entry, view, port=80)
        assert found.reason is not None
        assert found.reason.startswith("it is in the host's network, and the gateway is not")


def test_a_network_that_is_shared_is_that_of_the_other_container() -> None:
    """With `network_mode: container:X` a container has the address of X, and its own port."""
    (other,) = listed(container(7, ports=(1, 2)))
    entry = container(1, mode=f"container:{full_id(7)}", networks={}, ports=())
    found = only(entry, View(shared={full_id(7): other}), port=80)
    assert isinstance(found, Member)
    assert (found.name, str(found.authority)) == ("shop-1", "172.18.0.7:80")


def test_one_address_is_one_origin() -> None:
    """Of two containers that share a network and name one port, the second is left out."""
    host: dict[str, Any] = {"mode": "host", "networks": {"host": ""}}
    found = read(listed(container(2, **host), container(1, **host)), replace(SHOP, port=80), View())
    assert [each.name for each in found.members] == ["shop-1"]
    assert found.left_out[0][:1] + found.left_out[0][3:4] == ("shop-2", "shop-1 has the same address, 127.0.0.1:80")


@pytest.mark.parametrize(("label", "weight"), [("0", 0), ("5", 5), ("1000000", 1_000_000)])
def test_a_weight_by_label(label: str, weight: int) -> None:
    """0 drains, as in the file."""
    found = only(container(1, labels={"redirect.weight": label}))
    assert isinstance(found, Member)
    assert (found.weight, found.state) == (weight, "up")


@pytest.mark.parametrize("own", [full_id(2), full_id(2)[:12]], ids=["by id", "by host name"])
def test_the_gateway_is_no_origin_of_its_own(own: str) -> None:
    """Though its container may have the labels."""
    found = read(listed(container(1), container(2)), SHOP, View(own))
    assert ([each.name for each in found.members], found.left_out) == (["shop-1"], ())


def test_the_name_is_that_of_the_container_and_not_of_a_link() -> None:
    """Links give it names with a second `/`; while it is made or removed it may have none."""
    linked = container(1) | {"Names": ["/web/shop", "/shop-1"]}
    unnamed = container(2) | {"Names": None}
    assert [only(linked).name, only(unnamed).name] == ["shop-1", full_id(2)[:12]]


def test_members_are_in_the_order_of_their_names() -> None:
    """So that the same containers are the same value, in whatever order they are listed."""
    entries = [container(number) for number in (3, 1, 2)]
    assert read(listed(*entries), SHOP, View()) == read(listed(*entries[::-1]), SHOP, View())


def test_null_is_what_go_writes_for_nothing() -> None:
    """A list may have null for labels, ports and networks."""
    entry = container(1) | {"Labels": None, "Ports": None, "NetworkSettings": {"Networks": None}}
    assert isinstance(only(entry), LeftOut)


@pytest.mark.parametrize(
    ("entries", "discover", "reason"),
    [
        pytest.param([], {}, "no container with app=shop was found", id="none"),
        pytest.param(
            [],
            {"labels": ("app_name=payment", "env=production")},
            "no container with app_name=payment, env=production was found",
            id="two labels",
        ),
        pytest.param([], {"project": "kx"}, "no container with app=shop in the project kx was found", id="project"),
        pytest.param(
            [container(1, ports=()), container(2, ports=())],
            {},
            f"of the containers with app=shop none can be an origin: shop-1: {NO_PORT}",
            id="left out",
        ),
    ],
)
def test_why_there_is_no_origin(entries: list[dict[str, Any]], discover: dict[str, Any], reason: str) -> None:
    """Zero origins have a reason, which requests are answered with."""
    assert read(listed(*entries), replace(SHOP, **discover), View()).none_reason == reason


def test_a_project_is_a_label_more() -> None:
    """`project` is what compose labels its containers with; "." is the project of the gateway's container."""
    (own,) = listed(container(9, labels={"com.docker.compose.project": "kx"}))
    named, own_project = replace(SHOP, project="rg"), replace(SHOP, project=".")
    assert label_filter(named, View()) == ("app=shop", "com.docker.compose.project=rg")
    assert label_filter(own_project, View(full_id(9), own)) == ("app=shop", "com.docker.compose.project=kx")
    assert label_filter(Discover(labels=("b", "a=1")), View()) == ("a=1", "b")


def test_a_project_of_ones_own_must_be_known() -> None:
    """Outside of compose "." means nothing, and no container of another project is taken instead."""
    own_project = replace(SHOP, project=".")
    (own,) = listed(container(9))
    prefix = 'project = "." is that of the gateway\'s own container, and'
    for view, why in ((View(), "docker knows of none"), (View(full_id(9), own), "docker compose did not make it")):
        assert label_filter(own_project, view) is None
        assert read(None, own_project, view) == Found(none_reason=f"{prefix} {why}: write the name of the project")


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        pytest.param({"redirect.prt": "80"}, "did you mean redirect.port? ", id="misspelt"),
        pytest.param({"Redirect.Weight": "80"}, "did you mean redirect.weight? ", id="letters"),
        pytest.param({"redirect.enable": "true"}, "", id="something else"),
    ],
)
def test_a_label_that_means_nothing_is_doubted(labels: dict[str, str], told: str) -> None:
    """With the labels that there are."""
    (entry,) = listed(container(1, labels=labels))
    assert [*doubts(entry, SHOP)] == [
        f'its label "{next(iter(labels))}" means nothing: {told}There are redirect.port, redirect.weight, '
        "redirect.network"
    ]


def test_a_port_of_the_host_is_doubted() -> None:
    """The port that counts is that in the container, not the one that is published."""
    entry = container(1) | {"Ports": [{"PrivatePort": 8080, "PublicPort": 80, "Type": "tcp", "IP": "0.0.0.0"}]}
    assert [*doubts(listed(entry)[0], replace(SHOP, port=80))] == [
        "80 is its port on the host; what counts is that in the container, 8080"
    ]
    assert [*doubts(listed(entry)[0], replace(SHOP, port=8080))] == []
    assert [*doubts(listed(entry)[0], SHOP)] == []
