"""The failure matrix: every way in which the other side, or this one, may fail, for real."""

import pytest

pytest.register_assert_rewrite("tests.failures.case")  # so that a row that differs is shown
