"""Cases that must fail: the check runs them first, to see that it notices."""

import pytest


@pytest.fixture
def broken_fixture():
    raise RuntimeError("this fixture always fails")


def test_this_case_passes():
    assert 1 + 1 == 2


def test_this_case_fails():
    assert 1 + 1 == 3


def test_this_case_has_a_fixture_that_fails(broken_fixture):
    assert broken_fixture
