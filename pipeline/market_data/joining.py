"""How a row finds its security: the join to the security master by vendor code and date, and when that is known.

Of each row `visible` says the ordinal of the first session that may use it: the row has to be known by then, and who
its security is, too. Whose a row was taken for when it came, it stays, as first printed: the bars of a company whose
end or takeover became known only later are that company's, and the other one's from the session on that knows better.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import union_categoricals

from pipeline.calendar import ALWAYS, Calendar
from pipeline.quality.findings import findings_frame
from security_master.panels import attributes


class KnowsIdentities(Protocol):
    """What is needed of `security_master.SecurityMaster`."""

    def holders(
        self, vendor_codes: Any, dates: Any, *, assumed: NDArray[np.bool_] | None = None
    ) -> tuple[pd.Categorical, NDArray[np.datetime64]]: ...

    def roster(self) -> pd.DataFrame: ...

    def listings(self) -> pd.DataFrame: ...


@dataclass(frozen=True)
class Clock:
    """Turns instants of knowledge into the ordinal of the first session that may use them."""

    calendar: Calendar
    delay_minutes: int
    restated_as_of: np.datetime64 | None

    def visible(self, known_from: Any) -> NDArray[np.int32]:
        known_from = np.asarray(known_from, "datetime64[us]")
        visible = self.calendar.visible_from(known_from, self.delay_minutes)
        if self.restated_as_of is not None:
            visible[known_from <= self.restated_as_of] = ALWAYS
        return visible

    def instants(self, moments: NDArray[np.integer]) -> NDArray[np.datetime64]:
        """Knowledge instants of sessions (ordinals); those after the calendar's end are its last one."""
        moments = np.minimum(moments, len(self.calendar.sessions) - 1)
        instants = self.calendar.knowledge_instants(moments, self.delay_minutes)
        return instants if self.restated_as_of is None else np.maximum(instants, self.restated_as_of)

    def attributes(self, master: KnowsIdentities, events: pd.DataFrame, session: str) -> pd.DataFrame:
        """Attributes of the security of each event at its session, as known when the event is first used."""
        of_event, end = events[session].to_numpy(), len(self.calendar.sessions) - 1
        instants = self.instants(np.maximum(of_event, events["visible"].to_numpy()))
        days = self.calendar.sessions[np.minimum(of_event, end)]
        return attributes(master.listings(), events["sec_id"], days, instants)


class Joined(NamedTuple):
    """Rows of one table that belong to a security, and findings about those that do not, or are left out."""

    rows: pd.DataFrame
    findings: list[pd.DataFrame]


