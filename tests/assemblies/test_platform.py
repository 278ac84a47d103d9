"""The payment platform: what its owner requires, asked of the assembly on a real engine."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from support.assemblies import ASSEMBLIES, Answer, Assembly
from support.compose import running, until

SECRET = "0123456789abcdef0123456789abcdef"
SERVICES = {"gateway", "auth-api", "core-api", "psp-connector", "redis"}
BUILT_HERE = sorted(SERVICES - {"gateway"})


@pytest.fixture(scope="module")
def platform() -> Iterator[Assembly]:
    with running(Assembly("platform", JWT_SECRET=SECRET)) as assembly:
        yield assembly


def ask(platform: Assembly, target: str, asked: Any, method: str = "POST", **headers: str) -> Answer:
    body = asked if isinstance(asked, str) else json.dumps(asked)
    return platform.ask(target, method, body=body, headers={"Host": "platform", **headers})


def token(platform: Assembly, username: str = "alice", password: str = "wonderland") -> str:
    answer = ask(platform, "/auth/token", {"username": username, "password": password})
    assert answer.status == 200, answer.body
    made: str = answer.json()["token"]
    return made


def pay(platform: Assembly, token: str, amount: Any = "100", currency: str = "USD", **headers: str) -> Answer:
    asked = {"amount": amount, "currency": currency, "token": token}
    return ask(platform, "/transaction/transaction", asked, **headers)


def made(platform: Assembly, amount: int) -> int:
    """How many transactions of this amount the worker has made."""
    return platform.logs("psp-connector").count(f"==> Making transaction with PSP: User ID: 1, Amount: {amount}, ")


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def signed(head: str, claims: str) -> str:
    """A token as HS256 has it, made without the library that the services use."""
    signature = hmac.digest(SECRET.encode(), f"{head}.{claims}".encode(), hashlib.sha256)
    return f"{head}.{claims}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def test_each_service_is_built_from_a_folder_of_its_own(platform: Assembly) -> None:
    """Its image is tagged local/…, unless another prefix is asked for."""
    del (plain := Assembly("platform", JWT_SECRET=SECRET)).environment["IMAGE_PREFIX"]
    services = plain.services()
    assert services.keys() == SERVICES
    for name in BUILT_HERE:
        assert services[name]["build"]["context"] == str(ASSEMBLIES / "platform" / name)
        assert services[name]["image"] == f"local/{name}"
    assert services["gateway"]["image"] == "local/redirect"


@pytest.mark.parametrize("service", BUILT_HERE)
def test_images_are_of_the_slim_base_in_one_stage(service: str) -> None:
    lines = (ASSEMBLIES / "platform" / service / "Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("FROM")] == ["FROM python:3.14-slim"]


def test_paths_lead_to_services(platform: Assembly) -> None:
    """Each service gets its path without the prefix: it knows /token and /transaction only."""
    assert ask(platform, "/auth/token", {}).status == 400
    assert ask(platform, "/transaction/transaction", {}).status == 400
    assert ask(platform, "/auth/auth/token", {}).status == 404
    answers = [ask(platform, target, {}) for target in ("/token", "/authority/token", "/")]
    assert [(each.status, each.headers["content-type"]) for each in answers] == [(404, "application/problem+json")] * 3


def test_another_host_is_not_served(platform: Assembly) -> None:
    assert platform.ask("/auth/token", "POST", body="{}", headers={"Host": "elsewhere"}).status == 404


@pytest.mark.parametrize("target", ["/auth/token", "/transaction/transaction"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_only_post_is_taken(platform: Assembly, target: str, method: str) -> None:
    answer = ask(platform, target, "", method)
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("secret", ["", None], ids=["empty", "missing"])
def test_compose_refuses_without_a_secret(secret: str | None) -> None:
    assembly = Assembly("platform")
    assembly.environment.pop("JWT_SECRET", None)
    if secret is not None:
        assembly.environment["JWT_SECRET"] = secret
    file = ASSEMBLIES / "platform" / "compose.yml"
    done = assembly.docker("compose", "--env-file", "/dev/null", "--file", str(file), "config", check=False)
    assert done.returncode != 0
    assert "JWT_SECRET" in done.stderr
    assert "set it in .env" in done.stderr


def test_every_service_is_healthy_and_can_do_no_more_than_it_needs(platform: Assembly) -> None:
    assert platform.weaknesses() == []
    states = [json.loads(line) for line in platform.compose("ps", "--format", "json").splitlines()]
    assert {each["Service"]: each["Health"] for each in states} == dict.fromkeys(SERVICES, "healthy")


def test_the_worker_is_healthy_as_long_as_its_heartbeat_is_in_redis(platform: Assembly) -> None:
    """It listens on no port that could be asked."""
    (worker,) = platform.containers("psp-connector")
    check = ("exec", worker, "python", "healthcheck.py")
    (key,) = platform.compose("exec", "-T", "redis", "redis-cli", "smembers", "rq:workers").split()

    def set_heartbeat(heartbeat: str) -> None:
        platform.compose("exec", "-T", "redis", "redis-cli", "hset", key, "last_heartbeat", heartbeat)

    assert platform.docker(*check, check=False).returncode == 0
    set_heartbeat("2020-01-01T00:00:00.000000Z")
    done = platform.docker(*check, check=False)
    set_heartbeat(time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime()))
    assert (done.returncode, "the last heartbeat was" in done.stderr) == (1, True)


def test_only_the_gateway_is_reached_from_outside(platform: Assembly) -> None:
    services = platform.services()
    assert {name for name, service in services.items() if service.get("ports")} == {"gateway"}
    assert {name for name, service in services.items() if "front" in service["networks"]} == {"gateway"}
    inspected = platform.docker("network", "inspect", f"{platform.project}_back").stdout
    (network,) = json.loads(inspected)
    assert network["Internal"] is True
    assert len(network["Containers"]) == len(SERVICES)


def test_the_script_makes_a_token(platform: Assembly) -> None:
    made = platform.compose("exec", "-T", "auth-api", "python", "make_token.py", "alice").strip()
    assert pay(platform, made).status == 200
    old = platform.compose("exec", "-T", "auth-api", "python", "make_token.py", "alice", "--seconds", "-1").strip()
    assert pay(platform, old).status == 401


def test_a_token_has_the_claims_and_is_signed_with_the_secret(platform: Assembly) -> None:
    head, claims, _ = token(platform).split(".")
    assert token(platform).startswith(head)
    found = json.loads(base64.urlsafe_b64decode(claims + "=="))
    assert abs(found.pop("exp") - time.time() - 3600) < 60
    assert found == {"user_id": 1, "username": "alice", "enabled": True}
    assert json.loads(base64.urlsafe_b64decode(head + "=="))["alg"] == "HS256"
    assert pay(platform, signed(head, claims)).status == 200


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        pytest.param({"username": "alice", "password": "wrong"}, 401, id="a wrong password"),
        pytest.param({"username": "carol", "password": "wonderland"}, 401, id="an unknown user"),
        pytest.param({"username": "alice"}, 400, id="no password"),
        pytest.param("username=alice", 400, id="no JSON"),
        pytest.param([1], 400, id="no object"),
    ],
)
def test_no_token_is_given(platform: Assembly, asked: Any, status: int) -> None:
    answer = ask(platform, "/auth/token", asked)
    assert (answer.status, [*answer.json()]) == (status, ["error"])


@pytest.mark.parametrize("amount", ["100", 100])
def test_a_transaction_is_accepted(platform: Assembly, amount: object) -> None:
    answer = pay(platform, token(platform), amount)
    assert (answer.status, answer.json()) == (200, {"amount": 100, "currency": "USD", "user_id": 1})


def test_a_token_that_is_not_valid_pays_nothing(platform: Assembly) -> None:
    head, _, signature = token(platform).split(".")
    others = part({"user_id": 2, "enabled": True, "exp": int(time.time()) + 60})
    tokens = {
        "none": "",
        "others' claims": f"{head}.{others}.{signature}",
        "no algorithm": f"{part({'alg': 'none', 'typ': 'JWT'})}.{others}.",
        "no end": signed(head, part({"user_id": 1, "enabled": True})),
    }
    assert {why: pay(platform, each).status for why, each in tokens.items()} == dict.fromkeys(tokens, 401)
    assert pay(platform, token(platform, "bob", "builder")).status == 403  # he is not enabled


@pytest.mark.parametrize("amount", ["1.5", "-1", True, None, 1.5, "1e3", "٣"])
def test_an_amount_is_a_whole_number(platform: Assembly, amount: object) -> None:
    assert pay(platform, token(platform), amount).status == 400


def test_the_worker_makes_the_transaction_and_its_result_is_kept_for_500_s(platform: Assembly) -> None:
    assert pay(platform, token(platform), 7001, "EUR").status == 200
    log = until(lambda: platform.logs("psp-connector"), lambda log: "Amount: 7001, Currency: EUR" in log, "it is made")
    assert "psp_connector.make_transaction(amount=7001, currency='EUR', user_id=1)" in log
    until(lambda: platform.logs("psp-connector"), lambda log: "result is kept for 500 seconds" in log, "it is kept")


def test_the_log_of_the_gateway_shows_where_a_request_went(platform: Assembly) -> None:
    request_id = str(uuid4())
    pay(platform, "", **{"X-Request-ID": request_id})
    record = platform.record(request_id)
    expected = {
        "route": "POST platform/transaction/*",
        "pool": "core-api",
        "origin": "core-api:5000",
        "origin_status": 401,
        "status": 401,
        "action": "forward",
    }
    assert {key: record[key] for key in expected} == expected


def test_a_transaction_that_got_no_answer_is_not_sent_again(platform: Assembly) -> None:
    """core-api stops while it has the request: after 5 s the client gets 504, and may ask whether it was made."""
    valid, request_id = token(platform), str(uuid4())
    assert pay(platform, valid, 7002).status == 200  # so that there is a connection that rests
    platform.compose("pause", "core-api")
    try:
        assert pay(platform, valid, 7003, **{"X-Request-ID": request_id}).status == 504
    finally:
        platform.compose("unpause", "core-api")
    assert platform.record(request_id)["tries"] == 1
    until(lambda: pay(platform, valid, 7004).status, lambda status: status == 200, "core-api is up again")
    until(lambda: made(platform, 7004), lambda count: count >= 1, "a later transaction is made")
    assert made(platform, 7003) <= 1


def test_503_as_long_as_a_service_is_down(platform: Assembly) -> None:
    valid = token(platform)
    platform.compose("stop", "core-api")
    answer = pay(platform, valid, 7005)
    assert (answer.status, answer.headers["retry-after"] is not None) == (503, True)
    assert ask(platform, "/auth/token", {"username": "alice", "password": "wonderland"}).status == 200
    platform.compose("start", "core-api")
    until(lambda: pay(platform, valid, 7006).status, lambda status: status == 200, "core-api is back")
    assert made(platform, 7005) == 0


def test_503_as_long_as_redis_is_down(platform: Assembly) -> None:
    valid = token(platform)
    platform.compose("stop", "redis")
    answer = pay(platform, valid, 7007)
    assert (answer.status, answer.headers["retry-after"] is not None) == (503, True)
    platform.compose("start", "redis")
    until(lambda: pay(platform, valid, 7008).status, lambda status: status == 200, "redis is back")


def test_what_is_queued_outlives_a_restart_of_redis_and_the_worker(platform: Assembly) -> None:
    valid = token(platform)
    platform.compose("stop", "psp-connector")
    # A probe that began while another test had core-api stopped may end only now, and takes it for down until the next.
    until(lambda: pay(platform, valid, 7007).status, lambda status: status == 200, "it is queued")
    platform.compose("restart", "redis")
    platform.compose("start", "psp-connector")
    until(lambda: made(platform, 7007), lambda count: count == 1, "the transaction is made")


def test_all_services_end_when_they_are_told_to(platform: Assembly) -> None:
    """The last test: nothing runs behind it."""
    assert platform.deaf() == []
