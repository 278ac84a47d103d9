"""`redirect logs report shares`: observed picks against configured weights.

The rule: a pick is compared with the configuration that decided it, and no other. Pearson's chi-square test gives
the probability that random picks would be as far from the weights as these are. Smooth weighted round robin is more
even than chance, so a correct service comes close to p = 1, and only a small p is an alarm.
"""

from collections import Counter
from collections.abc import Sequence
from math import erfc, exp, lgamma, log, sqrt
from typing import Any, NamedTuple

import click

from redirect.commands.loading import load_or_exit, read_settings
from redirect.commands.logs.counts import BY, Counts
from redirect.commands.logs.filters import Filters
from redirect.commands.logs.reports import Report, reporting
from redirect.commands.logs.text import shown
from redirect.core.pools import Config, Pool

# Random picks would be called NOT as configured once in a thousand times.
ALARM_P = 0.001

# With fewer expected picks of an origin the test says nothing (Cochran's rule).
MIN_EXPECTED_PICKS = 5

# Shares are of the origins of a pool, whatever became of a pick.
_BY = [each for each in BY if each not in ("pool", "origin", "status", "level", "config")]

AS_CONFIGURED = "as configured"
NOT_AS_CONFIGURED = "NOT as configured"
TOO_FEW = "too few picks to tell"
NO_PICKS = "no picks"
NOT_JUDGED = "not judged, since --origin and --status choose by what is to be judged"


class Verdict(NamedTuple):
    """What the picks of a pool show; with numbers where the test could be made."""

    verdict: str
    chi_square: float | None = None
    p: float | None = None

    def __str__(self) -> str:
        return self.verdict if self.p is None else f"{self.verdict} (p = {self.p:.2g})"


# The value of `by`, if that is given, and a pool.
_Group = tuple[Any, ...]


def _load(_ctx: click.Context, _param: click.Parameter, toml: str | None) -> Config:
    return load_or_exit(read_settings("pools_config_path", pools_config_path=toml), 2)


@reporting("pool", "origin", "config", by=_BY)
@click.option("--config", metavar="FILE", callback=_load, help="The TOML that decided; REDIRECT_POOLS_CONFIG_PATH.")
def shares(counts: Counts, config: Config) -> Report:
    """Compare the picks of each origin with its configured share.

    By a chi-square test: p is the probability that random picks would be as far off. Ours are more even than chance,
    so p is near 1, and a pool is called NOT as configured below 0.001. Only picks that this very TOML decided are
    judged. Exit code 1 if a pool is not as configured, or if all picks were decided by another TOML.
    """
    picks, others = _picks(counts, config.hash)
    if counts.by is None:
        picks = {(name,): Counter() for name in config.pools if counts.filters.pool in (None, name)} | picks
    columns = counts.headings("pool")
    rows: list[tuple[Any, ...]] = []
    verdicts = []
    closing = []
    for group in sorted(picks, key=lambda group: [str(value) for value in group[:-1]]):
        compared = _compared(config.pools.get(group[-1]), picks[group])
        judged = verdict([row[1] for row in compared], [row[3] for row in compared], counts.filters)
        rows += [(*group, *row) for row in compared]
        verdicts.append({**dict(zip(columns, group, strict=True)), **judged._asdict()})
        closing.append(f"{' '.join(map(shown, group))}: {judged}")
    if others:
        closing.append(_left_out(others, config))
    is_alarm = any(each["verdict"] == NOT_AS_CONFIGURED for each in verdicts)
    is_of_others = bool(others) and not any(picks.values())
    headings = (*columns, "origin", "weight", "configured", "picks", "observed", "difference")
    more = {"config": config.hash, "other_configs": dict(others), "verdicts": verdicts}
    return Report(headings, rows, more, tuple(closing), int(is_alarm or is_of_others))


def _picks(counts: Counts, config: str) -> tuple[dict[_Group, Counter[str]], Counter[str]]:
    """The picks of each origin by group that this configuration decided, and the number that each other one did."""
    picks: dict[_Group, Counter[str]] = {}
    others: Counter[str] = Counter()
    select = "SELECT grp, pool, origin, config, count FROM counts WHERE origin IS NOT NULL ORDER BY ALL"
    for *group, origin, decided_by, number in counts.rows(select):
        if decided_by == config:
            picks.setdefault(tuple(group), Counter())[origin] += number
        else:
            others[decided_by] += number
    return picks, others


def _compared(pool: Pool | None, picks: Counter[str]) -> list[tuple[Any, ...]]:
    """Rows of a pool: origin, weight, configured share, picks, observed share, difference."""
    configured = {origin.name: (origin.weight, share) for origin, share in pool.shares()} if pool else {}
    total = picks.total()
    rows = []
    for name in {**configured, **picks}:
        weight, share = configured.get(name, (0, 0.0))
        observed = picks[name] / total if total else None
        rows.append((name, weight, share, picks[name], observed, None if observed is None else observed - share))
    return rows


def _left_out(others: Counter[str], config: Config) -> str:
    listed = ", ".join(f"{shown(name)} ({number:,})" for name, number in others.items())
    return (
        f"{others.total():,} picks were decided by other configurations than {config.hash} and are left out: "
        f"{listed}; name the TOML that decided them with --config"
    )


def verdict(weights: Sequence[int], picks: Sequence[int], filters: Filters) -> Verdict:
    """Compares the picks of origins with their weights, unless they were selected by origin or status."""
    total, weight = sum(picks), sum(weights)
    if not total:
        return Verdict(NO_PICKS)
    if filters.origin is not None or filters.statuses is not None:
        return Verdict(NOT_JUDGED)
    if any(number for number, each in zip(picks, weights, strict=True) if not each):
        return Verdict(NOT_AS_CONFIGURED, None, 0.0)
    pairs = [(number, total * each / weight) for number, each in zip(picks, weights, strict=True) if each]
    if min(expected for _, expected in pairs) < MIN_EXPECTED_PICKS:
        return Verdict(TOO_FEW)
    chi_square = sum((number - expected) ** 2 / expected for number, expected in pairs)
    p = chi_square_p(chi_square, len(pairs) - 1)
    return Verdict(NOT_AS_CONFIGURED if p < ALARM_P else AS_CONFIGURED, chi_square, p)


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
