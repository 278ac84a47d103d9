"""The faults of bare processes: clients ask them directly, on connections that they keep, and try nothing twice."""

import time

from configuration import break_and_mend, replace_all_the_time
from fault import Fault, Injected
from processes import Service, end_a_worker, kill_a_worker, reload


def calm(_: Service) -> Injected:
    time.sleep(1)
    return Injected()


FAULTS: tuple[Fault[Service], ...] = (
    Fault("none", calm),
    Fault("TERM to a worker", end_a_worker),
    Fault("HUP to the master", reload),
    Fault("kill -9 of a worker", kill_a_worker),
    Fault("configuration replaced 20 times a second", replace_all_the_time),
    Fault("bad configurations and the good one back", break_and_mend),
)
