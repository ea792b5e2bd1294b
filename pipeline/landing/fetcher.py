"""The one place that asks the network. Everything else computes from what was landed."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from email.utils import parsedate_to_datetime

import httpx2

from pipeline.landing.classify import Answer, classify
from pipeline.landing.clock import Clock, stamp
from pipeline.landing.ledger import Ledger, Quota, QuotaSpent
from pipeline.landing.requests import (
    PROMOTED,
    RETRIED,
    SETTLED,
    SETTLED_TONIGHT,
    Class,
    FetchError,
    Line,
    NotLanded,
    Request,
)
from pipeline.landing.shape import shape_digest, shape_of_body
from pipeline.landing.zone import LandingZone

ATTEMPTS = 5
LONGEST_WAIT = 60.0
PATIENCE = 600.0
"""Seconds that one request may wait in all."""
IN_A_ROW = 20
"""Failures in a row after which the vendor is down, and nobody asks any more."""
KEPT_HEADERS = ("content-type", "date", "retry-after", "x-ratelimit-limit", "x-ratelimit-remaining", "last-modified")
HIDDEN = "(a secret stood here)"

Bundle = Sequence[Request]
"""Requests that are asked one after the other, in one thread."""


@dataclass(frozen=True)
class Access:
    """How a vendor is reached. headers: with the secret; secrets: what may appear in no file and no message."""

    vendor: str
    base_url: str
    quota: Quota
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    hosts: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 60.0

    def url(self, request: Request) -> str:
        """hosts: base URLs for paths that begin otherwise."""
        for prefix, base in self.hosts.items():
            if request.path.startswith(prefix):
                return base + request.path
        return self.base_url + request.path

    def hide(self, text: str) -> str:
        """A text without keys."""
        for secret in self.secrets:
            text = text.replace(secret, HIDDEN)
        return text


@dataclass
class FetchReport:
    """What a fetch did. stopped: why it ended before its time, "" when it did not; resumable: it can go on later.

    refused: asking again would not help either. classes: last answers by class; failed: requests without one that can
    be used, and why; settled: requests with one; retried: requests asked more than once, and why.
    """

    requests: int = 0
    attempts: int = 0
    bytes: int = 0
    units: int = 0
    classes: Counter[str] = field(default_factory=Counter)
    failed: dict[str, str] = field(default_factory=dict)
    retried: dict[str, str] = field(default_factory=dict)
    new_shapes: list[str] = field(default_factory=list)
    stopped: str = ""
    resumable: bool = False
    refused: bool = False
    settled: set[str] = field(default_factory=set)

    def add(self, other: FetchReport) -> None:
        """Add what another fetch did after this one."""
        self.requests, self.attempts = self.requests + other.requests, self.attempts + other.attempts
        self.bytes, self.units = self.bytes + other.bytes, self.units + other.units
        self.classes.update(other.classes)
        self.settled |= other.settled
        follow_up(self.failed, self.retried, other)
        self.new_shapes += other.new_shapes
        self.stopped, self.resumable, self.refused = other.stopped, other.resumable, other.refused


class Stopped(FetchError):
    """The vendor is down: asking on would not help now."""


class Refused(Stopped):
    """The vendor refuses the key or calls a request wrong: asking again would not help either."""


class Fetcher:
    """Asks a vendor for one batch and lands every answer.

    night: may use what a backfill leaves of the day's quota. offline: serves from the manifest, and asks nobody.
    """

    def __init__(
        self,
        zone: LandingZone,
        ledger: Ledger,
        access: Access,
        clock: Clock,
        batch_id: str,
        *,
        night: bool = False,
        offline: bool = False,
        workers: int = 6,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.zone, self.ledger, self.access, self.clock = zone, ledger, access, clock
        self.batch_id, self.night, self.offline, self.workers, self._chance = batch_id, night, offline, workers, chance
        self._client: httpx2.Client | None = None
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._stop = False
        self._tried: set[tuple[str, int]] = set()
        self._done: dict[tuple[str, int], Line] = {}
        self._shapes = zone.shapes(access.vendor)
        for line in zone.lines(source=access.vendor):
            if offline or line.batch_id == batch_id:
                self._done[line.request_key, line.nth] = line

    def limit(self, units: int) -> None:
        """The units of a day that the vendor itself names; a smaller setting holds."""
        quota = replace(self.access.quota, units=min(units, self.access.quota.units))
        self.access = replace(self.access, quota=quota)

    def done(self, request: Request) -> Line | None:
        """The line that settles a request of this batch, None while it should be asked."""
        line = self._done.get((request.key, request.nth))
        return line if line is not None and line.answer in (SETTLED_TONIGHT if self.night else SETTLED) else None

    def unasked(self, request: Request) -> bool:
        """Whether this fetcher has not asked yet, and no earlier one settled it."""
        return (request.key, request.nth) not in self._tried and self.done(request) is None

    def fetch(self, bundles: Sequence[Bundle]) -> FetchReport:
        """Ask everything that this batch has not settled. What stops it is in the report; nothing landed is lost."""
        report = FetchReport()
        todo = [bundle for bundle in bundles if any(self.unasked(request) for request in bundle)]
        self._stop = False
        try:
            with ThreadPoolExecutor(max(min(self.workers, len(todo)), 1)) as pool:
                for error in pool.map(lambda bundle: self._bundle(bundle, report), todo):
                    if error is not None and not report.stopped:
                        report.stopped, report.resumable = str(error), isinstance(error, QuotaSpent)
                        report.refused = isinstance(error, Refused)
        finally:
            self.zone.flush()
            self.close()
        return report

    def get(self, request: Request, report: FetchReport | None = None) -> Line:
        """The landed answer to one request; asked up to ATTEMPTS times. Raises Stopped, QuotaSpent, NotLanded."""
        done = self.done(request)
        if done is not None:
            return done
        self._tried.add((request.key, request.nth))
        if self.offline:
            raise NotLanded(
                f"offline, and {request.key} was never landed in {self.zone.objects.url}; fetch it with the network"
            )
        report = FetchReport() if report is None else report
        began = self.clock.now()
        for attempt in range(1, ATTEMPTS + 1):
            line, wait = self._ask(request, attempt, report)
            with self._lock:
                report.attempts += 1
                report.bytes += line.bytes
                report.units += request.cost if line.status == 200 else 0
                self._done[request.key, request.nth] = line
                self._in_a_row = self._in_a_row + 1 if line.answer in RETRIED else 0
                down = self._in_a_row >= IN_A_ROW
            if down:
                raise Stopped(
                    f"{self.access.vendor} failed {IN_A_ROW} times in a row, last with {line.note}; try later"
                )
            spent = (self.clock.now() - began).total_seconds()
            if line.answer not in RETRIED or attempt == ATTEMPTS or spent + wait > PATIENCE:
                break
            with self._lock:
                add_reason(
                    report.retried, request.key, f"{line.answer}: {line.note}" if line.note else str(line.answer)
                )
            self.clock.sleep(wait)
        self._note(request, line, report)
        return line

    def close(self) -> None:
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _bundle(self, bundle: Bundle, report: FetchReport) -> FetchError | None:
        try:
            for request in bundle:
                if self._stop:
                    return None
                if self.unasked(request):
                    self.get(request, report)
        except FetchError as error:
            self._stop = True
            return error
        return None

    def _ask(self, request: Request, attempt: int, report: FetchReport) -> tuple[Line, float]:
        """One attempt, landed, and how long to wait before another."""
        vendor, quota = self.access.vendor, self.access.quota
        self.ledger.reserve(vendor, request.cost, quota, self.clock.now(), night=self.night)
        wait = self.ledger.wait(vendor, quota, self.clock.now())
        if wait:
            self.clock.sleep(wait)
        asked = self.clock.now()
        status, headers, body, answer = self._exchange(request)
        received = self.clock.now()
        if status != 200:
            self.ledger.give_back(vendor, request.cost, received)
        rate = headers.get("x-ratelimit-limit", "")
        if rate.isdigit() and int(rate) > 0:
            self.ledger.set_rate(vendor, float(rate), received)
        wait = self._wait(attempt, answer.kind, headers, received)
        if answer.kind is Class.THROTTLED:
            self.ledger.pause(vendor, quota, wait, received)
        shape = shape_of_body(body) if body and answer.kind in PROMOTED and request.form == "json" else []
        self._see_shape(request, shape, report)
        line = Line(
            source=request.source,
            endpoint=request.endpoint,
            request_key=request.key,
            requested_at=stamp(asked),
            received_at=stamp(received),
            status=status,
            bytes=0,
            sha256="",
            answer=answer.kind,
            attempt=attempt,
            batch_id=self.batch_id,
            shape=shape_digest(shape),
            object="",
            nth=request.nth,
            note=self.access.hide(answer.why),
            headers={name: self.access.hide(headers[name]) for name in KEPT_HEADERS if name in headers},
        )
        return self.zone.land(line, body), wait

    def _see_shape(self, request: Request, shape: list[str], report: FetchReport) -> None:
        """Keep a shape that is new, and report what no answer of its endpoint had before."""
        digest = shape_digest(shape)
        with self._lock:
            known = self._shapes.setdefault(request.endpoint, {})
            if not digest or digest in known:
                return
            added = set(shape).difference(*known.values())
            if known and added:
                report.new_shapes.append(f"{request.endpoint}: {', '.join(sorted(added))} ({request.key})")
            known[digest] = shape
        self.zone.keep_shape(self.access.vendor, request.endpoint, digest, shape)

    def _exchange(self, request: Request) -> tuple[int, dict[str, str], bytes | None, Answer]:
        """Status (0 without one), headers, body, class. What the transport cannot do is an answer too."""
        try:
            found = self._connection().get(self.access.url(request), params=list(request.query))
            headers = {name.lower(): value for name, value in found.headers.items()}
            body = found.content
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            kind = Class.CORRUPT if isinstance(error, httpx2.DecodingError) else Class.UNAVAILABLE
            return 0, {}, None, Answer(kind, self.access.hide(f"{type(error).__name__}: {error}"))
        answer = classify(found.status_code, headers, body, request)
        if any(secret.encode() in body for secret in self.access.secrets):
            return found.status_code, headers, None, Answer(Class.CORRUPT, "the answer repeats the key; not kept")
        return found.status_code, headers, body, answer

    def _connection(self) -> httpx2.Client:
        with self._lock:
            if self._client is None:
                self._client = httpx2.Client(
                    headers=dict(self.access.headers), timeout=self.access.timeout, follow_redirects=False
                )
            return self._client

    def _wait(self, attempt: int, kind: Class, headers: Mapping[str, str], now: datetime) -> float:
        """Seconds: what the vendor asks for, else up to 0.5 * 2^k by chance (full jitter), at most a minute."""
        if kind is Class.THROTTLED:
            return retry_after(headers.get("retry-after", ""), now)
        return self._chance() * min(LONGEST_WAIT, 0.5 * 2**attempt)

    def _note(self, request: Request, line: Line, report: FetchReport) -> None:
        with self._lock:
            report.requests += 1
            report.classes[line.answer.value] += 1
            if line.answer in PROMOTED:
                report.settled.add(request.key)
                report.failed.pop(request.key, None)
            else:
                report.failed[request.key] = f"{line.answer}: {line.note}" if line.note else str(line.answer)
        _refuse(line, request)


def add_reason(reasons: dict[str, str], key: str, why: str) -> None:
    """One more reason for which a request was asked again."""
    had = reasons.get(key, "")
    if why not in had:
        reasons[key] = f"{had}; {why}" if had else why


def follow_up(failed: dict[str, str], retried: dict[str, str], after: FetchReport) -> None:
    """Bring failures, and reasons for asking again, up to a fetch after them. A failure that was answered since, or
    failed otherwise, is a reason for which the request was asked again."""
    for key in failed.keys() & (after.settled | after.failed.keys()):
        add_reason(retried, key, failed.pop(key))
    failed.update(after.failed)
    for key, why in after.retried.items():
        add_reason(retried, key, why)


def retry_after(text: str, now: datetime) -> float:
    """Seconds that `Retry-After` asks for, as a number or a date; a minute when it says nothing."""
    try:
        return max(float(text), 0.0)
    except ValueError:
        pass
    try:
        return max((parsedate_to_datetime(text) - now).total_seconds(), 0.0)
    except (TypeError, ValueError):
        return LONGEST_WAIT


def _refuse(line: Line, request: Request) -> None:
    """Answers after which nobody asks on. Raises Stopped or QuotaSpent."""
    if line.answer is Class.AUTH:
        raise Refused(f"{line.source} refuses the key or the contact ({line.note}); see docs/vendors.md for setting it")
    if line.answer is Class.QUOTA:
        raise QuotaSpent(
            f"{line.source} says that its quota is spent ({line.note}). What was fetched is kept; incomplete, "
            "resumable: the same command goes on after 00:00 GMT"
        )
    if line.answer is Class.BAD_REQUEST:
        raise Refused(f"{request.key}: {line.source} calls the request wrong ({line.note}); report it, with this line")
