"""`redirect logs report shares`: what was picked, against what was due."""

import json
from collections import Counter
from pathlib import Path

import pytest
from support.log_lines import POOLS, line, run

from redirect.commands.logs.filters import Filters
from redirect.commands.logs.shares import AS_DUE, NO_PICKS, NOT_AS_DUE, TOO_FEW, Picks, chi_square_p, verdict


def write(config: str, **picks: int) -> None:
    """A log of so many picks of each origin of pool-a, every tenth a loop, and of one request without a pick."""
    lines = [line(pool=None, origin=None, status=400, config=config)]
    for origin, number in picks.items():
        name = origin.replace("_", "-")
        lines += [line(origin=name, status=302 if each % 10 else 422, config=config) for each in range(number)]
    Path("access.jsonl").write_bytes(b"".join(lines))


def test_picks_close_to_the_weights_are_as_due(config: str) -> None:
    """Each origin with its weight, its share, its picks and the difference; a verdict for each pool; exit code 0."""
    write(config, origin_1=201, origin_2=99)
    result = run("report", "shares", "access.jsonl")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "pool    origin    weight  configured     due  picks  observed  difference\n"
        "pool-a  origin-1       2      66.67%  66.67%    201    67.00%      +0.33%\n"
        "pool-a  origin-2       1      33.33%  33.33%     99    33.00%      -0.33%\n"
        "pool-a  drained        0       0.00%   0.00%      0     0.00%      +0.00%\n"
        "pool-b  origin-3       1     100.00%       -      0         -           -\n"
        "pool-a: as due (p = 0.9)\n"
        "pool-b: no picks\n"
    )


def test_picks_too_far_from_the_weights_are_an_alarm(config: str) -> None:
    """Exit code 1."""
    write(config, origin_1=150, origin_2=150)
    result = run("report", "shares", "access.jsonl")
    assert result.exit_code == 1
    assert "pool-a: NOT as due (p = 9.1e-10)\n" in result.stdout


def test_one_pick_of_a_drained_origin_is_an_alarm(config: str) -> None:
    write(config, origin_1=2, drained=1)
    result = run("report", "shares", "access.jsonl")
    assert result.exit_code == 1
    assert "pool-a: NOT as due (p = 0)\n" in result.stdout


def test_the_json_has_the_verdicts_apart(config: str) -> None:
    write(config, origin_1=6, origin_2=3)
    said = json.loads(run("report", "shares", "--json", "--pool", "pool-a", "access.jsonl").stdout)
    assert (said["records"], said["config"], said["other_configs"]) == (9, config, {})
    assert said["rows"][0] == {
        "pool": "pool-a",
        "origin": "origin-1",
        "weight": 2,
        "configured": 2 / 3,
        "due": 2 / 3,
        "picks": 6,
        "observed": 2 / 3,
        "difference": 0.0,
    }
    assert said["verdicts"] == [{"pool": "pool-a", "verdict": TOO_FEW, "chi_square": None, "p": None}]


def test_a_path_that_comes_in_step_with_the_cycle_is_told(config: str) -> None:
    """A page and its favicon for each visit, and two origins of equal shares: the pool is as due, and no path is. Where
    the visits come in another pattern there is nothing to tell."""
    due = {"config": config, "due": 0.5, "weights": "a"}
    visit = line(path="/page", origin="origin-1", **due) + line(path="/icon", origin="origin-2", **due)
    Path("access.jsonl").write_bytes(visit * 30)
    result = run("report", "shares", "--pool", "pool-a", "access.jsonl")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-3:] == [
        "pool-a: as due (p = 1)",
        "pool-a: of 30 with path /icon origin-2 has 100.00%, due are 50.00% (p = 4.3e-08)",
        "pool-a: of 30 with path /page origin-1 has 100.00%, due are 50.00% (p = 4.3e-08)",
    ]
    (first, _) = json.loads(run("report", "shares", "--json", "access.jsonl").stdout)["uneven"]
    assert (first["by"], first["value"], first["observed"], first["due"]) == ("path", "/icon", 1.0, 0.5)
    others = [line(path=path, origin=f"origin-{n}", **due) for path in ("/page", "/icon") for n in (1, 2)] * 15
    Path("access.jsonl").write_bytes(b"".join(others))
    assert (
        run("report", "shares", "--pool", "pool-a", "access.jsonl").stdout.splitlines()[-1] == "pool-a: as due (p = 1)"
    )


