"""The detector itself: every planted look-ahead shows as a difference between the world that ends and the whole one."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.engine import execution
from tests.time_safety.leaks import LEAKS, Leak
from tests.time_safety.test_truncation import CUTS
from tests.time_safety.world import END, differences, instant, pipeline, world


@pytest.mark.parametrize(
    "leak",
    [
        pytest.param(leak, id=leak.what.replace(" ", "_"), marks=[pytest.mark.slow] if k % 2 else [])
        for k, leak in enumerate(LEAKS)
    ],
)
def test_a_planted_look_ahead_is_caught(leak: Leak, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert set(leak.cuts) <= set(CUTS)
    leak.plant(monkeypatch)
    monkeypatch.setattr(execution, "audit", lambda *args: [])  # which stop some of them by themselves
    full = pipeline(world(), END, tmp_path / "full", leak.until)
    for session in leak.cuts:
        part = pipeline(world().as_known(instant(session)), session, tmp_path / session, leak.until)
        if any(where.startswith(("ds_", "master")) for where in differences(part, full, session)):
            return
    pytest.fail(f"{leak.what} was not seen at {', '.join(leak.cuts)}")
