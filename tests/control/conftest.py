"""Coroutines are tests, in this folder too."""

from support.coroutines import pytest_pyfunc_call as pytest_pyfunc_call
