"""The match store: what is put comes back to the bit, whatever happens between; its last bytes know no order."""

from __future__ import annotations

import errno
import os
from itertools import permutations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demis_ij.errors import FormatError
from demis_ij.records import PairMatch, Rejected
from demis_ij.runs import MatchStore, match_files, matches
from demis_ij.runs.match_tables import POINTS, SCHEMA, moments, moments_of, sums_about
from demis_ij.solvers.sums import centre_of_tile, sums_of_points

STAGE = "first-sift"


def match(fixed="a", moving="b", n=9, seed=0):
    rng = np.random.default_rng(seed)
    moving_xy = rng.uniform(0, 500, (n, 2))
    to_fixed = np.array([[1.0, 0, rng.normal()], [0, 1, -3.5], [0, 0, 1]])
    return PairMatch(
        fixed, moving, moving_xy + rng.normal(size=(n, 2)), moving_xy, to_fixed, "rigid", rng.normal(size=(3, 3)), 0.25,
        "sift", 40, (("loftr", "3 of 4\nmatches"),), 2 * n,
    )  # fmt: skip


def lost(fixed="x", moving="y"):
    return Rejected(fixed, moving, "too few", "sift", 5, 2, (("loftr", "none"), ("sift", "")))


def same(one, two):
    if isinstance(one, Rejected) or isinstance(two, Rejected):
        return one == two
    arrays = ("fixed_xy", "moving_xy", "to_fixed", "covariance")
    rest = ("fixed", "moving", "model", "residual_px", "matcher", "matches", "tried", "inliers", "agreeing")
    return all(np.array_equal(getattr(one, k), getattr(two, k)) for k in arrays) and all(
        getattr(one, k) == getattr(two, k) for k in rest
    )


def many(n, seed=0):
    return [lost(f"t{k}", f"t{k + 1}") if k % 3 == 0 else match(f"t{k}", f"t{k + 1}", 3 + k % 5, k) for k in range(n)]


def names(folder):
    return sorted(p.name for p in folder.iterdir())


@settings(deadline=None, max_examples=12)
@given(n=st.integers(0, 40), seed=st.integers(0, 99), name=st.text(max_size=5))
def test_what_is_put_comes_back_to_the_bit(tmp_path_factory, n, seed, name):
    folder = tmp_path_factory.mktemp("store") / "0"
    put = [match(f"{name}1", 'c;\n"d', n, seed), lost()]
    MatchStore(folder).put(STAGE, put)

    store = MatchStore(folder)

    assert len(store) == 2
    for outcome in put:
        assert same(store.get(STAGE, (outcome.fixed, outcome.moving)), outcome)
    assert store.get("other", ("x", "y")) is None
    store.finish()
    assert same(MatchStore(folder).get(STAGE, (put[0].fixed, put[0].moving)), put[0])


def test_a_store_that_nobody_wrote_is_empty_and_makes_no_folder(tmp_path):
    store = MatchStore(tmp_path / "0")
    assert (len(store), store.columns().num_rows, store.get_many("s", [("a", "b")])) == (0, 0, {})
    store.put("s", [])
    store.finish()
    assert not (tmp_path / "0").exists()


def test_every_put_is_a_file_and_many_files_become_one(tmp_path, monkeypatch):
    monkeypatch.setattr(matches, "MANY", 4)
    store = MatchStore(tmp_path)
    told = []
    for outcome in many(10):
        store.put(STAGE, [outcome])
        told.append(names(tmp_path))
    assert told[2] == ["000000.parquet", "000001.parquet", "000002.parquet"]
    assert told[3] == ["000000-000003.parquet"]
    assert told[9] == ["000000-000003.parquet", "000004-000007.parquet", "000008.parquet", "000009.parquet"]
    for there in (store, MatchStore(tmp_path)):
        found = there.get_many(STAGE, [(o.fixed, o.moving) for o in many(12)])
        assert len(found) == 10
        assert all(same(found[o.fixed, o.moving], o) for o in many(10))


def test_the_bytes_of_a_finished_store_know_no_order_of_arrival_and_no_interruption(tmp_path, monkeypatch):
    monkeypatch.setattr(matches, "MANY", 3)
    batches = [many(12)[n : n + 3] for n in range(0, 12, 3)]
    seen = set()
    for n, order in enumerate(list(permutations(batches))[::4]):
        for k, batch in enumerate(order):
            store = MatchStore(tmp_path / str(n))
            store.put(STAGE, batch)
            if k == n % 4:
                store.finish()  # and gone on with
        MatchStore(tmp_path / str(n)).finish()
        assert names(tmp_path / str(n)) == ["all.parquet"]
        seen.add((tmp_path / str(n) / "all.parquet").read_bytes())
    assert len(seen) == 1


