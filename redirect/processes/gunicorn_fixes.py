"""Patches of gunicorn, each with its reason and the test that fails without it. Importing this module applies them."""

from time import monotonic, sleep
from types import SimpleNamespace

import gunicorn.arbiter
from gunicorn.sock import BaseSocket

# gunicorn measures a stop by the wall clock. If it is set forward meanwhile, all workers are killed in the middle of
# their last responses; if it is set back, the stop waits that much longer for a worker that does not end.
# tests/processes/test_clock.py: test_a_clock_that_is_set_during_a_stop
gunicorn.arbiter.time = SimpleNamespace(time=monotonic, monotonic=monotonic, sleep=sleep)

# gunicorn's master makes its sockets listen as it binds them. A client that connects before there is a worker would
# wait for it, where a refusal makes a proxy ask the next replica. Each worker makes the public socket listen.
# tests/processes/test_server.py: test_a_client_before_there_is_a_worker
BaseSocket._is_listening = staticmethod(lambda _: True)
