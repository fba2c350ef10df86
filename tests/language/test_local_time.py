"""Days, months and years in the time zone of a site, even if the clocks change at midnight."""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multisite import Site
from multisite.language.local_time import local_bounds, local_time, zone_of


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "day", "begins", "ends"),
    [
        # 23 and 25 hours.
        ("Europe/Berlin", (2024, 3, 31), "2024-03-30 23:00", "2024-03-31 22:00"),
        ("Europe/Berlin", (2024, 10, 27), "2024-10-26 22:00", "2024-10-27 23:00"),
        # At midnight the clocks were set forward to one o'clock; at another midnight back to eleven.
        ("America/Sao_Paulo", (2017, 10, 15), "2017-10-15 03:00", "2017-10-16 02:00"),
        ("America/Sao_Paulo", (2018, 2, 17), "2018-02-17 02:00", "2018-02-18 03:00"),
        ("Asia/Kathmandu", (2024, 5, 5), "2024-05-04 18:15", "2024-05-05 18:15"),
        ("Asia/Kathmandu", (1986, 1, 1), "1985-12-31 18:30", "1986-01-01 18:15"),
        # A day that was skipped.
        ("Pacific/Apia", (2011, 12, 29), "2011-12-29 10:00", "2011-12-30 10:00"),
        ("Pacific/Apia", (2011, 12, 30), "2011-12-30 10:00", "2011-12-30 10:00"),
        ("Pacific/Apia", (2011, 12, 31), "2011-12-30 10:00", "2011-12-31 10:00"),
        # At half past eleven the clocks were set forward to half past midnight.
        ("America/Toronto", (1919, 3, 31), "1919-03-31 04:30", "1919-04-01 04:00"),
        # At one minute past midnight they were set back to one past eleven, so midnight occurred twice.
        ("America/St_Johns", (2010, 11, 7), "2010-11-07 02:30", "2010-11-08 03:30"),
        ("UTC", (2024, 2, 29), "2024-02-29 00:00", "2024-03-01 00:00"),
    ],
)
def test_a_day_is_from_midnight_to_midnight_by_the_clocks_of_the_site(
    zone: str, day: tuple[int, int, int], begins: str, ends: str
) -> None:
    assert local_bounds(ZoneInfo(zone), *day) == (utc(begins), utc(ends))


def test_months_and_years_are_made_of_their_days() -> None:
    berlin, apia = ZoneInfo("Europe/Berlin"), ZoneInfo("Pacific/Apia")
    assert local_bounds(berlin, 2024) == (utc("2023-12-31 23:00"), utc("2024-12-31 23:00"))
    assert local_bounds(berlin, 2024, 3) == (utc("2024-02-29 23:00"), utc("2024-03-31 22:00"))
    assert local_bounds(berlin, 2024, 12) == (utc("2024-11-30 23:00"), utc("2024-12-31 23:00"))
    assert local_bounds(apia, 2011, 12)[1] == local_bounds(apia, 2012)[0] == utc("2011-12-31 10:00")


ZONES = [
    ZoneInfo(name)
    for name in (
        "Europe/Berlin", "America/Sao_Paulo", "Asia/Kathmandu", "Pacific/Apia", "America/Toronto", "Africa/Cairo",
        "Asia/Tehran", "America/Havana", "Australia/Lord_Howe", "Atlantic/Azores", "Africa/Casablanca",
    )
]  # fmt: skip


@given(st.sampled_from(ZONES), st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)))  # noqa: DTZ001
def test_every_moment_is_in_the_day_that_its_clock_shows(zone: ZoneInfo, moment: datetime) -> None:
    when = moment.replace(tzinfo=UTC)
    shown = when.astimezone(zone)
    begins, ends = local_bounds(zone, shown.year, shown.month, shown.day)
    assert begins <= when < ends
    following = shown.date() + timedelta(days=1)
    assert local_bounds(zone, following.year, following.month, following.day)[0] == ends
    month = local_bounds(zone, shown.year, shown.month)
    assert month[0] <= begins <= ends <= month[1]


def test_naive_arithmetic_would_put_moments_into_another_day() -> None:
    """The negative control: midnight computed with the offset before the transition."""
    toronto = ZoneInfo("America/Toronto")
    when = utc("1919-03-31 04:45")
    assert when.astimezone(toronto).date() == date(1919, 3, 31)
    assert not datetime(1919, 3, 31, tzinfo=toronto).astimezone(UTC) <= when
    assert local_bounds(toronto, 1919, 3, 31)[0] <= when


@pytest.mark.parametrize("parts", [(2023, 2, 29), (2024, 13), (0,), (9999,), (9999, 12, 31), (1,), (2024, None, 5)])
def test_an_impossible_date_is_a_value_error(parts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError):
        local_bounds(ZoneInfo("Europe/Berlin"), *parts)


def test_a_moment_is_shown_by_the_clocks_of_the_site_and_a_naive_one_is_refused() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    assert local_time(utc("2024-05-05 22:30"), berlin).isoformat() == "2024-05-06T00:30:00+02:00"
    tokyo = datetime(2024, 5, 6, 7, 30, tzinfo=timezone(timedelta(hours=9)))
    assert local_time(tokyo, berlin) == tokyo
    assert local_time(datetime.max.replace(tzinfo=UTC), berlin).year == 9999
    with pytest.raises(ValueError, match="has no time zone"):
        local_time(datetime(2024, 5, 5, 22, 30), berlin)  # noqa: DTZ001


def test_a_zone_that_the_machine_does_not_know_is_utc_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        for name in ("Mars/Olympus", "../etc/passwd"):
            assert zone_of(Site(1, "a.example", "A", "a", timezone=name)) == ZoneInfo("UTC")
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
