"""What the tests of the public listener share: coroutines are tests."""

from support.coroutines import pytest_pyfunc_call as pytest_pyfunc_call
