"""Swarm replaces the replicas under load: no request fails, and what does not become ready is taken back."""

from support.compose import until

from .stack import REPLICAS, SwarmStack, pools, traffic


def test_another_toml_and_the_way_back_reach_all_replicas_and_no_request_fails(stack: SwarmStack) -> None:
    with traffic(stack.port) as got:
        assert stack.rotate(pools("second")) == "completed"
        rotated = len(got)
        assert stack.roll_back() == "rollback_completed"
    assert {*got} == {"http://first/", "http://second/"}
    assert (got[0], got[rotated], got[-1]) == ("http://first/", "http://second/", "http://first/")


def test_a_toml_that_is_bad_is_taken_back_and_no_request_fails(stack: SwarmStack) -> None:
    with traffic(stack.port) as got:
        assert stack.rotate("[pool]\nis_default = 7\n") == "rollback_completed"
        before = len(got)
        until(lambda: len(got), lambda count: count > before + 100, "answers after it was taken back")
    assert {*got} == {"http://first/"}


def test_scaling_up_and_down_fails_no_request(stack: SwarmStack) -> None:
    with traffic(stack.port) as got:
        for replicas in (REPLICAS + 1, REPLICAS):
            stack.scale(replicas)
    assert {*got} == {"http://first/"}
