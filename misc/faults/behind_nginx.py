"""The faults behind nginx: what is done to a stack of it and two replicas while clients ask."""

import time

from compose import REPLICAS, WORKERS, Replica, Stack
from configuration import break_and_mend, replace_all_the_time
from fault import Fault, FaultError, Injected, until

PAUSE = 5.0
DOWN = 1.0  # seconds for which a replica that has died or was stopped stays away
SCALED = 4

# Seconds for which nginx leaves out a replica that failed (fail_timeout): as long, another one is let alone.
LEFT_OUT = 1.0


def calm(stack: Stack) -> Injected:
    time.sleep(1)
    return Injected()


def kill_a_worker(stack: Stack) -> Injected:
    """One of each replica, one after the other."""
    took = []
    for replica in stack.replicas():
        victim = replica.admin.busiest()
        begun = time.monotonic()
        stack.kill(replica, victim)
        until(
            replica.admin.workers,
            lambda now: len(now) == WORKERS and victim not in now,  # noqa: B023
            "another worker takes the place",
        )
        took.append(time.monotonic() - begun)
        time.sleep(LEFT_OUT)
    return Injected(max(took))


def kill_a_replica(stack: Stack) -> Injected:
    victim = stack.replicas()[0]
    stack.docker("kill", victim.id)
    return _brought_back(stack, victim, exit_code=137)


def stop_a_replica(stack: Stack) -> Injected:
    victim = stack.replicas()[0]
    stack.docker("stop", victim.id)
    return _brought_back(stack, victim, exit_code=0)


def _brought_back(stack: Stack, victim: Replica, exit_code: int) -> Injected:
    ended = stack.replica(victim.id).state
    if ended["Running"] or ended["ExitCode"] != exit_code:
        raise FaultError(f"the replica did not end with exit code {exit_code}: {ended}")
    time.sleep(DOWN)
    stack.docker("start", victim.id)
    return Injected(_until_asked(stack, victim.id))


def pause_a_replica(stack: Stack) -> Injected:
    victim = stack.replicas()[0]
    stack.pause(victim)
    try:
        if not stack.replica(victim.id).state["Paused"]:
            raise FaultError("the replica was not paused")
        time.sleep(PAUSE)
    finally:
        stack.docker("unpause", victim.id)
    return Injected(_until_asked(stack, victim.id))


def restart_one_after_the_other(stack: Stack) -> Injected:
    took = []
    for before in stack.replicas():
        stack.docker("restart", before.id)
        took.append(_until_asked(stack, before.id))
        if stack.replica(before.id).state["StartedAt"] == before.state["StartedAt"]:
            raise FaultError("the replica was not restarted")
    return Injected(max(took))


def scale_up_and_down(stack: Stack) -> Injected:
    stack.scale(SCALED)
    grown = stack.replicas()
    if len(grown) != SCALED:
        raise FaultError(f"there are {len(grown)} replicas instead of {SCALED}")
    took = max(_until_asked(stack, each.id) for each in grown)
    time.sleep(DOWN)
    stack.scale(REPLICAS)
    if len(left := stack.replicas()) != REPLICAS:
        raise FaultError(f"there are {len(left)} replicas instead of {REPLICAS}")
    return Injected(took)


def _until_asked(stack: Stack, container: str) -> float:
    """Seconds until the replica is ready, and nginx asks it."""
    begun = time.monotonic()
    admin = stack.replica(container).admin
    until(admin.is_ready, bool, "the replica is ready")
    so_far = admin.requests()
    until(admin.requests, lambda now: now > so_far, "the replica is asked")
    return time.monotonic() - begun


FAULTS: tuple[Fault[Stack], ...] = (
    Fault("none", calm),
    Fault("kill -9 of a worker", kill_a_worker, 100),
    Fault("kill -9 of a replica", kill_a_replica, 100),
    Fault("pause of a replica for 5 s", pause_a_replica, 1100),
    Fault("stop of a replica", stop_a_replica, 100),
    Fault("rolling restart", restart_one_after_the_other, 100),
    Fault("scaling 2 to 4 to 2", scale_up_and_down, 100),
    Fault("configuration replaced 20 times a second", replace_all_the_time, 100),
    Fault("bad configurations and the good one back", break_and_mend, 100),
)
