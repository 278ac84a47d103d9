"""Shares: what was picked, held against what is configured.

The rule: a pick is held against the configuration that decided it, and no other. Pearson's chi-square test
says how likely picks by chance would be as far from the weights as these are. Smooth weighted round robin
spreads evener than chance does, so a service that does as it is told comes close to p = 1, and only a small p
is an alarm.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import exp, lgamma, log
from typing import Any, NamedTuple

from redirect.commands.logs.counts import Counts
from redirect.commands.logs.reports import Group, Report, heading
from redirect.commands.logs.text import shown
from redirect.commands.logs.where import EVERYTHING, Where
from redirect.core.pools import Config, Pool

# Picks by chance would be called NOT as configured once in a thousand times.
ALARM = 0.001

# Below so many expected picks of an origin the test says nothing (Cochran's rule).
FEWEST = 5

AS_CONFIGURED = "as configured"
NOT_AS_CONFIGURED = "NOT as configured"
TOO_FEW = "too few picks to tell"
NO_PICKS = "no picks"
NOT_JUDGED = "not judged, since --origin and --status choose by what is to be judged"


class HealthStatus(NamedTuple):
    """What is said of a pool; numbers where the test could be made."""

    verdict: str
    chi_square: float | None = None
    p: float | None = None

    def __str__(self) -> str:
        return self.verdict if self.p is None else f"{self.verdict} (p = {self.p:.2g})"


def shares(counts: Counts, config: Config, by: str | None, where: Where) -> Report:
    """What was picked, of counts by `by`, if that is given, and pool, origin and configuration."""
    found, others = _picks(counts, config.hash)
    if by is None:
        found = {(name,): Counter() for name in config.pools if where.pool in (None, name)} | found
    columns = (*heading(by), "pool")
    rows: list[tuple[Any, ...]] = []
    verdicts = []
    closing = []
    for group in sorted(found, key=lambda group: [str(value) for value in group[:-1]]):
        compared = _compared(config.pools.get(group[-1]), found[group])
        judged = verdict([row[1] for row in compared], [row[3] for row in compared], where)
        rows += [(*group, *row) for row in compared]
        verdicts.append({**dict(zip(columns, group, strict=True)), **judged._asdict()})
        closing.append(f"{' '.join(map(shown, group))}: {judged}")
    if others:
        closing.append(_left_out(others, config))
    is_alarm = any(each["verdict"] == NOT_AS_CONFIGURED for each in verdicts)
    is_of_others = bool(others) and not any(found.values())
    headings = (*columns, "origin", "weight", "configured", "picks", "observed", "difference")
    more = {"config": config.hash, "other_configs": dict(others), "verdicts": verdicts}
    return Report("shares", headings, rows, more, tuple(closing), int(is_alarm or is_of_others))


def _picks(counts: Counts, config: str) -> tuple[dict[Group, Counter[str]], Counter[str]]:
    """The picks of each origin, by group and pool, that this configuration decided, and how many others did."""
    found: dict[Group, Counter[str]] = {}
    others: Counter[str] = Counter()
    for (*group, origin, decided_by), number in counts.found.items():
        if origin is not None and decided_by == config:
            found.setdefault(tuple(group), Counter())[origin] += number
        elif origin is not None:
            others[decided_by] += number
    return found, others


def _compared(
    pool: Pool | None, picks: Mapping[str, int]
) -> list[tuple[str, int, float, int, float | None, float | None]]:
    """Rows of a pool: origin, weight, configured share, picks, observed share, difference."""
    configured = {origin.name: (origin.weight, share) for origin, share in pool.shares()} if pool else {}
    total = sum(picks.values())
    rows = []
    for name in {**configured, **picks}:
        weight, share = configured.get(name, (0, 0.0))
        observed = picks[name] / total if total else None
        rows.append((name, weight, share, picks[name], observed, None if observed is None else observed - share))
    return rows


def _left_out(others: Mapping[str, int], config: Config) -> str:
    listed = ", ".join(f"{shown(name)} ({number:,})" for name, number in others.items())
    return (
        f"{sum(others.values()):,} picks were decided by other configurations than {config.hash} and are left out: "
        f"{listed}; name the TOML that decided them with --config"
    )


def verdict(weights: Sequence[int], picks: Sequence[int], where: Where = EVERYTHING) -> HealthStatus:
    """What `picks` of origins say of their `weights`; nothing if they were chosen by origin or status."""
    total, weight = sum(picks), sum(weights)
    if not total:
        return HealthStatus(NO_PICKS)
    if where.origin is not None or where.statuses is not None:
        return HealthStatus(NOT_JUDGED)
    if any(number for number, each in zip(picks, weights, strict=True) if not each):
        return HealthStatus(NOT_AS_CONFIGURED, None, 0.0)
    pairs = [(number, total * each / weight) for number, each in zip(picks, weights, strict=True) if each]
    if min(expected for _, expected in pairs) < FEWEST:
        return HealthStatus(TOO_FEW)
    chi_square = sum((number - expected) ** 2 / expected for number, expected in pairs)
    p = chance(chi_square, len(pairs) - 1)
    return HealthStatus(NOT_AS_CONFIGURED if p < ALARM else AS_CONFIGURED, chi_square, p)


def chance(chi_square: float, freedom: int) -> float:
    """How likely the chi-square of picks by chance is at least this, at so many degrees of freedom.

    That is the regularised incomplete gamma function Q(freedom / 2, chi_square / 2): below a + 1 by its series,
    above by Lentz's continued fraction. Source: Press et al., "Numerical Recipes", section 6.2.
    """
    if not freedom or chi_square <= 0:
        return 1.0
    a, x = freedom / 2, chi_square / 2
    scale = exp(a * log(x) - x - lgamma(a))
    return 1 - scale * _series(a, x) if x < a + 1 else scale * _fraction(a, x)


def _series(a: float, x: float) -> float:
    term = total = 1 / a
    while abs(term) > abs(total) * 1e-13:
        a += 1
        term *= x / a
        total += term
    return total


def _fraction(a: float, x: float) -> float:
    b = x + 1 - a
    c = 1e300
    d = total = 1 / b
    step, index = 0.0, 0
    while abs(step - 1) > 1e-13:
        index += 1
        term = -index * (index - a)
        b += 2
        d = 1 / (term * d + b)
        c = b + term / c
        step = c * d
        total *= step
    return total
