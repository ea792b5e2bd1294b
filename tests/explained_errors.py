"""An error of every kind that tells a person what to do, for the faces that show them."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator

import pipeline
import security_master
from pipeline.audits import Check
from pipeline.engine.execution import AuditFailed
from pipeline.quality.findings import findings_frame
from pipeline.quality.session_rules import BatchFault
from pipeline.settings.names import WrongSettings
from pipeline.sources import SourceError
from pipeline.store.guards import GuardFailed
from pipeline.store.seal import Damaged
from security_master import AmbiguousTicker, BuildReport, IdentityGuard, UnknownTicker
from security_master.errors import ExplainedError

SAID = "what [/red] was found [b]"
"""Part of every message, with what a printer of markup would stumble over."""


def _check() -> Check:
    return Check("axes_are_whole", "ds_daily", False, 1.0, 0.0, 10, SAID, ())


def _report() -> BuildReport:
    return BuildReport("", (), (), (), (), (), (), (), 0, 0, {}, {})


STALE = {
    "sec_id": "",
    "session": 1,
    "rule": "stale_session",
    "observed": 1.0,
    "expected": 0.5,
    "evidence": SAID,
    "detected_at": 1,
}

MADE: dict[type[ExplainedError], Callable[[], ExplainedError]] = {
    AmbiguousTicker: lambda: AmbiguousTicker("AB", "2020-01-02", ["S1", "S2"], SAID),
    AuditFailed: lambda: AuditFailed("ds_daily", [_check()], "here"),
    BatchFault: lambda: BatchFault(findings_frame(**STALE, index=[0])),
    Damaged: lambda: Damaged("there", [SAID]),
    GuardFailed: lambda: GuardFailed([SAID], "here"),
    IdentityGuard: lambda: IdentityGuard(SAID, _report()),
    SourceError: lambda: SourceError(SAID, "prices.csv", 3, "close"),
    WrongSettings: lambda: WrongSettings([("root", SAID)]),
    UnknownTicker: lambda: UnknownTicker("AB", [SAID]),
}
"""The kinds that are not made from a message alone."""


def every_error() -> list[ExplainedError]:
    """One of each kind that the packages below the faces have."""
    for package in (pipeline, security_master):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    kinds = sorted(_below(ExplainedError), key=lambda kind: kind.__name__)
    return [MADE[kind]() if kind in MADE else kind(SAID) for kind in kinds]


def _below(kind: type[ExplainedError]) -> Iterator[type[ExplainedError]]:
    for sub in kind.__subclasses__():
        if sub.__module__.split(".")[0] in ("pipeline", "security_master"):
            yield sub
        yield from _below(sub)