def test_other_configurations_are_left_out(config: str) -> None:
    """Where the log does not say what was due, a pick is compared only with the configuration that decided it; the
    others are counted."""
    write(config, origin_1=200, origin_2=100)
    with Path("access.jsonl").open("ab") as file:
        file.write(line(origin="origin-2", config="0ld") * 500)
    result = run("report", "shares", "access.jsonl")
    assert result.exit_code == 0
    assert result.stdout.endswith(
        f"500 picks of an older version were decided by other configurations than {config} and are left out: "
        "0ld (500); "
        "name the TOML that decided them with --config\n"
    )


@pytest.mark.parametrize("due", [None, "x", -0.5, 2, 1e308], ids=str)
def test_a_share_that_is_none_says_nothing_of_what_was_due(config: str, due: object) -> None:
    """As from a program that passes the log on, or from somebody who writes into it."""
    write(config, origin_1=200, origin_2=100)
    with Path("access.jsonl").open("ab") as file:
        file.write(line(origin="origin-2", config="0ld", due=due, weights="a") * 500)
    result = run("report", "shares", "access.jsonl")
    assert result.exit_code == 0
    assert "pool-a: as due (p = 1)\n" in result.stdout
    assert "are left out: 0ld (500); " in result.stdout


def test_picks_of_other_configurations_only_are_an_alarm(config: str) -> None:
    """Exit code 1; --config names the TOML that decided them."""
    write(config, origin_1=200, origin_2=100)
    Path("redirect_pools_config.toml").rename("old.toml")
    Path("redirect_pools_config.toml").write_text(POOLS + "# changed\n")
    result = run("report", "shares", "access.jsonl")
    assert result.exit_code == 1
    assert f"are left out: {config} (300)" in result.stdout
    assert run("report", "shares", "--config", "old.toml", "access.jsonl").exit_code == 0


def picks(number: int, origin: str, due: float | None, weights: str | None, **values: object) -> bytes:
    return line(origin=origin, due=due, weights=weights, **values) * number


OUTAGE = (
    picks(200, "origin-1", 0.666667, "both", config="0ld"),
    picks(100, "origin-2", 0.333333, "both", config="0ld"),
    picks(300, "origin-1", 1, "one"),
)


def test_what_was_due_stands_in_the_log(log: Path) -> None:
    """Whatever configurations decided, and without a TOML: while an origin is down its share is due to the others."""
    log.write_bytes(b"".join(OUTAGE))
    result = run("report", "shares", "access.jsonl")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "pool    origin    weight  configured     due  picks  observed  difference\n"
        "pool-a  origin-1       -           -  83.33%    500    83.33%      +0.00%\n"
        "pool-a  origin-2       -           -  16.67%    100    16.67%      +0.00%\n"
        "pool-a: as due (p = 1)\n"
    )


@pytest.mark.parametrize("has_toml", [True, False])
def test_an_origin_of_a_ramp_with_few_requests_is_as_due(has_toml: bool, log: Path) -> None:
    """By the weights of many steps it has no pick, and in the TOML no weight: what is missing to 1 is due to it."""
    toml = '[pool-a]\nis_default = true\nweighted_hosts = { "origin-1" = 1, "origin-2" = 0 }\n'
    if has_toml:
        Path("redirect_pools_config.toml").write_text(toml)
    without = [picks(9, "origin-1", 0.9, f"without-{step}") for step in range(20)]
    some = [picks(8, "origin-1", 0.9, f"with-{step}") + picks(2, "origin-2", 0.1, f"with-{step}") for step in range(20)]
    log.write_bytes(b"".join([*without, *some]))
    result = run("report", "shares", "--json", "access.jsonl")
    said = json.loads(result.stdout)
    assert (result.exit_code, [each["verdict"] for each in said["verdicts"]]) == (0, [AS_DUE])
    assert {row["origin"]: row["due"] for row in said["rows"]} == pytest.approx({"origin-1": 0.9, "origin-2": 0.1})


