"""The service: which pool, which origin, which answer. This is the product; the rest carries it.

The rule: plain values in, a frozen decision out. It knows no web framework, server, parser or clock.

Where the configuration has routes, the one that matches says what becomes of the request; it may forward it, answer it
with a constant or leave the answer to the controller. Without one, or where it redirects to a pool:

1. The pool that the route or the request names, or the default pool. What is forwarded to cannot be named by a request.
2. The next origin of that pool's cycle (`cycles`), among those that may be picked (`balancer`). Where there is none,
   the pool's fallback serves.
3. If that origin is the endpoint that was asked for a redirect would loop: 422, or what the pool's `on_loop` says.
4. Otherwise a redirect to the origin (`destination`), to which the raw target is appended.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import inf
from random import Random

from redirect.core.authority import Endpoint
from redirect.core.balancer import Balancer
from redirect.core.cors import CrossOrigin
from redirect.core.cycles import Cycles
from redirect.core.decision import Decision
from redirect.core.destination import Destination, is_kept, redirect_fields
from redirect.core.forward import Forward
from redirect.core.health import NO_HEALTH, Health, HealthStatus
from redirect.core.pools import Config, Origin, Pool, with_fallbacks
from redirect.core.routes import Response, Route, Routes, has_dot_segment

# Seconds after which a client may try again if a pool has no origin to send it to.
RETRY_AFTER = 5


class MissingKeyError(Exception):
    """The pool picks by a key of the request, which is read for such pools only: decide again with it."""

    def __init__(self, hash_on: str) -> None:
        super().__init__(hash_on)
        self.hash_on = hash_on


class Service:
    """Decides by one configuration, with the balancer of each of its pools."""

    def __init__(self, config: Config, prepared: Mapping[str, Balancer]) -> None:
        self.config = config
        self._balancers = prepared
        self._default = prepared[config.default.name] if config.default else None
        self.routes = Routes(config.routes) if config.routes else None
        forwarded = config.forwarded()
        forwarding = [(route, route.forward_to) for route in config.routes if route.forward_to is not None]
        self._forwards = {id(route): _forward(route, prepared, name) for route, name in forwarding}
        # The pools that requests may name.
        self._named = prepared
        if forwarded:
            self._named = {name: each for name, each in prepared.items() if name not in forwarded}
        vary = next((each.vary for each in self._named.values() if each.vary), None)  # which caches are to know
        self._no_pool = replace(_NO_POOL, fields=(("vary", vary),)) if vary else _NO_POOL
        # Of redirects by routes, by pool: the field that names pools has no part in them.
        led_to = with_fallbacks([route.redirect_to for route in config.routes if route.redirect_to], config.fallback)
        self._route_fields = {name: redirect_fields(config.pools[name]) for name in led_to}
        # Whether pages of other origins may follow some redirects, and whether some depend on which page asks.
        cors = [pool.cors for pool in config.pools.values() if pool.cors is not None]
        self.has_cors = bool(cors)
        self.reads_origin = any(not each.is_for_any for each in cors)
        self._health = NO_HEALTH
        self._next_step = -inf
        self._growing = {name for name, balancer in prepared.items() if balancer.statuses}  # or so it may be

    def balancers(self) -> list[Balancer]:
        return [*self._balancers.values()]

    def succeed(self, before: Balancer) -> None:
        """Has requests that began with a balancer of the configuration before this one go on with the one of this."""
        after = self._balancers.get(before.pool.name)
        if after is None:
            before.latest.clear()  # it refers to `before`, and as it is frozen nothing else would free it
        elif after is not before:
            before.latest[:] = [after]
            after.latest = before.latest

    def updates(self, health: Health, now: float) -> Iterator[None]:
        """Applies the health as of `now` (monotonic seconds), one pool per step: those of which it changed, or that
        start slowly."""
        if health is self._health and now < self._next_step:
            return
        names = self._growing if health is self._health else self._growing | self._health.keys() | health.keys()
        for name in names & self._balancers.keys():
            balancer = self._balancers[name]
            balancer.update(_statuses(balancer.pool, health), now)
            (self._growing.add if balancer.is_growing else self._growing.discard)(name)
            yield
        self._health = health
        self._next_step = min((self._balancers[name].next_step for name in self._growing), default=inf)

    def decide(
        self,
        pool_requested: str | None,
        scheme: str,
        asked: Endpoint | None,
        method: str = "GET",
        key: bytes | None = None,
    ) -> Decision:
        """The answer to a request for the endpoint `asked`, over `scheme` ("http" or "https").

        `pool_requested` is the header's value; None or an unknown name means the default pool. `key` is empty where the
        request has none, and None where it was not read: MissingKeyError is raised if it has to be.
        """
        balancer = self._named.get(pool_requested or "", self._default)
        return self._no_pool if balancer is None else self._redirect(balancer, scheme, asked, method, key)

    def decide_by_route(
        self,
        method: str,
        target: str,
        pool_requested: str | None,
        scheme: str,
        asked: Endpoint | None,
        key: bytes | None = None,
    ) -> Decision | Forward | Route:
        """The same where there are routes; `target` is raw. The route is one whose document the controller shows."""
        assert self.routes is not None
        path = target.partition("?")[0]
        if (unclear := unclear_path(path)) is not None:
            return unclear
        route = self.routes.find(asked, path, method)
        if route is None:
            return self.decide(pool_requested, scheme, asked, method, key)
        if isinstance(route, tuple):
            allowed = ", ".join(route)
            return Decision(405, detail=f"{path} takes {allowed}, not {method}", fields=(("allow", allowed),))
        if route.forward_to is not None:
            return self._forwards[id(route)]
        if route.respond is not None:
            return _constant(route, route.respond)
        if route.show is not None:
            return route
        assert route.redirect_to is not None
        decision = self._redirect(self._balancers[route.redirect_to], scheme, asked, method, key)
        routed = decision.routed
        if routed is None or routed.route != route.name:
            routed = replace(decision, route=route.name)
            if decision.fields and decision.prefix is not None and decision.pool is not None:
                routed.fields = self._route_fields[decision.pool]
            decision.routed = routed
        return routed

    def preflight(
        self, target: str, pool_requested: str | None, asked: Endpoint | None, cross_origin: CrossOrigin
    ) -> Decision | None:
        """The answer to the question whether a page may send a request; None if `cors` of its pool has none. No origin
        is picked."""
        path, route = target.partition("?")[0], None
        balancer = self._named.get(pool_requested or "", self._default)
        if self.routes is not None and unclear_path(path) is not None:
            return None
        if self.routes is not None and (found := self.routes.find(asked, path, cross_origin.method or "")):
            if isinstance(found, tuple) or found.redirect_to is None:
                return None
            route, balancer = found.name, self._balancers[found.redirect_to]
        while balancer is not None and balancer.pool.fallback is not None and not balancer.has_eligible:
            balancer = self._balancers[balancer.pool.fallback]
        if balancer is None or balancer.pool.cors is None:
            return None
        fields = balancer.pool.cors.preflight(cross_origin.origin)
        return Decision(204, balancer.pool.name, route=route, fields=fields, body="")

    def allowing(self, decision: Decision, cross_origin: CrossOrigin) -> Decision:
        """The decision with the fields by which a browser follows a redirect for the page that asks."""
        cors = self.config.pools[decision.pool].cors if decision.pool is not None else None
        if cors is None or cors.is_for_any or decision.prefix is None:
            return decision
        return replace(decision, fields=(*decision.fields, *cors.allowing(cross_origin.origin)))

    def _redirect(
        self, balancer: Balancer, scheme: str, asked: Endpoint | None, method: str, key: bytes | None
    ) -> Decision:
        if not balancer.has_eligible:
            return self._fall_back(balancer, scheme, asked, method, key)
        if not balancer.is_by_key:
            if method == "HEAD" and balancer.has_cycle:
                return self._peek(balancer, scheme, asked)
            picked = balancer.pick()
        elif key is None:
            raise MissingKeyError(balancer.pool.hash_on)
        else:
            picked = balancer.pick_by_key(key)
        redirect = (picked.http if scheme == "http" else picked.https) or picked.work_out(scheme)
        if redirect.leads_to != asked:
            return redirect
        other = balancer.pick_beside(picked, key or b"") if balancer.pool.on_loop == "next" else None
        return _loop(balancer.pool, other, redirect, scheme)

    def _peek(self, balancer: Balancer, scheme: str, asked: Endpoint | None) -> Decision:
        """What the next GET will get."""
        picked = balancer.peek()
        redirect = picked.work_out(scheme)
        if redirect.leads_to == asked:
            other = balancer.peek_beside(picked) if balancer.pool.on_loop == "next" else None
            redirect = _loop(balancer.pool, other, redirect, scheme)
        return redirect.without_pick()

    def _fall_back(
        self, balancer: Balancer, scheme: str, asked: Endpoint | None, method: str, key: bytes | None
    ) -> Decision:
        """What the first fallback says that has an eligible origin."""
        asked_for, reasons = balancer.pool.name, [balancer.why_none()]
        while (fallback := balancer.pool.fallback) is not None:
            balancer = self._balancers[fallback]
            if balancer.has_eligible:
                decision = self._redirect(balancer, scheme, asked, method, key)
                return replace(decision, fallback_for=asked_for)
            reasons.append(balancer.why_none())
        return Decision(503, asked_for, detail="; ".join(reasons))


_NO_POOL = Decision(404, detail="no route matches the request, and there is no default pool")
_DOT_SEGMENT = Decision(400, detail="the path has a segment of dots, which a server may resolve to another path")
_FRAGMENT = Decision(400, detail="the path has a #, where a server may end it")


def unclear_path(path: str) -> Decision | None:
    """The refusal of a path that an origin may take for another one than routes do."""
    if "#" in path:
        return _FRAGMENT
    return _DOT_SEGMENT if has_dot_segment(path) else None


def _forward(route: Route, prepared: Mapping[str, Balancer], name: str) -> Forward:
    """To the pool of that name, or to those that serve in its place. A chain of them may be long."""
    chain = [prepared[name]]
    while (fallback := chain[-1].pool.fallback) is not None:
        chain.append(prepared[fallback])
    behind = None
    for balancer in reversed(chain[1:]):
        behind = Forward(route, balancer, behind, name)
    return Forward(route, chain[0], behind, None)


def _loop(pool: Pool, other: Destination | None, redirect: Decision, scheme: str) -> Decision:
    """What takes the place of a redirect to where the client came from: one to the `other`, if there is any."""
    if other is None:
        return _refused_loop(pool, redirect)
    return (other.http if scheme == "http" else other.https) or other.work_out(scheme)


def _constant(route: Route, response: Response) -> Decision:
    fields = response.headers
    if response.body:
        fields = (("content-type", response.content_type), *fields)
    return Decision(response.status, route=route.name, fields=fields, body=response.body)


def balancers(
    config: Config,
    random: Random,
    health: Health = NO_HEALTH,
    now: float = 0.0,
    before: Service | None = None,
    pool_id_header: str = "",
) -> Iterator[tuple[str, Balancer]]:
    """The balancer of each pool by its name, one per step. Pools that are the same as `before` keep theirs.
    `pool_id_header` is the field by which requests name them.

    Each process has its own, whose cycles begin at random places.
    """
    cycles = Cycles()
    kept = before._balancers if before else {}
    vary = (pool_id_header or None) if _has_choice(config) else None
    for name, pool in config.pools.items():
        balancer = kept.get(name)
        is_known = balancer is not None and (balancer.pool is pool or balancer.pool == pool)
        if balancer is not None and is_known and (balancer.vary == vary or not is_kept(pool)):
            cycles.charge([origin.weight for origin in pool.origins])
        else:
            balancer = Balancer(pool, cycles, random, _statuses(pool, health), now, vary, balancer)
        yield name, balancer


def _has_choice(config: Config) -> bool:
    """Whether it matters which pool a request names."""
    forwarded = config.forwarded()
    is_another = config.default is None or config.default.name in forwarded
    return len(config.pools) - len(forwarded) + is_another > 1


def new_service(
    config: Config, random: Random, health: Health = NO_HEALTH, now: float = 0.0, pool_id_header: str = ""
) -> Service:
    return Service(config, dict(balancers(config, random, health, now, pool_id_header=pool_id_header)))


def outcome(pool: Pool, origin: Origin, scheme: str, asked: Endpoint | None) -> Decision:
    """The answer to a request if `origin` of `pool` were picked, and no other one could be."""
    redirect = Destination(pool, origin).work_out(scheme)
    return _refused_loop(pool, redirect) if redirect.leads_to == asked else redirect


def _statuses(pool: Pool, health: Health) -> Mapping[str, HealthStatus]:
    return health.get(pool.name, {}) if pool.has_health else {}


def _refused_loop(pool: Pool, redirect: Decision) -> Decision:
    detail = f"{pool.name} picked {redirect.origin}, the host that was asked for"
    if pool.on_loop == "stay":
        stay = f"{detail}: the client is to stay there"
        return Decision(pool.stay_status, pool.name, redirect.origin, detail=stay, due=redirect.due)
    loop = f"{detail}: a redirect would loop"
    return Decision(422, pool.name, redirect.origin, detail=loop, due=redirect.due)
