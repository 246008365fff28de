"""A backend that does not work fails its tests."""

from __future__ import annotations

import pytest

from fastconv.errors import BackendUnavailableError
from tests.backends import usable


@pytest.mark.parametrize("name", usable.NEEDS)
def test_only_what_is_not_installed_is_skipped(name, monkeypatch):
    def broken(name):
        raise BackendUnavailableError("does not compile")

    monkeypatch.setattr(usable, "get_backend", broken)
    for installed, outcome in ((True, BackendUnavailableError), (False, pytest.skip.Exception)):
        monkeypatch.setattr(usable, "NEEDS", {name: lambda installed=installed: installed})
        with pytest.raises(outcome, match="does not compile"):
            usable.backend_or_skip(name)
