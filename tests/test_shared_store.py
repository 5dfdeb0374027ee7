"""A cache at an address, by a server that speaks the protocol of S3: the promises of a folder, between machines."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pandas as pd
import pytest
from inline import toy_run

from benchmark import load_run
from benchmark.cli import main
from benchmark.errors import StorageError
from benchmark.store.artifact import DamagedArtifactError, digest, place
from benchmark.store.store import Store

KEY = digest("a key")
TESTS = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def server():
    """Start the server, and return where it is."""
    pytest.importorskip("s3fs", reason="needs s3fs: pip install -e '.[s3-tests]'")
    moto = pytest.importorskip("moto.server", reason="needs moto's server: pip install -e '.[s3-tests]'")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    yield "http://{}:{}".format(*running.get_host_and_port())
    running.stop()


@pytest.fixture
def s3(server, monkeypatch):
    """Return the file system of the server, with a bucket in it that the environment leads to."""
    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # they remember the server of another test
    files = fsspec.filesystem("s3", use_listings_cache=False)
    if not files.exists("bucket"):
        files.mkdir("bucket")
    return files


@pytest.fixture(params=["s3", "memory"])
def address(request, tmp_path):
    """Return the address of a new cache."""
    if request.param == "s3":
        request.getfixturevalue("s3")
    return f"{request.param}://bucket/{digest(str(tmp_path))[:8]}"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Return a function that opens a cache as the machine of a name does, which has a home of its own."""

    def on(name: str, address: str, **options) -> Store:
        monkeypatch.setenv("BENCH_CACHE", str(tmp_path / name))
        store = Store(address, **options)
        store.prepare()
        return store

    return on


def publish(store: Store, key: str = KEY, text: str = "content") -> None:
    with store.building(key) as building:
        assert building is not None
        (building.out / "inner").mkdir()
        (building.out / "inner" / "file.txt").write_text(text)
        building.publish({"seconds": 1.5})


def text_of(store: Store, key: str = KEY) -> str:
    return (store.open(key) / "inner" / "file.txt").read_text()


def test_what_one_machine_has_made_others_find(machine, address):
    one, other = machine("one", address), machine("other", address)
    assert not other.has(KEY)
    publish(one)
    late = machine("late", address)
    assert late.has(KEY)
    assert late.meta(KEY) == {"seconds": 1.5}
    with other.building(KEY) as building:
        assert building is None
    assert other.has(KEY)
    assert text_of(other) == text_of(late) == text_of(one) == "content"


def test_an_artifact_crosses_the_network_once_per_machine(machine, s3, tmp_path):
    address = f"s3://bucket/{digest(str(tmp_path))[:8]}"
    publish(machine("one", address))
    assert text_of(machine("other", address)) == "content"
    (file,) = s3.glob(f"{address}/artifacts/*/*/inner/*")
    s3.rm_file(file)  # from here on there is no fetching it
    assert text_of(machine("other", address)) == "content"
    assert text_of(machine("one", address)) == "content"
    with pytest.raises(DamagedArtifactError, match="is missing"):
        text_of(machine("third", address))


def test_many_are_brought_side_by_side(machine, address):
    keys = [digest(number) for number in range(12)]
    one = machine("one", address)
    for key in keys:
        publish(one, key, text=key)
    other = machine("other", address)
    other.bring([*keys, digest("nothing")])
    assert [(other.folder(key) / "inner" / "file.txt").read_text() for key in keys] == keys


