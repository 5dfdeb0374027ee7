"""The store: artifacts appear whole or not at all, damage is noticed, interrupted arrays go on."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.errors import InputError
from benchmark.files import known_digest, storage_error, write_whole
from benchmark.store.arrays import ArrayReader, ArrayWriter
from benchmark.store.artifact import DamagedArtifactError, digest
from benchmark.store.store import FOLDERS, Store

KEY = digest("a key")


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    store.prepare()
    return store


def publish(store: Store, key: str = KEY, text: str = "content") -> Path:
    with store.building(key) as building:
        assert building is not None
        (building.out / "file.txt").write_text(text)
        building.publish({"seconds": 1.5})
    return store.folder(key)


def test_an_artifact_is_there_only_after_it_is_published(store):
    with store.building(KEY) as building:
        (building.out / "file.txt").write_text("half")
        assert not store.has(KEY)
    assert not store.has(KEY)
    publish(store)
    assert store.has(KEY)
    assert (store.open(KEY) / "file.txt").read_text() == "content"
    assert store.meta(KEY) == {"seconds": 1.5}
    assert not (store.root / "partial" / KEY).exists()


def test_what_is_half_done_survives_an_interruption(store):
    with store.building(KEY) as building:
        (building.checkpoints() / "checkpoint").write_text("epoch 3")
    with store.building(KEY) as building:
        assert (building.checkpoints() / "checkpoint").read_text() == "epoch 3"


def test_what_took_more_than_one_try_is_seen_on_the_disk_however_short_the_last_was(store, monkeypatch):
    """A crafting of hours that is resumed for its last second is not left to the next power cut."""
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    for key, tries in ((KEY, 1), (digest("another"), 2)):
        for left in reversed(range(tries)):
            with store.building(key) as building:
                (building.out / f"part-{left}").write_text("some")
                if not left:
                    building.publish({"seconds": 0.1})
        assert bool(synced) == (tries > 1)


def test_a_finished_artifact_is_not_built_again(store):
    publish(store)
    with store.building(KEY) as building:
        assert building is None


@pytest.mark.parametrize("name", ["file.txt", "artifact.json"])
def test_damage_is_noticed_by_a_new_process(store, name):
    folder = publish(store)
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(DamagedArtifactError, match=KEY[:12]):
        Store(store.root).open(KEY)


def test_a_missing_file_is_noticed(store):
    (publish(store) / "file.txt").unlink()
    with pytest.raises(DamagedArtifactError, match=r"file\.txt is missing"):
        Store(store.root).open(KEY)


def test_a_discarded_artifact_can_be_made_again(store):
    publish(store)
    store.discard(KEY)
    assert not store.has(KEY)
    assert (publish(store, text="new") / "file.txt").read_text() == "new"


CHILD = """
import sys, time
from pathlib import Path
from benchmark.store.store import FOLDERS, Store

store, key, do = Store(Path(sys.argv[1])), sys.argv[2], sys.argv[3]
if do == "discard":
    while True:
        store.discard(key)
        time.sleep(0.002)  # or nobody else ever gets the lock
with store.building(key, waiting=lambda holder: print(holder, flush=True)) as building:
    if building is None:
        print("found", flush=True)
    else:
        (building.checkpoints() / "checkpoint").write_text("epoch 3")
        print("building", flush=True)
        sys.stdin.readline()
        (building.out / "file.txt").write_text((building.checkpoints() / "checkpoint").read_text())
        building.publish({})
