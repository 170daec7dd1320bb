"""Pacing, on a clock that only sleeping moves."""

import threading

import pytest

from events.producer.pacing import Pace, seldom


class Time:
    """Seconds that pass by sleeping, each sleep `late_s` longer than asked."""

    def __init__(self, late_s: float = 0.0) -> None:
        self.now = 1000.0
        self.late_s = late_s
        self.sleeps: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds + self.late_s


def pace(time: Time, stop: threading.Event | None = None, seconds: float | None = None, **options: object) -> Pace:
    return Pace(stop or threading.Event(), seconds=seconds, monotonic=time.monotonic, sleep=time.sleep, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [3, 120, 5000])
@pytest.mark.parametrize("late_s", [0.0, 0.0005, 0.03])
def test_late_wakeups_do_not_lower_the_rate(rate: int, late_s: float) -> None:
    paced = pace(Time(late_s), seconds=10)
    sent = 0
    while paced.until(sent / rate):
        sent += 1
    assert sent == pytest.approx(10 * rate, rel=0.01, abs=1)


def test_nothing_is_sent_early() -> None:
    time = Time()
    paced = pace(time)
    for number in range(50):
        assert paced.until(number / 7)
        assert paced.elapsed_s >= number / 7 - 1e-9


def test_high_rates_share_wakeups() -> None:
    time = Time()
    paced = pace(time, seconds=1)
    sent = 0
    while paced.until(sent / 5000):
        sent += 1
    assert len(time.sleeps) <= 501


def test_a_short_stall_is_made_up_for() -> None:
    time = Time()
    paced = pace(time, seconds=10)
    sent = 0
    while paced.until(sent / 100):
        sent += 1
        if sent == 200:
            time.now += 4
    assert sent == pytest.approx(1000, abs=2)


def test_of_a_long_stall_five_seconds_are_made_up_for() -> None:
    #  0     2            62   70
    #  |-----|   stalled   |----|    2 s + 8 s on schedule, and 5 s of the 60 s made up for
    time = Time()
    paced = pace(time, seconds=70)
    sent = 0
    while paced.until(sent / 100):
        sent += 1
        if sent == 200:
            time.now += 60
    assert sent == pytest.approx(1500, abs=3)


def test_the_end_is_waited_for() -> None:
    time = Time()
    paced = pace(time, seconds=3)
    assert not paced.until(1_000_000)
    assert paced.elapsed_s == pytest.approx(3, abs=0.11)


def test_a_stop_is_seen_soon() -> None:
    time, stop = Time(), threading.Event()

    def sleep(seconds: float) -> None:
        time.sleep(seconds)
        if time.now > 1007:
            stop.set()

    paced = Pace(stop, monotonic=time.monotonic, sleep=sleep)
    assert not paced.until(1_000_000)
    assert paced.elapsed_s == pytest.approx(7, abs=0.21)


def test_reports_come_once_a_second() -> None:
    time = Time()
    reports: list[float] = []
    paced = pace(time, seconds=4.5, on_second=lambda: reports.append(time.now - 1000))
    assert not paced.until(60)
    assert reports == pytest.approx([1, 2, 3, 4], abs=0.5)


def test_progress_is_told_seldom_where_nobody_watches() -> None:
    #  s      0   1  59  60  61  121
    #  said   0          60      121
    said: list[str] = []
    now_s = 0.0
    report = seldom(said.append, watched=False, monotonic=lambda: now_s)
    for now_s in (0.0, 1.0, 59.0, 60.0, 61.0, 121.0):
        report(int(now_s))
    assert said == ["0", "60", "121"]


def test_progress_is_told_whole_to_one_who_watches() -> None:
    said: list[str] = []
    report = seldom(said.append, watched=True, monotonic=lambda: 0.0)
    report(1)
    report(2)
    assert said == ["1", "2"]
