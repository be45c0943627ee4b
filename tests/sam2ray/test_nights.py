"""Nights over one output: what failed is tried again, behind what is new, and not for ever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
from made_outputs import Ended, Output, clip, picture

from sam2ray.config_running import Limits
from sam2ray.ledger import Ending, RunBook
from sam2ray.records import Unit
from sam2ray.root import (
    SUCCESS,
    Selection,
    allowed_attempts,
    standing,
    write_waves,
)
from sam2ray.run_end import DONE, SOME_FAILED, STOPPED_EARLY, conclude
from sam2ray.storage import LocalStore


@dataclass
class Nights:
    """Runs of an archive, without Ray: each unit ends as `fates` say, all others well."""

    output: Output
    fates: dict[str, str] = field(default_factory=dict)  # by unit_id
    accepted: float = 0.0
    units: dict[str, Unit] = field(default_factory=dict)

    def list(self, units: Sequence[Unit], night: int) -> None:
        self.output.list(units, str(night))
        self.units |= {unit.unit_id: unit for unit in units}

    def run(self, name: str) -> tuple[int, list[Ended]]:
        store = self.output.store
        chosen = Selection(allowed_attempts(store, 3))
        book = RunBook(stop_window=200, max_failed_fraction=0.5, actors=1)
        ended: list[Ended] = []
        if not standing(store, self.output.index(), chosen.max_attempts).earns_mark:
            store.delete(SUCCESS)
        for wave in write_waves(store, name, self.output.index(), chosen, 1000):
            with store.open(wave.name) as file:
                rows = pq.read_table(file, columns=["unit_id", "attempt"]).to_pylist()
            for row in rows:
                if book.stop is None:
                    ended.append(self._tried(row))
                    end = ended[-1]
                    told = Ending(row["unit_id"], end.error_class, 0, 0, is_first=end.attempt == 1)
                    book.report([told])
        if ended:
            self.output.commit(ended, name)
        now, tally = standing(store, self.output.index(), chosen.max_attempts), book.tally()
        limits = Limits(accepted_failed_fraction=self.accepted)
        end = conclude(store, name, now, tally, chosen, limits)
        return end.exit_code, ended

    def _tried(self, row: Mapping[str, object]) -> Ended:
        unit = self.units[str(row["unit_id"])]
        fate = self.fates.get(unit.unit_id)
        return Ended(unit, masks=0, attempt=int(str(row["attempt"])), error_class=fate)


def _nights(tmp_path: Path, name: str, broken: int, units: int, accepted: float = 0.0) -> Nights:
    nights = Nights(Output(LocalStore(tmp_path)), accepted=accepted)
    every = [picture(n) for n in range(units)]
    nights.list(every, 1)
    nights.fates = {unit.unit_id: name for unit in every[:broken]}
    return nights


def test_one_unit_that_kills_its_process_is_tried_three_times_and_the_archive_is_done(tmp_path):
    nights = _nights(tmp_path, "poison", broken=1, units=300)
    tried = [nights.run(f"night-{n}") for n in range(5)]
    assert [code for code, _ in tried] == [SOME_FAILED] * 5
    assert [[one.attempt for one in ended] for _, ended in tried] == [[1] * 300, [2], [3], [], []]
    assert nights.output.store.exists(SUCCESS)


def test_new_files_are_done_though_hundreds_of_old_ones_are_gone(tmp_path):
    nights = _nights(tmp_path, "not_found", broken=250, units=1000, accepted=0.3)
    assert nights.run("night-1")[0] == DONE
    nights.list([picture(f"new{n}") for n in range(20)], 2)
    code, ended = nights.run("night-2")
    assert [one.attempt for one in ended] == [1] * 20 + [2] * 250
    assert code == DONE
    assert nights.run("night-3")[0] == DONE
    assert nights.output.store.exists(SUCCESS)
    assert nights.run("night-4") == (DONE, [])


def test_new_files_are_done_before_a_store_that_refuses_old_ones_ends_the_run(tmp_path):
    nights = _nights(tmp_path, "forbidden", broken=250, units=1000)
    assert nights.run("night-1")[0] == SOME_FAILED
    nights.list([picture(f"new{n}") for n in range(20)], 2)
    code, ended = nights.run("night-2")
    assert [one.attempt for one in ended[:20]] == [1] * 20
    assert (code, len(ended)) == (STOPPED_EARLY, 200)  # of which 180 were refused
    assert not nights.output.store.exists(SUCCESS)


def test_while_a_token_is_expired_no_archive_is_done_and_no_attempt_is_used_up(tmp_path):
    nights = _nights(tmp_path, "forbidden", broken=70, units=90)
    for n in range(6):
        assert nights.run(f"night-{n}")[0] == STOPPED_EARLY
        assert not nights.output.store.exists(SUCCESS)
    nights.fates.clear()
    code, ended = nights.run("with a new token")
    assert (code, len(ended)) == (DONE, 70)
    assert nights.output.store.exists(SUCCESS)


def test_an_accepted_archive_whose_new_files_are_refused_is_not_done_however_often(tmp_path):
    nights = _nights(tmp_path, "forbidden", broken=0, units=3000, accepted=0.2)
    assert nights.run("night-1")[0] == DONE
    new = [picture(f"new{n}") for n in range(250)]
    nights.list(new, 2)
    nights.fates = {unit.unit_id: "forbidden" for unit in new}
    codes = []
    for n in range(2, 9):
        codes.append(nights.run(f"night-{n}")[0])
        assert not nights.output.store.exists(SUCCESS)
    assert codes == [STOPPED_EARLY, STOPPED_EARLY, *[DONE] * 5]  # then nothing was new
    nights.fates.clear()
    assert nights.run("with a new token")[0] == DONE
    assert nights.output.store.exists(SUCCESS)


def test_clips_that_failed_come_behind_new_pictures(tmp_path):
    nights = Nights(Output(LocalStore(tmp_path)))
    clips = [clip(n) for n in range(3)]
    nights.list([*clips, *(picture(n) for n in range(4))], 1)
    nights.fates = {clips[0].unit_id: "io", picture(0).unit_id: "io"}
    assert [one.unit.kind for one in nights.run("night-1")[1]] == ["video"] * 3 + ["image"] * 4
    nights.list([clip("new"), picture("new")], 2)
    kinds = [(one.unit.kind, one.attempt) for one in nights.run("night-2")[1]]
    assert kinds == [("video", 1), ("image", 1), ("image", 2), ("video", 2)]