def test_a_damaged_copy_is_fetched_anew_and_a_damaged_original_made_anew(machine, address):
    one = machine("one", address)
    publish(one)
    (one.folder(KEY) / "inner" / "file.txt").write_text("damaged")
    assert one.recheck([KEY]).key == KEY, "who has read it must hear of it"
    assert not one.discard(KEY, damaged_only=True)
    assert text_of(one) == text_of(machine("one", address)) == "content"

    files, root = fsspec.url_to_fs(address)
    (file,) = files.glob(f"{root}/artifacts/*/*/inner/*")
    files.pipe_file(file, b"damaged")
    other = machine("other", address)
    with pytest.raises(DamagedArtifactError, match="differs"):
        other.open(KEY)
    assert other.discard(KEY, damaged_only=True)
    assert not machine("third", address).has(KEY)
    publish(other, text="again")
    assert text_of(machine("third", address)) == "again"


@pytest.mark.parametrize(
    "name",
    [
        "{outside}",
        "../../../../../../outside",
        "a/../../outside",
        "..",
        "",
        "C:/outside",
        "C:outside",
        "..\\outside",
        "a\0b",
    ],
)
def test_a_manifest_names_no_file_outside_its_artifact(machine, address, tmp_path, name):
    store = machine("one", address)
    files, root = fsspec.url_to_fs(address)
    name = name.format(outside=tmp_path / "outside")
    body = {"key": KEY, "files": {name: [4, digest("any")]}, "meta": {}}
    files.pipe_file(f"{root}/{place(KEY)}/artifact.json", json.dumps({**body, "checksum": digest(body)}).encode())
    with contextlib.suppress(ValueError):  # some stores know no such names
        files.pipe_file(f"{root}/{place(KEY)}/{name}", b"evil")
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(DamagedArtifactError, match=r"artifact\.json is missing or damaged"):
        store.open(KEY)
    with pytest.raises(DamagedArtifactError, match=r"artifact\.json is missing or damaged"):
        store.verify(KEY)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} - before <= {store.root / "locks" / f"{KEY}.copy"}


@pytest.mark.parametrize("files", [[], {"file": 4}, {"file": ["4", "a"]}, {"file": [4, "a", "b"]}, {"file": [4, None]}])
def test_a_manifest_of_another_form_is_damage(machine, tmp_path, files):
    store = machine("one", f"memory://bucket/{digest(str(tmp_path))[:8]}")
    there, root = fsspec.url_to_fs(store.location)
    body = {"key": KEY, "files": files, "meta": {}}
    there.pipe_file(f"{root}/{place(KEY)}/artifact.json", json.dumps({**body, "checksum": digest(body)}).encode())
    with pytest.raises(DamagedArtifactError, match="damaged"):
        store.open(KEY)


def test_what_is_half_uploaded_is_not_there(machine, address):
    one = machine("one", address)
    publish(one)
    files, root = fsspec.url_to_fs(address)
    (file,) = files.glob(f"{root}/artifacts/*/*/artifact.json")
    files.rm_file(file)
    other = machine("other", address)
    assert not other.has(KEY)
    with pytest.raises(DamagedArtifactError):
        other.open(KEY)
    with machine("one", address).building(KEY) as building:
        assert building is None, "this machine has it whole, so it is uploaded and not made again"
    assert text_of(machine("third", address)) == "content"


def test_one_of_many_that_want_an_artifact_makes_it(machine, s3, tmp_path):
    address = f"s3://bucket/{digest(str(tmp_path))[:8]}"
    stores = [machine(f"machine {number}", address, lease=2) for number in range(6)]
    made = []

    def want(number: int) -> str:
        with stores[number].building(KEY) as building:
            if building is not None:
                made.append(number)
                (building.out / "inner").mkdir()
                (building.out / "inner" / "file.txt").write_text("content")
                building.publish({})
        return text_of(stores[number])

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(want, range(6))) == ["content"] * 6
    assert len(made) == 1
    assert not s3.find(f"{address}/locks")


def take(store: Store) -> str:
    """Wait for an artifact, make it if need be, and tell."""
    with store.building(KEY) as building:
        if building is None:
            return "found"
        (building.out / "inner").mkdir()
        (building.out / "inner" / "file.txt").write_text("content")
        building.publish({})
        return "made"


