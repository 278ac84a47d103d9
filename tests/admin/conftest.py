"""Coroutines are tests, on the event loop of the controller."""

from support.coroutines import on

from redirect.control.prober import Loop

pytest_pyfunc_call = on(Loop)
