"""Coroutines are tests, on the event loop of the service."""

from support.coroutines import pytest_pyfunc_call as pytest_pyfunc_call
