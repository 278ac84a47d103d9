"""Coroutines are tests, on the event loop of a worker."""

from support.coroutines import pytest_pyfunc_call as pytest_pyfunc_call
