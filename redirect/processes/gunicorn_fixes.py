"""Patches of gunicorn, each with its reason. Importing this module applies them."""

from time import monotonic, sleep
from types import SimpleNamespace

import gunicorn.arbiter
from gunicorn.sock import BaseSocket

# How long a stop may take gunicorn reads off the wall clock. Set forward meanwhile, it would have all workers killed in
# the middle of their last answers; set back, it would wait that much longer for one that does not end.
gunicorn.arbiter.time = SimpleNamespace(time=monotonic, monotonic=monotonic, sleep=sleep)

# gunicorn's master binds its sockets and would have them listen: whoever connects before there is a worker waits for
# its birth, and a proxy waits with many, where a refusal sends it on to the next replica. Workers have theirs listen.
BaseSocket._is_listening = staticmethod(lambda _: True)
