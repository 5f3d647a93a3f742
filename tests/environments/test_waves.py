"""Where a server has room for some episodes only, they are played in waves."""

from pathlib import Path

import pytest

from toolrest.environments import host as host_module
from toolrest.environments.base import NoRoom, Start, Step
from toolrest.environments.host import Host, Limits

LIMITS = Limits(call_timeout=20, workers=4)


class Crowded:
    """Has room for some episodes at once, which are files in a folder."""

    def reset(self, row, seed):
        self.file = None
        if row.get("broken"):
            raise ValueError("no such row")
        for place in range(row["room"]):
            file = Path(row["folder"]) / str(place)
            try:
                file.touch(exist_ok=False)
            except FileExistsError:
                continue
            self.file = file
            return Start(({"role": "user", "content": str(row["job"])},))
        raise NoRoom("it is full", row["room"])

    def call(self, calls):
        return Step(())

    def close(self):
        if self.file is not None:
            self.file.unlink()


def jobs(folder, room, count=7):
    return [({"folder": str(folder), "room": room, "job": at}, 0) for at in range(count)]


def played(host, wanted):
    """The jobs of each wave, and what failed."""
    waves, failures = [], []
    for wave in host.waves(wanted):
        waves.append([at for at, _ in wave])
        failures += [each.failure for _, each in wave if each.failure is not None]
        for at, each in wave:
            if each.start is not None:
                assert each.start.messages[0]["content"] == str(at)
        for _, each in wave:
            assert each.close().result() is None
    return waves, failures


@pytest.mark.parametrize(("room", "most"), [(1, 7), (3, 4), (100, 1)])
def test_each_job_is_played_once_in_as_few_waves_as_there_is_room_for(tmp_path, room, most):
    with Host(Crowded, LIMITS) as host:
        waves, failures = played(host, jobs(tmp_path, room))
        assert failures == []
        assert sorted(at for wave in waves for at in wave) == list(range(7))
        assert all(len(wave) <= room for wave in waves) and len(waves) <= most


def test_a_job_that_fails_for_another_reason_is_not_tried_again(tmp_path):
    wanted = jobs(tmp_path, 2, count=4)
    wanted[1][0]["broken"] = True
    with Host(Crowded, LIMITS) as host:
        waves, failures = played(host, wanted)
    assert sorted(at for wave in waves for at in wave) == [0, 1, 2, 3]
    assert len(failures) == 1 and "no such row" in failures[0]


def test_room_that_others_hold_is_not_waited_for_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(host_module, "_ROOM_SECONDS", 0.2)
    (tmp_path / "0").touch()
    with Host(Crowded, LIMITS) as host:
        waves, failures = played(host, jobs(tmp_path, 1, count=3))
    assert sorted(at for wave in waves for at in wave) == [0, 1, 2]
    assert failures == ["environment Crowded: reset failed: it is full"] * 3


def test_no_job_is_no_wave():
    with Host(Crowded, LIMITS) as host:
        assert list(host.waves([])) == []