def test_who_lives_keeps_a_claim_beyond_its_lease(machine, address):
    one, other = machine("one", address, lease=0.4), machine("other", address, lease=0.4)
    with ThreadPoolExecutor(1) as pool:
        with one.building(KEY) as building:
            waiting = pool.submit(take, other)
            time.sleep(1.2)
            assert not waiting.done(), "it was renewed in time"
            assert other.discard(KEY), "to take something away nobody waits"
            (building.out / "inner").mkdir()
            (building.out / "inner" / "file.txt").write_text("content")
            building.publish({})
        assert waiting.result() == "found"


def test_a_clone_of_a_machine_is_another_machine(machine, address, tmp_path):
    one = machine("one", address)
    with one.building(KEY):
        pass
    shutil.copytree(tmp_path / "one", tmp_path / "clone")
    with one.building(KEY):
        assert not machine("clone", address).remove(KEY), "one is at work on it"


DIES = """
import os, signal, sys
from benchmark.store.store import Store
store = Store(sys.argv[1], lease=float(sys.argv[2]))
store.prepare()
with store.building(sys.argv[3]) as building:
    (building.checkpoints() / "checkpoint").write_text("epoch 3")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def killed_at_work(address: str, lease: float) -> None:
    """Let a process of the machine that the environment names die while it makes the artifact."""
    done = subprocess.run([sys.executable, "-c", DIES, address, str(lease), KEY], check=False)
    assert done.returncode == -signal.SIGKILL


def test_the_claim_of_a_dead_process_is_taken_over_within_its_lease(machine, s3, tmp_path):
    address = f"s3://bucket/{digest(str(tmp_path))[:8]}"
    machine("one", address)
    killed_at_work(address, 1.5)
    began = time.monotonic()
    assert take(machine("other", address)) == "made", "the lease is what the claim says"
    assert 1.0 < time.monotonic() - began < 3.0
    assert not s3.find(f"{address}/locks")


def test_the_same_machine_knows_that_its_process_is_dead_and_goes_on_from_its_checkpoint(machine, s3, tmp_path):
    address = f"s3://bucket/{digest(str(tmp_path))[:8]}"
    one = machine("one", address)
    killed_at_work(address, 3600)
    began = time.monotonic()
    with one.building(KEY) as building:
        assert (building.checkpoints() / "checkpoint").read_text() == "epoch 3"
    assert time.monotonic() - began < 3


def test_a_dead_machine_keeps_nobody_from_removing_what_it_was_at_work_on(machine, address):
    one = machine("one", address)
    publish(one)
    files, root = fsspec.url_to_fs(address)
    claim = {"copy": "another", "lease": 0.5, "pid": 1, "host": "gone", "since": "then"}
    for number in (1, 2, 3):
        files.pipe_file(f"{root}/locks/{KEY}/{number}", json.dumps(claim).encode())
    assert not one.remove(KEY), "it may be alive"
    assert one.has(KEY)
    time.sleep(2.6)
    assert one.remove(KEY)
    assert not machine("other", address).has(KEY)
    assert not files.find(f"{root}/locks")


def test_an_outage_while_it_is_published_costs_no_finished_work(machine, tmp_path, monkeypatch):
    address = f"memory://bucket/{digest(str(tmp_path))[:8]}"
    one = machine("one", address)
    with monkeypatch.context() as outage:
        outage.setattr(fsspec.get_filesystem_class("memory"), "put", lambda *paths, **options: 1 / 0)
        with pytest.raises(StorageError, match="Finished work is kept"):
            publish(one)
    assert not machine("other", address).has(KEY)
    with machine("one", address).building(KEY) as building:
        assert building is None
    assert text_of(machine("other", address)) == "content"


def test_a_damaged_original_is_put_right_by_who_has_an_intact_copy(machine, address):
    one = machine("one", address)
    publish(one)
    files, root = fsspec.url_to_fs(address)
    (file,) = files.glob(f"{root}/artifacts/*/*/inner/*")
    files.pipe_file(file, b"damaged")
    with pytest.raises(DamagedArtifactError):
        machine("other", address).open(KEY)
    assert not one.discard(KEY, damaged_only=True), "it need not be made again"
    assert text_of(machine("other", address)) == "content"


def test_who_lost_its_claim_leaves_what_another_has_published(machine, address):
    one, two = machine("one", address), machine("two", address)
    files, root = fsspec.url_to_fs(address)
    with one.building(KEY) as building:
        (building.out / "part").write_text("by one")
        files.rm_file(f"{root}/locks/{KEY}/1")  # as if it had been suspended until its claim expired
        publish(two, text="by two")
        before = files.cat_file(f"{root}/{place(KEY)}/artifact.json")
        building.publish({})
    assert files.cat_file(f"{root}/{place(KEY)}/artifact.json") == before
    assert text_of(machine("third", address)) == "by two"


def test_a_damaged_claim_is_a_claim_and_expires(machine, address):
    one = machine("one", address, lease=0.4)
    files, root = fsspec.url_to_fs(address)
    files.pipe_file(f"{root}/locks/{KEY}/3", b"\xff not JSON")
    publish(one)
    assert text_of(one) == "content"


# -- runs --


def test_a_run_at_an_address_has_the_numbers_of_one_in_a_folder(tmp_path, monkeypatch, toy_suite, address):
    suite = toy_suite()
    plain = toy_run(suite, tmp_path / "plain", tmp_path / "folder")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "one"))
    there = toy_run(suite, tmp_path / "there", address)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "other"))
    again = toy_run(suite, tmp_path / "again", address)
    assert (plain.code, there.code, again.code) == (0, 0, 0)
    for run in (there, again):
        pd.testing.assert_frame_equal(run.run.metrics, plain.run.metrics)
    assert "0 of them in the cache" in there.said
    assert ", 0 to run" in again.said
    assert set(again.run.costs.status) == {"cached"}


@pytest.mark.slow
@pytest.mark.parametrize("where", ["folder", "s3"])
def test_three_runs_at_the_same_time_make_the_passes_of_one(tmp_path, toy_suite, where, request):
    suite = toy_suite()
    alone = toy_run(suite, tmp_path / "alone", tmp_path / "another")
    cache = str(tmp_path / "shared")
    if where == "s3":
        request.getfixturevalue("s3")
        cache = f"s3://bucket/{digest(str(tmp_path))[:8]}"
    command = [sys.executable, "-m", "benchmark", "run", str(suite), "--plugin", "toy", "--plugin", "inline"]
    command += ["--executor", "inline", "--device", "cpu", "--no-report", "--cache", cache]
    homes = [tmp_path / f"home {number}" for number in range(3)]
    running = [
        subprocess.Popen(
            [*command, "--output", str(home / "run")],
            cwd=TESTS,
            env={
                **os.environ,
                "PYTHONPATH": str(TESTS),
                "HOME": str(home),
                "BENCH_CACHE": "",
                "TOY_LINGERS_IN": "crafting 0.1",
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        for home in homes
    ]
    for process in running:
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
    runs = [load_run(home / "run") for home in homes]
    costs = pd.concat([run.costs for run in runs])
    done = costs[costs.status == "done"]
    assert sorted(done.key) == sorted(alone.run.costs.key), "each task was done in one of them"
    assert done.forward.sum() == alone.run.costs.forward.sum()
    for run in runs:
        pd.testing.assert_frame_equal(run.metrics, alone.run.metrics)


# -- unusable addresses --


@pytest.fixture
def refused(tmp_path, capfd, monkeypatch, toy_suite):
    """Return a function that runs a suite with a cache, sees it refused in one message, and returns that."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "home"))
    suite = toy_suite()

    def call(cache: str) -> str:
        said = set()
        for command in (
            ["plan"],
            ["run", "--device", "cpu", "--executor", "inline", "--output", str(tmp_path / "run")],
        ):
            capfd.readouterr()
            with pytest.raises(SystemExit) as stop:
                main([*command, str(suite), "--plugin", "toy", "--plugin", "inline", "--cache", cache])
            assert stop.value.code == 2
            said.add(capfd.readouterr().err)
        (one,) = said
        assert one.count("\n") == 1
        assert one.startswith("error: ")
        assert cache in one
        return one

    return call


