"""Files that a killed training resumes from: whole, its own, or not used."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ulna.networks.resume import Checkpoints, State, decode, delete_checkpoints, encode

KEY, OTHER = "ab" * 32, "cd" * 32


def state(epoch: int) -> State:
    arrays = {"network/0": np.arange(6, dtype=np.float32).reshape(2, 3) + epoch, "network/1": 7}
    return State({"done": epoch, "best": 0.1 + epoch}, {n: np.array(a) for n, a in arrays.items()})


def same(one: State, two: State) -> bool:
    return one.values == two.values and all(
        two.arrays[name].dtype == array.dtype and np.array_equal(two.arrays[name], array)
        for name, array in one.arrays.items()
    )


def test_a_state_reads_back_as_it_was(tmp_path):
    kept = Checkpoints(tmp_path / "c", KEY)
    assert kept.load() is None
    kept.save(1, state(1))
    assert same(state(1), kept.load())


def test_the_newest_and_the_one_before_are_kept(tmp_path):
    kept = Checkpoints(tmp_path, KEY)
    for epoch in (1, 2, 10):
        kept.save(epoch, state(epoch))
    assert [path.name[-17:] for path in sorted(tmp_path.iterdir())] == [
        "000002.checkpoint",
        "000010.checkpoint",
    ]
    assert same(state(10), kept.load())


@pytest.mark.promise("C20")
def test_a_checkpoint_of_another_training_is_not_used_and_goes_with_the_first_of_this(tmp_path):
    Checkpoints(tmp_path, OTHER).save(5, state(5))
    kept = Checkpoints(tmp_path, KEY)
    assert kept.load() is None
    assert len(list(tmp_path.iterdir())) == 1, "it may still be gone on with"
    kept.save(1, state(1))
    assert Checkpoints(tmp_path, OTHER).load() is None


@pytest.mark.promise("C20")
def test_a_checkpoint_under_the_name_of_another_is_not_used(tmp_path):
    Checkpoints(tmp_path, OTHER).save(5, state(5))
    (path,) = tmp_path.iterdir()
    path.rename(path.with_name(path.name.replace(OTHER[:16], KEY[:16])))
    assert Checkpoints(tmp_path, KEY).load() is None


@pytest.mark.promise("C20")
@given(at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_flipped_bit_is_seen_wherever_it_is(at, bit):
    written = bytearray(encode(KEY, state(3)))
    written[at % len(written)] ^= 1 << bit
    with pytest.raises(ValueError):  # noqa: PT011
        decode(KEY, bytes(written))


@pytest.mark.promise("C20")
@given(length=st.integers(0, 10**6))
def test_a_torn_file_is_seen_wherever_it_ends(length):
    written = encode(KEY, state(3))
    with pytest.raises(ValueError):  # noqa: PT011
        decode(KEY, written[: length % len(written)])


@pytest.mark.promise("C20")
def test_after_a_damaged_checkpoint_the_one_before_is_used(tmp_path, capsys):
    kept = Checkpoints(tmp_path, KEY)
    for epoch in (1, 2):
        kept.save(epoch, state(epoch))
    newest = max(tmp_path.iterdir())
    newest.write_bytes(newest.read_bytes()[:-1])
    assert same(state(1), kept.load())
    assert str(newest) in capsys.readouterr().out


@pytest.mark.promise("C20")
def test_when_all_are_damaged_new_ones_are_kept_all_the_same(tmp_path):
    kept = Checkpoints(tmp_path, KEY)
    for epoch in (5, 6):
        kept.save(epoch, state(epoch))
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    assert kept.load() is None
    kept.save(1, state(1))
    assert same(state(1), kept.load())


def test_of_a_training_that_is_over_the_newest_stays(tmp_path):
    kept = Checkpoints(tmp_path, KEY)
    for epoch in (1, 2):
        kept.save(epoch, state(epoch))
    two = kept.size_bytes()
    kept.prune()
    assert same(state(2), kept.load())
    assert kept.size_bytes() == two // 2


def test_one_that_was_half_written_when_its_process_was_killed_is_no_checkpoint(tmp_path):
    kept = Checkpoints(tmp_path, KEY)
    kept.save(1, state(1))
    half = tmp_path / f".partial-1-{KEY[:16]}-000002.checkpoint"
    half.write_bytes(encode(KEY, state(2))[:50])
    assert same(state(1), kept.load())
    kept.save(2, state(2))
    assert not half.exists()


def test_the_same_state_has_the_same_bytes():
    assert encode(KEY, state(1)) == encode(KEY, state(1))


def test_after_its_end_a_training_begins_anew(tmp_path):
    kept = Checkpoints(tmp_path / "c", KEY)
    kept.save(1, state(1))
    delete_checkpoints(tmp_path / "c")
    assert kept.load() is None