@dataclass(frozen=True)
class Join:
    """Joins a table to the security master by vendor code and date."""

    master: KnowsIdentities
    clock: Clock
    code_known: pd.Series  # by vendor code, the instant of its first listing
    unowned_gap: int

    def rows(self, name: str, frame: pd.DataFrame, date_column: str) -> Joined:
        """The rows with `sec_id` and `visible`; bars of many sessions have it as a category.

        Whose an event or a filing is, is asked as the security master asks it of its own rows. A bar under a code that
        its security did not have that day stands beside the bars that it has, and is nobody's.
        """
        assumed = None if name == "prices" else frame["known_assumed"].to_numpy(bool)
        owner, since = self._holders(frame["vendor_code"], frame[date_column], assumed)
        owned = np.asarray(owner.codes >= 0)
        alone = self.clock.visible(frame["known_from"])
        visible, strange = alone.copy(), ~owned
        late = np.flatnonzero(owned & (since > frame["known_from"].to_numpy("datetime64[us]")))
        visible[late] = np.maximum(alone[late], self.clock.visible(since[late]))
        strange[late] = visible[late] > alone[late]
        left_out, kept = [], np.flatnonzero(owned)
        if strange.any():
            at = np.flatnonzero(strange)
            rows = frame.iloc[at]
            then = self.believed_owners(rows["vendor_code"], rows[date_column], alone[at])
            taken = then != ""
            if not taken.all():
                rest = at[~taken]
                left_out.append(self.strangers(name, frame.iloc[rest], date_column, alone[rest], visible[rest]))
            kept = np.concatenate([kept, at[taken]])
            visible = np.concatenate([visible[owned], alone[at[taken]]])
            frame, owner = frame.iloc[kept], owner[owned]
            if taken.any():
                owner = union_categoricals([owner, pd.Categorical(then[taken])], sort_categories=True)
        sec_id = _without_others(owner) if name == "prices" else pd.array(_texts(owner), dtype="str")
        return Joined(frame.assign(visible=visible, sec_id=sec_id), left_out)

    def believed_owners(self, codes: pd.Series, dates: pd.Series, moments: NDArray[np.integer]) -> NDArray[np.object_]:
        """Security that each vendor code was taken for on its date at the session `moments` (ordinals), "" for none.

        A row that comes before its date is taken for what is believed on its date.
        """
        clock, days = self.clock, dates.to_numpy("datetime64[s]")
        asked = pd.DataFrame({"vendor_code": codes.to_numpy(object), "day": days, "row": np.arange(len(days))})
        of_day = clock.calendar.on_or_after(days.astype("datetime64[D]"))
        asked["instant"] = clock.instants(np.maximum(of_day, moments))
        beliefs = self.master.listings()
        beliefs = beliefs[beliefs["vendor_code"].isin(asked["vendor_code"].unique())]
        held = asked.merge(beliefs.astype({"vendor_code": object}), on="vendor_code")
        held = held[
            (held["valid_from"] <= held["day"])
            & (held["day"] < held["valid_to"])
            & (held["known_from"] <= held["instant"])
            & (held["instant"] < held["known_to"])
        ].drop_duplicates("row")
        found = np.full(len(days), "", object)
        found[held["row"].to_numpy()] = held["sec_id"].to_numpy(object)
        return found

    def owners(self, codes: pd.Series, dates: pd.Series) -> tuple[NDArray[np.object_], NDArray[np.datetime64]]:
        """Security that each vendor code means on its date, "" for none, and the instant since which that is known."""
        owner, since = self._holders(codes, dates, None)
        return _texts(owner), since

    def _holders(
        self, codes: pd.Series, dates: pd.Series, assumed: NDArray[np.bool_] | None
    ) -> tuple[pd.Categorical, NDArray[np.datetime64]]:
        asked = codes.array if isinstance(codes.dtype, pd.CategoricalDtype) else codes.to_numpy(object)
        return self.master.holders(asked, dates.to_numpy("datetime64[D]"), assumed=assumed)

    def strangers(
        self, name: str, frame: pd.DataFrame, date_column: str, alone: NDArray[np.int32], visible: NDArray[np.int32]
    ) -> pd.DataFrame:
        """Findings about rows whose owner is not known when the row is; rows of a code come with its first listing.

        alone: when the rows themselves are known; visible: when their owner is, too (the same without one).
        """
        met = np.maximum(alone, self.clock.visible(self.listed_since(frame["vendor_code"])))
        seen = np.maximum(self.clock.calendar.on_or_after(frame[date_column].to_numpy("datetime64[D]")), met)
        nobody = (visible == alone) | (seen < visible)
        return _unowned(frame[nobody], name, date_column, self.clock.calendar, met[nobody], self.unowned_gap)

    def listed_since(self, codes: pd.Series) -> NDArray[np.datetime64]:
        """The instant of the first listing of each vendor code; the epoch for one that no listing has."""
        known = self.code_known.reindex(codes.astype("str")).to_numpy("datetime64[us]")
        return np.where(np.isnat(known), np.datetime64(0, "us"), known)

    def known_owners(self, codes: pd.Series, dates: pd.Series, moments: NDArray[np.integer]) -> NDArray[np.object_]:
        """`owners` as far as they are known at the sessions `moments` (ordinals)."""
        sec_ids, since = self.owners(codes, dates)
        known = (sec_ids != "") & (self.clock.visible(since) <= moments)
        found = np.where(known, sec_ids, "")
        if not known.all():
            found[~known] = self.believed_owners(codes[~known], dates[~known], moments[~known])
        return found


def _texts(owner: pd.Categorical) -> NDArray[np.object_]:
    """The ids, "" for none."""
    return np.append(owner.categories.to_numpy(object), "")[owner.codes]


def _without_others(owner: pd.Categorical) -> pd.Categorical:
    """The same ids, as a category of those that occur."""
    used = np.bincount(owner.codes, minlength=len(owner.categories)) > 0
    return pd.Categorical.from_codes((np.cumsum(used) - 1)[owner.codes], categories=owner.categories[used])


def _unowned(
    frame: pd.DataFrame, name: str, date_column: str, calendar: Calendar, visible: NDArray[np.int32], gap: int
) -> pd.DataFrame:
    """One finding for each run of rows of a vendor code that belong to no security on their date, as known then."""
    dates = frame[date_column].to_numpy("datetime64[D]")
    seen = np.maximum(calendar.on_or_after(dates), visible)
    rows = pd.DataFrame({"code": frame["vendor_code"].astype("str"), "date": dates, "seen": seen})
    rows = rows.sort_values(["code", "seen", "date"], ignore_index=True)
    same_run = (rows["code"] == rows["code"].shift()) & (rows["seen"].diff() <= gap)
    rows = rows[~same_run]  # the first row of a run: what follows is not known yet
    return findings_frame(
        sec_id="",
        session=calendar.on_or_after(rows["date"].to_numpy("datetime64[D]")),
        rule="no_security",
        observed=np.nan,
        expected=np.nan,
        evidence=[
            f"{name}: rows of {row.code} from {row.date:%Y-%m-%d} on belong to no security" for row in rows.itertuples()
        ],
        detected_at=rows["seen"].to_numpy(),
        index=range(len(rows)),
    )