"""


@pytest.fixture
def other(store):
    """Return a function that starts another process at work on the store."""
    started = []

    def start(do: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", CHILD, str(store.root), KEY, do]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_what_another_process_is_at_work_on_is_not_discarded(store, other):
    process = other("build")
    assert process.stdout.readline() == "building\n"
    assert store.discard(KEY)
    process.communicate("\n")
    assert process.returncode == 0
    assert (store.open(KEY) / "file.txt").read_text() == "epoch 3"


def test_two_processes_may_discard_at_the_same_time(store, other):
    process = other("discard")
    for text in map(str, range(30)):
        with contextlib.suppress(DamagedArtifactError):
            publish(store, text=text)
        store.discard(KEY)
    assert process.poll() is None, "the other one failed"


def test_an_input_file_is_read_again_where_it_looks_otherwise(tmp_path):
    file = tmp_path / "weights.pt"
    file.write_bytes(b"one")
    first, when = known_digest(file), file.stat().st_mtime_ns
    assert first == hashlib.sha256(b"one").hexdigest()
    time.sleep(0.02)  # the system's clock of files goes in steps
    file.write_bytes(b"two")
    os.utime(file, ns=(when, when))
    assert known_digest(file) == hashlib.sha256(b"two").hexdigest(), "in spite of inode, size and time of the first"


def test_an_input_file_that_is_being_written_has_no_digest(tmp_path):
    file = tmp_path / "weights.pt"
    os.mkfifo(file)  # who reads it waits for who writes
    os.utime(file, (1, 1))
    writer = threading.Thread(target=file.write_bytes, args=(b"half",))
    writer.start()
    with pytest.raises(InputError, match="written to while it was read"):
        known_digest(file)
    writer.join()


def test_an_artifact_of_no_images_has_no_arrays(store):
    with store.building(KEY) as building:
        ArrayWriter(building).finish()
        building.publish({})
    reader = ArrayReader(store.open(KEY))
    assert (len(reader), reader.read()) == (0, {})
    with pytest.raises(DamagedArtifactError, match="it has no images, and so no arrays x"):
        reader.read(0, 0, ["x"])


def test_who_waits_hears_after_a_while_who_holds_the_lock(store, other, monkeypatch):
    hours = itertools.count(step=3600)  # at each look at the clock
    monkeypatch.setattr(time, "monotonic", lambda: next(hours))
    process = other("build")
    assert process.stdout.readline() == "building\n"

    def waiting(holder: str) -> None:
        heard.append(holder)
        process.stdin.write("\n")
        process.stdin.flush()

    heard: list[str] = []
    with store.building(KEY, waiting=waiting) as building:
        assert building is None
    assert re.fullmatch(rf"process {process.pid} on {re.escape(socket.gethostname())}, since \S+", heard[0])


def test_a_lock_that_is_damaged_is_a_lock(store, other):
    publish(store)
    lock = store.root / "locks" / KEY
    lock.unlink()
    lock.mkdir()
    store.discard(KEY)
    assert not store.has(KEY)
    lock.write_bytes(b"\xff not JSON")
    publish(store)
    assert store.has(KEY)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_equal_content_has_equal_keys_whatever_the_order(value):
    backwards = dict(reversed(list(value.items())))
    assert digest(value) == digest(backwards) == digest(json.loads(json.dumps(value)))


@given(json_values, json_values)
def test_different_content_has_different_keys(one, other):
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (digest(one) == digest(other)) == same


def test_nan_is_no_content():
    with pytest.raises(ValueError, match="JSON"):
        digest(float("nan"))


def arrays(start: int, stop: int) -> dict[str, np.ndarray]:
    index = np.arange(start, stop)
    return {"x": np.stack([index, index**2], 1).astype(np.float32), "flag": index % 3 == 0}


@given(sizes=st.lists(st.integers(1, 7), min_size=1, max_size=8), cut=st.integers(0, 8), low=st.integers(0, 60))
def test_an_interrupted_writer_goes_on_where_its_parts_end(tmp_path_factory, sizes, cut, low):
    store = Store(tmp_path_factory.mktemp("store"))
    store.prepare()
    with store.building(KEY) as building:
        writer = ArrayWriter(building)
        position = 0
        for size in sizes[:cut]:
            writer.add(arrays(position, position + size))
            writer.flush()
            position += size
        writer.add(arrays(position, position + 1))  # never flushed: lost by the interruption
    with store.building(KEY) as building:
        writer = ArrayWriter(building)
        assert writer.done == position
        for size in sizes[cut:]:
            writer.add(arrays(position, position + size))
            position += size
        writer.flush()
        building.publish({})
    reader = ArrayReader(store.open(KEY))
    assert len(reader) == position == sum(sizes)
    expected = arrays(0, position)
    for name, array in reader.read().items():
        np.testing.assert_array_equal(array, expected[name])
    low = min(low, position - 1)
    np.testing.assert_array_equal(reader.read(low, low + 5)["x"], expected["x"][low : low + 5])


def test_a_damaged_part_and_all_after_it_are_written_again(store):
    with store.building(KEY) as building:
        writer = ArrayWriter(building)
        for start in (0, 4, 8):
            writer.add(arrays(start, start + 4))
            writer.flush()
        second = sorted(building.out.iterdir())[1]
        second.write_bytes(second.read_bytes()[:-1])
    with store.building(KEY) as building:
        assert ArrayWriter(building).done == 4
        assert len(list(building.out.iterdir())) == 1


@given(place=st.integers(0, 10_000), bit=st.integers(0, 7), which=st.sampled_from(["parts.jsonl", "part-"]))
def test_a_flipped_bit_in_what_is_half_done_changes_no_number(tmp_path_factory, place, bit, which):
    store = Store(tmp_path_factory.mktemp("store"))
    store.prepare()
    with store.building(KEY) as building:
        writer = ArrayWriter(building)
        for start in (0, 4, 8):
            writer.add(arrays(start, start + 4))
            writer.flush()
    files = sorted(path for path in (store.root / "partial").rglob(f"{which}*") if path.is_file())
    file = files[place % len(files)]
    content = bytearray(file.read_bytes())
    content[place % len(content)] ^= 1 << bit
    file.write_bytes(content)
    with store.building(KEY) as building:
        writer = ArrayWriter(building)
        assert writer.done in (0, 4, 8, 12)
        if writer.done < 12:
            writer.add(arrays(writer.done, 12))
        writer.flush()
        building.publish({})
    for name, array in ArrayReader(store.open(KEY)).read().items():
        np.testing.assert_array_equal(array, arrays(0, 12)[name])


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENOSPC, r"no space left to write under .* GiB free\)"),
        (errno.EDQUOT, r"nothing of the disk quota is left to write under .* GiB free\)"),
        (errno.EFBIG, r"a file would grow beyond the largest that may be written under .* \(the file system's\)"),
    ],
)
def test_a_full_disk_is_told_from_other_errors(tmp_path, code, said):
    error = storage_error(OSError(code, "full"), tmp_path)
    assert error is not None
    assert re.match(said, str(error))
    assert "--cache" in str(error)
    assert storage_error(OSError(errno.EIO, "broken"), tmp_path) is None
    assert storage_error(RuntimeError("shapes differ"), tmp_path) is None


def test_a_cache_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    from benchmark.errors import InputError

    with pytest.raises(InputError, match="--cache"):
        Store(tmp_path / "file").prepare()


LARGE = """
import resource, sys
from pathlib import Path
import numpy as np
from benchmark.store.arrays import ArrayReader, ArrayWriter
from benchmark.store.store import FOLDERS, Store

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