def test_what_is_due_to_an_origin_stands_in_any_line_with_the_same_weights(log: Path) -> None:
    """Of a path that has one request by the weights of each step, the lines of another path tell it."""
    paths = ("/a", "/b"), ("/b", "/a")
    log.write_bytes(
        b"".join(
            picks(1, origin, 0.5, f"step-{step}", path=path)
            for step in range(60)
            for origin, path in zip(("origin-1", "origin-2"), paths[step % 2], strict=True)
        )
    )
    result = run("report", "shares", "access.jsonl")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "pool-a: as due (p = 1)")


def test_files_of_replicas_in_any_order_say_the_same(log: Path) -> None:
    first, *others = OUTAGE
    log.write_bytes(b"".join(others))
    Path("other.jsonl").write_bytes(first)
    assert "as due (p = 1)" in run("report", "shares", "access.jsonl", "other.jsonl").stdout


def test_an_origin_that_gets_nothing_of_what_is_due_to_it_is_an_alarm(config: str) -> None:
    """The TOML says which one it is; what is due to those that are down is not expected of them."""
    Path("access.jsonl").write_bytes(picks(300, "origin-1", 0.666667, "both", config=config))
    result = run("report", "shares", "--pool", "pool-a", "access.jsonl")
    assert result.exit_code == 1
    assert "pool-a  origin-2       1      33.33%  33.33%      0     0.00%     -33.33%\n" in result.stdout
    Path("redirect_pools_config.toml").unlink()
    result = run("report", "shares", "--pool", "pool-a", "access.jsonl")
    assert result.exit_code == 1
    assert "(never picked)" in result.stdout


@pytest.mark.parametrize("key", ['pick = "least_requests"', 'on_loop = "next"'])
def test_picks_by_something_else_than_shares_are_not_judged(config: str, key: str) -> None:
    pools = POOLS.replace("is_default = true", key)
    Path("redirect_pools_config.toml").write_text(f'{pools}[[routes]]\npath = "/"\nforward_to = "pool-a"\n')
    Path("access.jsonl").write_bytes(picks(300, "origin-1", 0.666667, "both"))
    result = run("report", "shares", "access.jsonl")
    assert (result.exit_code, "pool-a: not judged" in result.stdout) == (0, True)


def test_without_a_toml_the_log_says_that_picks_are_by_something_else(log: Path) -> None:
    """They have a due share, and no weights that decided alone."""
    log.write_bytes(picks(300, "origin-1", 0.666667, None) + picks(100, "origin-2", 0.333333, None))
    result = run("report", "shares", "access.jsonl")
    assert (result.exit_code, "pool-a: not judged, since picks follow" in result.stdout) == (0, True)
    assert "pool-a  origin-1       -           -  66.67%    300    75.00%      +8.33%\n" in result.stdout


@pytest.mark.parametrize(
    "later",
    [picks(30, "origin-1", 0.333333, None) + picks(60, "origin-2", 0.666667, None), picks(90, "origin-2", 1, None)],
    ids=["a ramp", "all to the other one"],
)
def test_what_was_due_is_not_told_where_shares_changed_and_the_log_has_no_weights(later: bytes, log: Path) -> None:
    """The share of an origin is known only of the moments at which it was picked."""
    log.write_bytes(picks(90, "origin-1", 1, None) + later)
    result = run("report", "shares", "--json", "access.jsonl")
    rows = json.loads(result.stdout)["rows"]
    assert (result.exit_code, [row["picks"] for row in rows]) in [(0, [120, 60]), (0, [90, 90])]
    assert {(row["due"], row["difference"]) for row in rows} == {(None, None)}


@pytest.mark.parametrize("due", ["half", None, -1, 2])
def test_a_due_share_that_is_none_is_that_of_an_older_version(due: object, log: Path) -> None:
    """Whatever wrote the line."""
    log.write_bytes(OUTAGE[0] + OUTAGE[1] + line(origin="origin-2", config="0ld", due=due, weights="both"))
    result = run("report", "shares", "access.jsonl")
    assert (result.exit_code, "pool-a: as due (p = 1)\n1 picks of an older version" in result.stdout) == (0, True)


