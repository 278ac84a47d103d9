"""`redirect logs report shares`: observed picks against those that were due.

The rule: a pick is compared with the weights that decided it, and no others. Its record has their hash and the share
that they gave to its origin, so the log alone tells what was due: n picks by weights that give an origin a share s are
n * s due to it. Pearson's chi-square test gives the probability that random picks would be as far from what is due as
these are. Smooth weighted round robin is more even than chance, so a correct service comes close to p = 1, and only a
small p is an alarm.

Records of an older version have no shares: the TOML that decided them tells.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from math import erfc, exp, lgamma, log, sqrt
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import click

from redirect.commands.loading import load_or_exit, read_settings
from redirect.commands.logs.counts import BY, Counts
from redirect.commands.logs.filters import Filters
from redirect.commands.logs.reports import Report, reporting
from redirect.commands.logs.text import shown
from redirect.core.pools import Config, Pool

# Random picks would be called NOT as due once in a thousand times.
ALARM_P = 0.001

# Origins with fewer expected picks are put together; if there are no more, the test says nothing (Cochran's rule).
MIN_EXPECTED_PICKS = 5

# What tells requests of a kind from others. Where they come in a pattern, an exact cycle has origins for each kind.
CLASSES = ("path", "user_agent", "client_ip", "method", "host")

# Of each class and pool, that have the most requests.
MAX_VALUES = 50

# Of a pool, the ones that are farthest off.
MAX_UNEVEN = 5

# Shares are of the origins of a pool, whatever became of a pick.
_OUTCOMES = {"status", "level", "action", "origin_status", "served_from", "detail"}
_BY = [each for each in BY if each not in {"pool", "origin", "config", *_OUTCOMES}]

# Shares in the log have six digits. What is missing to 1 beyond that is of origins that were not picked.
MISSING_SHARE = 1e-5

AS_DUE = "as due"
NOT_AS_DUE = "NOT as due"
TOO_FEW = "too few picks to tell"
NO_PICKS = "no picks"
NOT_JUDGED = "not judged, since --origin and --status choose by what is to be judged"
NOT_BY_SHARES = "not judged, since picks follow the load, the client or the host asked for"

# What is due to origins that were not picked and that no TOML names.
NEVER_PICKED = "(never picked)"


class Verdict(NamedTuple):
    """What the picks of a pool show; with numbers where the test could be made."""

    verdict: str
    chi_square: float | None = None
    p: float | None = None

    def __str__(self) -> str:
        return self.verdict if self.p is None else f"{self.verdict} (p = {self.p:.2g})"


class Picks(NamedTuple):
    """Of the origins of a pool: how often each was picked; how often each was due to be, which is empty where shares
    changed and no hash of weights tells when; and whether weights alone decided."""

    picked: Counter[str]
    due: Mapping[str, float]
    is_by_shares: bool = True


class _Known(NamedTuple):
    """What all lines together tell of shares, as a group may have few picks by the weights of a moment, and none of
    some origins: by pool and weights, the shares of the origins that were picked by them; and by pool, the means of
    these, for origins that were not."""

    by_weights: Mapping[tuple[str, str], Mapping[str, float]]
    means: Mapping[str, Mapping[str, float]]


class Uneven(NamedTuple):
    """Requests of a pool that have a value in common, of which `origin` has the most beyond what was due to it."""

    pool: str
    by: str
    value: str
    origin: str
    picks: int
    observed: float
    due: float
    p: float

    def __str__(self) -> str:
        what = f"{shown(self.pool)}: of {self.picks:,} with {self.by} {shown(self.value)}"
        return f"{what} {shown(self.origin)} has {self.observed:.2%}, due are {self.due:.2%} (p = {self.p:.2g})"


# The value of `by`, if that is given, or a class and its value, and a pool.
_Group = tuple[Any, ...]


def _load(_ctx: click.Context, _param: click.Parameter, toml: str | None) -> Config | None:
    settings = read_settings("pools_config_path", pools_config_path=toml)
    if toml is None and not Path(settings.pools_config_path).exists():
        return None  # the log does without
    return load_or_exit(settings, 2)


@reporting("pool", "origin", "config", "due", "weights", by=_BY, classes=CLASSES)
@click.option("--config", metavar="FILE", callback=_load, help="The TOML that decided; REDIRECT_POOLS_CONFIG_PATH.")
def shares(counts: Counts, config: Config | None) -> Report:
    """Compare the picks of each origin with those that were due to it.

    What was due stands in the log: while an origin is down, the others' shares are larger. By a chi-square test: p is
    the probability that random picks would be as far off. Ours are more even than chance, so p is near 1, and a pool is
    called NOT as due below 0.001. Of a pool that is as due, paths, user agents, clients, methods and hosts that are not
    are told: they come in step with the cycle. The TOML tells the weights and the configured shares, and what was due
    where the log of an older version does not. Exit code 1 if a pool is not as due, or if all picks are of other
    configurations.
    """
    pools = config.pools if config else {}
    select = "SELECT grp, pool, origin, config, due, weights, count FROM counts WHERE origin IS NOT NULL ORDER BY ALL"
    counted = _checked(counts.rows(select))
    known = _known(counted)
    picks, others = _picks(counted, config, known)
    if counts.by is None:
        picks = {(name,): Picks(Counter(), {}) for name in pools if counts.filters.pool in (None, name)} | picks
    columns = counts.headings("pool")
    rows: list[tuple[Any, ...]] = []
    verdicts = []
    closing = []
    for group in sorted(picks, key=lambda group: [str(value) for value in group[:-1]]):
        judged = verdict(picks[group], counts.filters)
        rows += [(*group, *row) for row in _compared(pools.get(group[-1]), picks[group])]
        verdicts.append({**dict(zip(columns, group, strict=True)), **judged._asdict()})
        closing.append(f"{' '.join(map(shown, group))}: {judged}")
    even = [each["pool"] for each in verdicts if each["verdict"] == AS_DUE] if counts.by is None else []
    uneven = [each for pool, of_pool in _classes(counts, config, known).items() if pool in even for each in of_pool]
    closing += map(str, uneven)
    if others:
        closing.append(_left_out(others, config))
    is_alarm = any(each["verdict"] == NOT_AS_DUE for each in verdicts)
    is_of_others = bool(others) and not any(each.picked for each in picks.values())
    headings = (*columns, "origin", "weight", "configured", "due", "picks", "observed", "difference")
    more = {"config": config.hash if config else None, "other_configs": dict(others), "verdicts": verdicts}
    more["uneven"] = [each._asdict() for each in uneven]
    return Report(headings, rows, more, tuple(closing), int(is_alarm or is_of_others))


def _classes(counts: Counts, config: Config | None, known: _Known) -> dict[str, list[Uneven]]:
    """By pool, the values of classes with other shares than the pool has, the farthest off first. As many are tested,
    so much smaller has a p to be for an alarm (Bonferroni's correction)."""
    select = f"""
        SELECT grp, class, value, pool, origin, config, due, weights, count FROM (
            SELECT *, dense_rank() OVER (PARTITION BY class, pool ORDER BY total DESC, value) AS place FROM (
                SELECT *, sum(count) OVER (PARTITION BY class, pool, value) AS total FROM classes
                WHERE origin IS NOT NULL AND value IS NOT NULL
            )
        ) WHERE place <= {MAX_VALUES} ORDER BY ALL
    """  # noqa: S608  a constant
    tested: defaultdict[str, list[Uneven]] = defaultdict(list)
    for (by, value, pool), picks in _picks(_checked(counts.rows(select)), config, known)[0].items():
        judged = verdict(picks, counts.filters)
        if judged.p is not None:
            total = picks.picked.total()
            origin = max(picks.due, key=lambda name: picks.picked[name] - picks.due[name])
            observed, due = picks.picked[origin] / total, picks.due[origin] / total
            tested[pool].append(Uneven(pool, by, value, origin, total, observed, due, judged.p))
    found: dict[str, list[Uneven]] = {}
    for pool, of_pool in tested.items():
        uneven = [each for each in of_pool if each.p < ALARM_P / len(of_pool)]
        found[pool] = sorted(uneven, key=lambda each: (each.p, -each.picks))[:MAX_UNEVEN]
    return found


def _checked(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The rows; one whose share no service has written has neither share nor weights, as in the log of an older one."""
    return [row if row[-3] is not None and 0 <= row[-3] <= 1 else (*row[:-3], None, None, row[-1]) for row in rows]


def _known(rows: Iterable[tuple[Any, ...]]) -> _Known:
    by_weights: defaultdict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for *_, pool, origin, _, share, weights, _ in rows:
        if weights is not None:
            by_weights[pool, weights][origin] = share
    shares: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (pool, _), origins in by_weights.items():
        for origin, share in origins.items():
            shares[pool][origin].append(share)
    means = {pool: {origin: fmean(each) for origin, each in origins.items()} for pool, origins in shares.items()}
    return _Known(by_weights, means)


def _picks(
    rows: Iterable[tuple[Any, ...]], config: Config | None, known: _Known
) -> tuple[dict[_Group, Picks], Counter[str]]:
    """The picks by group; and by configuration, how many there are of which it is not known what was due."""
    pools = config.pools if config else {}
    found: dict[_Group, dict[str, dict[str, tuple[int, float]]]] = {}
    others: Counter[str] = Counter()
    by_something_else: set[_Group] = set()
    changed: set[_Group] = set()
    for *group, origin, decided_by, share, weights, number in rows:
        if share is None:
            if not config or decided_by != config.hash or group[-1] not in pools:
                others[decided_by] += number
                continue
            _, share = _configured(pools[group[-1]]).get(origin, (0, 0.0))
        elif weights is None:
            by_something_else.add(tuple(group))
        origins = found.setdefault(tuple(group), {}).setdefault(weights or decided_by, {})
        before, other = origins.get(origin, (0, share))
        origins[origin] = number + before, share
        if share != other:
            changed.add(tuple(group))
    picks = {
        group: _added(group[-1], by_weights, pools.get(group[-1]), known, group not in by_something_else)
        for group, by_weights in found.items()
    }
    for each in by_something_else:
        picked, due, _ = picks[each]
        if each in changed or sum(due.values()) > (1 + MISSING_SHARE) * picked.total():
            picks[each] = picks[each]._replace(due={})
    return picks, others


def _added(
    name: str,
    by_weights: Mapping[str, Mapping[str, tuple[int, float]]],
    pool: Pool | None,
    known: _Known,
    is_by_shares: bool,
) -> Picks:
    """The picks of the pool of this name by all weights together; of each origin there are the picks and the share."""
    picked: Counter[str] = Counter()
    due: defaultdict[str, float] = defaultdict(float)
    usual = {**{origin: share for origin, (_, share) in _configured(pool).items()}, **known.means.get(name, {})}
    for weights, origins in by_weights.items():
        total = sum(number for number, _ in origins.values())
        picked.update({origin: number for origin, (number, _) in origins.items()})
        own = {origin: share for origin, (_, share) in origins.items()}
        shares = {**own, **known.by_weights.get((name, weights), {})}
        missing = 1 - sum(shares.values())
        if missing > MISSING_SHARE:
            left = {origin: share for origin, share in usual.items() if share and origin not in shares}
            left = left or {NEVER_PICKED: 1.0}
            shares |= {origin: missing * share / sum(left.values()) for origin, share in left.items()}
        for origin, share in shares.items():
            due[origin] += total * share
    return Picks(picked, due, is_by_shares and (pool is None or pool.is_by_shares))


def _configured(pool: Pool | None) -> dict[str, tuple[int, float]]:
    return {origin.name: (origin.weight, share) for origin, share in pool.shares()} if pool else {}


def _compared(pool: Pool | None, picks: Picks) -> list[tuple[Any, ...]]:
    """Rows of a pool: origin, weight, configured share, due share, picks, observed share, difference."""
    configured, total = _configured(pool), picks.picked.total()
    rows: list[tuple[Any, ...]] = []
    for name in {**configured, **picks.due, **picks.picked}:
        weight, share = configured.get(name, (None, None))
        number = picks.picked[name]
        observed = number / total if total else None
        due = picks.due.get(name, 0.0) / total if total and picks.due else None
        difference = None if observed is None or due is None else observed - due
        rows.append((name, weight, share, due, number, observed, difference))
    return rows


def _left_out(others: Counter[str], config: Config | None) -> str:
    than = f"other configurations than {config.hash}" if config else "configurations"
    listed = ", ".join(f"{shown(name)} ({number:,})" for name, number in others.items())
    return (
        f"{others.total():,} picks of an older version were decided by {than} and are left out: "
        f"{listed}; name the TOML that decided them with --config"
    )


def verdict(picks: Picks, filters: Filters) -> Verdict:
    """Compares picks with what was due, unless they were selected by origin or status."""
    picked, due, is_by_shares = picks
    total, due_total = picked.total(), sum(due.values())
    if not total:
        return Verdict(NO_PICKS)
    if not is_by_shares:
        return Verdict(NOT_BY_SHARES)
    if filters.origin is not None or filters.statuses is not None:
        return Verdict(NOT_JUDGED)
    if any(number and not due[origin] for origin, number in picked.items()):
        return Verdict(NOT_AS_DUE, None, 0.0)
    of_origins = [(total * each / due_total, picked[origin]) for origin, each in due.items() if each]
    pairs = _pooled(of_origins)
    if pairs[0][0] < MIN_EXPECTED_PICKS or len(pairs) < min(2, len(of_origins)):
        return Verdict(TOO_FEW)
    chi_square = sum((number - expected) ** 2 / expected for expected, number in pairs)
    p = chi_square_p(chi_square, len(pairs) - 1)
    return Verdict(NOT_AS_DUE if p < ALARM_P else AS_DUE, chi_square, p)


def _pooled(pairs: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """Expected and observed picks, the fewest expected first, with all of those put together of which too few are: what
    was observed has no part in which they are."""
    enough = sorted(pair for pair in pairs if pair[0] >= MIN_EXPECTED_PICKS)
    few = [pair for pair in pairs if pair[0] < MIN_EXPECTED_PICKS]
    if not few:
        return enough
    if sum(expected for expected, _ in few) < MIN_EXPECTED_PICKS:
        few, enough = few + enough[:1], enough[1:]
    return sorted([(sum(expected for expected, _ in few), sum(number for _, number in few)), *enough])


def chi_square_p(chi_square: float, freedom: int) -> float:
    """The probability that random picks have at least this chi-square, at so many degrees of freedom.

    The regularised incomplete gamma function Q(freedom / 2, x), x = chi_square / 2, from Q(1/2, x) or Q(1, x) by
    Q(a + 1, x) = Q(a, x) + x^a e^-x / gamma(a + 1). Source: Abramowitz and Stegun, 6.5.21.
    """
    if not freedom or chi_square <= 0:
        return 1.0
    x = chi_square / 2
    a, p = (0.5, erfc(sqrt(x))) if freedom % 2 else (1.0, exp(-x))
    while a < freedom / 2:
        p += exp(a * log(x) - x - lgamma(a + 1))
        a += 1
    return min(p, 1.0)