def rows(number):
    return {"x": np.full((16, 16, 1024), number, np.float32), "large": np.full((16, 4096), number, np.float32)}

store = Store(sys.argv[1])
store.prepare()
with store.building("0" * 64) as building:
    writer = ArrayWriter(building)
    writer.add(rows(0))
    writer.flush()
    before = peak()
    for number in range(1, 200):
        writer.add(rows(number))
    writer.flush()
    building.publish({})
reader = ArrayReader(store.open("0" * 64))
columns = reader.columns()
assert len(columns["x"]) == len(reader) == 3200
for start in range(0, 3200, 16):
    assert (reader.read(start, start + 16, ["x"])["x"] == start // 16).all()
    assert (columns["large"][start : start + 16] == start // 16).all()
assert reader.take("x", [3199, 5, 1600])[:, 0, 0].tolist() == [199, 0, 100]
print(peak() - before)
"""


def test_arrays_larger_than_memory_are_written_and_read(tmp_path):
    done = subprocess.run([sys.executable, "-c", LARGE, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 130, "MiB, of 250 MiB of arrays"


STARTS = """
import sys
import time
from benchmark.store.store import FOLDERS, Store
print("here", flush=True)
sys.stdin.readline()
for number in range(40):
    Store(f"{sys.argv[1]}/{number}").prepare()
"""


def test_processes_that_start_at_the_same_time_on_a_new_cache_do_not_disturb_each_other(tmp_path):
    running = [
        subprocess.Popen(
            [sys.executable, "-c", STARTS, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in running:
        assert process.stdout.readline() == "here\n"
    for process in running:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in running:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    for number in range(40):
        assert {path.name for path in (tmp_path / str(number)).iterdir()} == {*FOLDERS, "cache.json"}


def test_what_cannot_be_written_leaves_nothing_beside_it(tmp_path):
    with pytest.raises(TypeError):
        write_whole(tmp_path / "file", "text")
    assert not list(tmp_path.iterdir())


def test_what_is_damaged_is_not_taken_for_there_by_who_would_make_it(store):
    publish(store)
    (store.folder(KEY) / "file.txt").write_text("damage")
    with store.building(KEY) as building:
        assert building is not None
        (building.out / "file.txt").write_text("again")
        building.publish({})
    assert (store.open(KEY) / "file.txt").read_text() == "again"


def test_files_that_a_kill_kept_from_getting_their_names_go_with_time(store):
    old, new = (store.root / "runs" / f".a.json.{digit * 16}.aside" for digit in "01")
    for path in (old, new):
        path.touch()
    os.utime(old, (0, 0))
    Store(store.root).prepare()
    assert [path.name for path in (store.root / "runs").iterdir()] == [new.name], "somebody may be writing it now"


@pytest.mark.parametrize(
    "rows", [slice(None, None, 3), slice(8, 2, -2), slice(None, None, -1), slice(5, 5), slice(-2, 99)]
)
def test_a_column_is_sliced_as_an_array(store, rows):
    with store.building(KEY) as building:
        writer = ArrayWriter(building)
        for start in (0, 4, 7):
            writer.add({"x": np.arange(start, min(start + 4, 10))})
            writer.flush()
        writer.finish()
        building.publish({})
    column = ArrayReader(store.open(KEY)).columns()["x"]
    whole = column[:]
    assert len(column) == len(whole)
    np.testing.assert_array_equal(column[rows], whole[rows])