def test_groups_are_judged_one_by_one(config: str) -> None:
    """The picks of a faulty worker are not evened out by those of others."""
    origins = {1: ["origin-1"] * 200 + ["origin-2"] * 100, 2: ["origin-1"] * 100 + ["origin-2"] * 200}
    Path("access.jsonl").write_bytes(
        b"".join(line(origin=origin, worker=worker, config=config) for worker in origins for origin in origins[worker])
    )
    result = run("report", "shares", "--by", "worker", "access.jsonl")
    assert result.exit_code == 1
    assert "1 pool-a: as due (p = 1)\n2 pool-a: NOT as due" in result.stdout


@pytest.mark.parametrize("option", [["--origin", "origin-1"], ["--status", "302"]])
def test_picks_that_are_selected_by_their_outcome_are_not_judged(config: str, option: list[str]) -> None:
    write(config, origin_1=100, origin_2=200)
    result = run("report", "shares", *option, "access.jsonl")
    assert result.exit_code == 0
    assert "pool-a: not judged" in result.stdout


def test_a_toml_that_cannot_be_read_is_named(config: str) -> None:
    """Exit code 2."""
    result = run("report", "shares", "--config", "missing.toml", "access.jsonl")
    assert result.exit_code == 2
    assert result.stderr.startswith("missing.toml:1:1: cannot be read: No such file")


def test_an_empty_log_has_no_picks(config: str) -> None:
    """Exit code 0."""
    Path("access.jsonl").write_bytes(b"")
    result = run("report", "shares", "access.jsonl")
    assert result.exit_code == 0
    assert f"pool-a: {NO_PICKS}\n" in result.stdout


# Critical values of chi-square as tables have them: degrees of freedom, value, chance.
TABLE = [(1, 3.841459, 0.05), (1, 10.827566, 0.001), (2, 5.991465, 0.05), (5, 1.145476, 0.95), (10, 29.588298, 0.001)]
LARGE = [(100, 124.342113, 0.05), (1000, 1074.679449, 0.05), (4, 0.0, 1.0), (0, 0.0, 1.0), (1, 5000.0, 0.0)]


@pytest.mark.parametrize(("freedom", "chi_square", "expected"), TABLE + LARGE)
def test_p_is_that_of_tables_of_chi_square(freedom: int, chi_square: float, expected: float) -> None:
    assert chi_square_p(chi_square, freedom) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(
    ("weights", "picks", "expected"),
    [
        ([1, 1], [0, 0], NO_PICKS),
        ([1, 1], [4, 5], TOO_FEW),
        ([1, 1], [5, 5], AS_DUE),
        ([1, 1], [20, 80], NOT_AS_DUE),
        ([1, 1, 98], [0, 1, 99], TOO_FEW),
        ([1] * 100, [1] * 50 + [0] * 50, TOO_FEW),
        ([1] * 100 + [100], [1] * 50 + [0] * 50 + [50], AS_DUE),
        ([1, 4, 45, 50], [1, 4, 45, 50], AS_DUE),
        ([1, 4, 45, 50], [40, 0, 30, 30], NOT_AS_DUE),
        ([7], [1], TOO_FEW),
        ([7], [10], AS_DUE),
        ([1, 0], [10, 0], AS_DUE),
        ([1, 0], [10, 1], NOT_AS_DUE),
        ([0], [1], NOT_AS_DUE),
    ],
)
def test_origins_with_fewer_than_five_expected_picks_are_judged_together(
    weights: list[int], picks: list[int], expected: str
) -> None:
    """If there are fewer of all but one, nothing is shown. None of a drained one are expected."""
    names = [f"origin-{n}" for n in range(len(weights))]
    found = Picks(Counter(dict(zip(names, picks, strict=True))), dict(zip(names, weights, strict=True)))
    assert verdict(found, Filters()).verdict == expected