def test_a_bucket_that_is_not_there_is_told(s3, refused):
    said = refused("s3://no-such-bucket/cache")
    assert "does not exist (" in said
    assert "Create the bucket, or name another by --cache" in said


def test_a_server_that_does_not_answer_is_told(s3, refused, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    assert "cannot be reached (EndpointConnectionError" in refused("s3://bucket/cache")


def test_credentials_that_are_missing_are_told(s3, refused, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", "/nonexistent")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    said = refused("s3://bucket/cache")
    assert "lets us not in (NoCredentialsError" in said
    assert "AWS_PROFILE" in said


def test_a_package_that_is_missing_is_told(refused):
    program = (
        "import sys; sys.modules['s3fs'] = None; from benchmark.store.store import Store; Store('s3://bucket/cache')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "InputError: --cache s3://bucket/cache: Install s3fs" in done.stderr
    assert "pip install 'unmask-bench[s3]'" in done.stderr
    if importlib.util.find_spec("gcsfs") is None:
        assert "pip install 'unmask-bench[gs]'" in refused("gs://bucket/cache")


def test_what_is_no_address_is_told(refused):
    assert "Protocol not known: bogus" in refused("bogus://bucket/cache")
    assert "one address is needed" in refused("simplecache::s3://bucket/cache")


@pytest.mark.parametrize(
    "cache", ["sftp://user:SECRET@host/folder", "memory://SECRET:SECRET@bucket/x", "memory://bucket/x?token=SECRET"]
)
def test_an_address_with_a_password_is_refused_and_told_nowhere(bench_says, cache, toy_suite, tmp_path, monkeypatch):
    suite, toy = str(toy_suite()), ["--plugin", "toy", "--plugin", "inline"]
    for given in (["--cache", cache], []):
        monkeypatch.setenv("BENCH_CACHE", cache)
        for command in (
            ["plan", suite, *toy],
            ["run", suite, *toy, "--output", str(tmp_path / "run")],
            ["submit", suite, *toy, "--shards", "2", "--cluster", "local", "--logs", str(tmp_path / "logs")],
            ["cache", "ls"],
        ):
            code, said = bench_says(*command, *given)
            assert (code, said.count("\n")) == (2, 1)
            assert "with a password or a query in it is not taken" in said
            assert "SECRET" not in said
    code, said = bench_says("doctor")
    assert "SECRET" not in said
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "logs").exists()


@pytest.fixture
def bench_says(capfd):
    """Return a function that runs `bench`, and returns exit code and what was said."""

    def call(*arguments: str) -> tuple[int, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(list(arguments))
        captured = capfd.readouterr()
        return stop.value.code, captured.out + captured.err

    return call


def test_a_store_that_connects_when_it_is_opened_and_cannot_is_told(refused):
    assert "cannot be reached (ConnectionRefusedError" in refused("ftp://127.0.0.1:9/cache")


def test_a_cache_of_a_newer_version_is_not_touched(refused, address, tmp_path):
    files, root = fsspec.url_to_fs(address)
    files.pipe_file(f"{root}/cache.json", json.dumps({"format": 2}).encode())
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "cache.json").write_text(json.dumps({"format": 2}))
    for cache in (address, str(tmp_path / "folder")):
        assert "written by a newer version of unmask-bench (format 2; this one reads 1)" in refused(cache)
    assert files.find(root) == [f"{root}/cache.json"]
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["cache.json"]
