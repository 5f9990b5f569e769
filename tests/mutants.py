"""Defects on purpose: a test that keeps one shows that the checks of its subject would find it."""

from __future__ import annotations

from contextlib import AbstractContextManager

import pytest


def found() -> AbstractContextManager[object]:
    """The check inside fails or does not come to its end, as it has to: what it looks at has a defect."""
    return pytest.raises((AssertionError, TimeoutError, pytest.fail.Exception))