def test_a_store_larger_than_what_is_sorted_at_once_is_sorted_all_the_same(tmp_path, monkeypatch):
    whole = many(50)
    for name in ("one", "two"):
        store = MatchStore(tmp_path / name)
        for n in range(0, 50, 7):
            store.put(STAGE, whole[n : n + 7])
        store.finish()
        monkeypatch.setattr(match_files, "SORTED_AT_ONCE", 8)
    tables = [pq.read_table(tmp_path / name / "all.parquet") for name in ("one", "two")]
    assert tables[0].equals(tables[1])
    assert tables[0].column("fixed").to_pylist() == sorted(o.fixed for o in whole)
    assert names(tmp_path / "two") == ["all.parquet"]


def test_finishing_twice_touches_nothing(tmp_path):
    store = MatchStore(tmp_path)
    store.put(STAGE, many(5))
    store.finish()
    before = (tmp_path / "all.parquet").stat()
    MatchStore(tmp_path).finish()
    assert (tmp_path / "all.parquet").stat() == before


def stopped(*_args, **_options):
    raise KeyboardInterrupt


@pytest.mark.parametrize("where", ["join", "finish", "finish, the first removed"])
def test_a_process_killed_while_it_tidies_up_loses_nothing(tmp_path, monkeypatch, where):
    if where == "join":
        monkeypatch.setattr(matches, "MANY", 4)
    store = MatchStore(tmp_path)
    for outcome in many(3):
        store.put(STAGE, [outcome])

    def one(paths):
        match_files.remove(list(paths)[:1])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(matches, "remove", one if "first" in where else stopped)
        with pytest.raises(KeyboardInterrupt):
            store.finish() if where != "join" else store.put(STAGE, [many(4)[3]])
    assert len(names(tmp_path)) > 1  # what is joined, and what it was joined of
    put = many(4) if where == "join" else many(3)
    for _ in range(2):
        again = MatchStore(tmp_path)
        assert len(again) == again.columns().num_rows == len(put)
        assert all(same(again.get(STAGE, (o.fixed, o.moving)), o) for o in put)
        again.finish()
    assert names(tmp_path) == ["all.parquet"]


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_what_was_there_and_no_scratch(tmp_path, monkeypatch, call):
    store = MatchStore(tmp_path)
    store.put(STAGE, many(3))

    def full(*_args, **_options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    target = {
        "write": "pyarrow.parquet.ParquetWriter.write_table",
        "fsync": "os.fsync",
        "replace": "pathlib.Path.replace",
    }
    for act in (lambda: store.put(STAGE, many(6)[3:]), lambda: store.finish(), lambda: store.forget([("t0", "t1")])):
        with monkeypatch.context() as patch:
            patch.setattr(target[call], full)
            with pytest.raises(OSError, match="No space") as caught:
                act()
        assert caught.value.errno == errno.ENOSPC
        assert len(MatchStore(tmp_path)) == 3
        assert names(tmp_path) == ["000000.parquet"]
    store.put(STAGE, many(6)[3:])
    assert len(MatchStore(tmp_path)) == 6


def test_what_a_killed_process_left_half_written_is_not_read_and_removed_at_the_end(tmp_path):
    store = MatchStore(tmp_path)
    store.put(STAGE, many(3))
    (tmp_path / ".000001.parquet.part").write_bytes(b"half")
    (tmp_path / ".sorting").mkdir()
    (tmp_path / ".sorting" / "0").write_bytes(b"half")
    again = MatchStore(tmp_path)
    assert len(again) == 3
    again.finish()
    assert names(tmp_path) == ["all.parquet"]


@pytest.mark.parametrize("finished", [True, False])
def test_forgotten_pairs_are_gone_from_every_stage_and_the_others_stay(tmp_path, finished):
    store = MatchStore(tmp_path)
    store.put("first-loftr", [lost("t1", "t2")])
    store.put(STAGE, many(6))
    if finished:
        store.finish()
    assert store.forget([("t1", "t2"), ("t4", "t5"), ("no", "such")]) == 3
    for there in (store, MatchStore(tmp_path)):
        assert len(there) == there.columns().num_rows == 4
        assert there.get("first-loftr", ("t1", "t2")) is None
        assert there.get(STAGE, ("t4", "t5")) is None
        assert same(there.get(STAGE, ("t2", "t3")), many(6)[2])
    assert store.forget([]) == 0


def test_a_pair_put_anew_takes_the_place_of_the_old_one(tmp_path):
    store = MatchStore(tmp_path)
    store.put(STAGE, [match(seed=1), lost()])
    store.finish()
    store.put(STAGE, [match(seed=2)])
    for there in (store, MatchStore(tmp_path)):
        assert same(there.get(STAGE, ("a", "b")), match(seed=2))
        assert there.columns().num_rows == 2
    store.finish()
    assert same(MatchStore(tmp_path).get(STAGE, ("a", "b")), match(seed=2))


def test_a_reader_goes_on_while_the_writer_joins_files(tmp_path, monkeypatch):
    monkeypatch.setattr(matches, "MANY", 4)
    writer = MatchStore(tmp_path)
    for outcome in many(3):
        writer.put(STAGE, [outcome])
    reader = MatchStore(tmp_path)
    writer.put(STAGE, [many(4)[3]])  # the three files are gone now
    assert same(reader.get(STAGE, ("t1", "t2")), many(3)[1])
    writer.finish()
    assert reader.columns().num_rows == 4
    assert [m.moving for m in reader.agreed(("t1", "t2"))] == ["t2"]


def test_stores_of_parts_of_a_section_are_put_together(tmp_path):
    one, two, whole = (MatchStore(tmp_path / name) for name in ("one", "two", "whole"))
    one.put(STAGE, many(6)[:4])
    two.put(STAGE, many(6)[3:])
    whole.put(STAGE, many(6))
    whole.finish()
    assert one.take_from(two) == 2
    one.finish()
    assert (tmp_path / "one" / "all.parquet").read_bytes() == (tmp_path / "whole" / "all.parquet").read_bytes()


@pytest.mark.parametrize("when", ["before", "while it is listed", "while it is opened"])
def test_a_store_that_another_process_joins_meanwhile_is_taken_whole(tmp_path, monkeypatch, when):
    writer, mine = MatchStore(tmp_path / "other"), MatchStore(tmp_path / "mine")
    for outcome in many(6):
        writer.put(STAGE, [outcome])
    writer.put(STAGE, [match("t4", "t5", seed=99)])  # in the place of an older one
    reader = MatchStore(tmp_path / "other")
    name = "listed" if when == "while it is listed" else "opened"
    real = getattr(matches, name)

    def joining(path):
        monkeypatch.setattr(matches, name, real)
        found = real(path) if name == "listed" else None
        writer.finish()
        return found or real(path)

    if when == "before":
        writer.finish()
    else:
        monkeypatch.setattr(matches, name, joining)
    assert mine.take_from(reader) == 6
    assert names(tmp_path / "other") == ["all.parquet"]
    for there in (mine, MatchStore(tmp_path / "mine")):
        assert len(there) == 6
        assert same(there.get(STAGE, ("t4", "t5")), match("t4", "t5", seed=99))
    assert mine.take_from(reader) == 0


def test_a_store_is_opened_while_another_process_joins_its_files(tmp_path, monkeypatch):
    writer = MatchStore(tmp_path)
    for outcome in many(3):
        writer.put(STAGE, [outcome])
    real = matches.listed

    def joining(folder):
        found = real(folder)
        monkeypatch.setattr(matches, "listed", real)
        writer.finish()
        return found

    monkeypatch.setattr(matches, "listed", joining)
    assert len(MatchStore(tmp_path)) == 3


def test_columns_answer_questions_and_points_are_read_only_when_asked(tmp_path):
    store = MatchStore(tmp_path)
    store.put(STAGE, many(9))
    table = store.columns()
    assert not set(POINTS) & set(table.column_names)
    worst = table.filter(pa.compute.field("accepted")).group_by("matcher").aggregate([("residual_px", "max")])
    assert worst.to_pylist() == [{"matcher": "sift", "residual_px_max": 0.25}]
    points = store.columns(("fixed", "fixed_x"))
    assert points.column_names == ["fixed", "fixed_x"]
    assert len(points.column("fixed_x")[1].as_py()) == len(many(9)[1].fixed_xy)
    assert set(pq.read_table(tmp_path).column_names) == set(SCHEMA.names)  # any reader of Parquet opens the folder


def test_stored_moments_are_the_solver_s_sums_of_the_points():
    shapes = (4096, 3000), (4096, 2800)
    pair = match(n=40, seed=3)
    got = sums_about(moments(pair.fixed_xy, pair.moving_xy)[None], *(centre_of_tile(shape)[None] for shape in shapes))[
        0
    ]
    want = sums_of_points(pair.fixed_xy, pair.moving_xy, *shapes)
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_moments_of_pairs_that_failed_are_nan(tmp_path):
    store = MatchStore(tmp_path)
    store.put(STAGE, many(4))
    found = moments_of(store.columns(("moments",)))
    assert found.shape == (4, 15)
    assert np.isnan(found).all(1).tolist() == [True, False, False, True]
    np.testing.assert_array_equal(found[1], moments(many(4)[1].fixed_xy, many(4)[1].moving_xy))


@pytest.mark.parametrize("how", ["cut", "text", "other", "layout"])
def test_a_store_that_is_none_is_one_line(tmp_path, how):
    MatchStore(tmp_path).put(STAGE, many(3))
    path = tmp_path / "000000.parquet"
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    if how == "text":
        path.write_bytes(b"nothing of the kind")
    if how == "other":
        pq.write_table(pa.table({"a": [1]}), path)
    if how == "layout":
        pq.write_table(pq.read_table(path).replace_schema_metadata({b"demis_ij.matches": b"2"}), path)
    with pytest.raises(FormatError) as caught:
        MatchStore(tmp_path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ")
    assert "\n" not in said
    wanted = {
        "cut": "delete it",
        "text": "delete it",
        "other": "another program",
        "layout": "layout 2, this version knows 1",
    }
    assert wanted[how] in said
