"""The allocator of a worker: memory that was freed is used again, and is not asked of the kernel each time."""

import sys

import pytest
from support.service import ended

pytestmark = pytest.mark.processes

# Page faults while 200 reads of 250 KB come and go, of 61 pages each.
PROGRAM = """
import resource
from redirect.processes.allocator import keep_freed_memory
keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def read():
    first, second = b"x" * 250_000, b"y" * 250_000
read()
before = faults()
for _ in range(200):
    read()
print(faults() - before)
"""


def test_pages_of_a_body_are_used_again() -> None:
    """What a read of a body takes was there before: without it each would fault in its pages again."""
    assert int(ended(sys.executable, "-c", PROGRAM).stdout) < 200
