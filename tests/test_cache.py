"""`bench cache`: what the cache holds, whether it is intact, what of it may go; in a folder and at an address."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import fsspec
import pytest
from inline import toy_run

from benchmark.cli import main
from benchmark.holdings import damaged, holdings, prune
from benchmark.store.artifact import digest
from benchmark.store.store import Store


@pytest.fixture
def bench(capfd, monkeypatch, tmp_path):
    """Return a function that runs `bench cache` on a cache, and returns exit code and what was said."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "home"))

    def call(*arguments: str) -> tuple[int, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(["cache", *arguments])
        captured = capfd.readouterr()
        return stop.value.code, captured.out + captured.err

    return call


@pytest.fixture(params=["folder", "address"])
def cache(request, tmp_path):
    """Return a new cache."""
    return str(tmp_path / "cache") if request.param == "folder" else f"memory://bucket/{digest(str(tmp_path))[:8]}"


def held(bench, cache: str) -> list[dict]:
    code, said = bench("ls", "--json", "--cache", cache)
    assert code == 0
    return json.loads(said)


def grow_old(cache: str, *keys: str, days: float) -> None:
    """Let artifacts have been made, and runs have begun, days ago."""
    files, root = fsspec.url_to_fs(cache)
    for path in files.find(root):
        if path.endswith(".json") and (not keys or any(key in path for key in keys)):
            if hasattr(files, "store"):
                files.store[path].created -= timedelta(days=days)
            else:
                then = time.time() - 86400 * days
                os.utime(path, (then, then))


def test_the_cache_is_listed_verified_and_pruned(bench, cache, tmp_path, toy_suite):
    suite = toy_suite()
    first = toy_run(suite, tmp_path / "first", cache)
    other = toy_suite(attacks="{step: {use: step, eps: 0.2}}")
    second = toy_run(other, tmp_path / "second", cache)
    keys = {run.path.name: set(run.run.costs.key) for run in (first, second)}
    shared, alone = keys["first"] & keys["second"], keys["first"] - keys["second"]
    assert shared
    assert alone

    found = held(bench, cache)
    assert {one["key"] for one in found} == keys["first"] | keys["second"]
    crafted = next(one for one in found if one["key"] in alone and one["kind"] == "craft")
    assert crafted["bytes"] > 60 * 16 * 4
    assert crafted["runs"] == [str(first.path)]
    assert {tuple(one["runs"]) for one in found if one["key"] in shared} == {(str(second.path), str(first.path))}

    _, said = bench("ls", "--cache", cache)
    assert re.search(r"^kind +artifacts +size +age +last use\n(.*\n)*craft +2 ", said)
    assert said.endswith(f" in {cache}\n")
    _, said = bench("ls", "--by", "run", "--cache", cache)
    assert re.search(rf"{first.path} +{len(keys['first'])} ", said)
    _, said = bench("ls", "--by", "artifact", "--kind", "craft", "--cache", cache)
    assert said.count("craft") >= 2
    assert "train" not in said

    assert bench("verify", "--cache", cache) == (0, f"{len(found)} of {len(found)} intact in {cache}\n")
    files, root = fsspec.url_to_fs(cache)
    (part,) = files.glob(f"{root}/artifacts/*/{crafted['key']}/part-*")
    content = files.cat_file(part)
    files.pipe_file(part, content[:-1] + bytes([content[-1] ^ 1]))
    code, said = bench("verify", "--cache", cache)
    assert code == 1
    assert f"artifact {crafted['key'][:12]} is damaged: {part.rpartition('/')[2]} differs" in said
    if (tmp_path / "home" / "copies").exists():
        code, said = bench("verify", "--remove", "--cache", cache)
        assert (code, said.endswith("1 intact again, 0 removed\n")) == (0, True), "by the copy of this machine"
        shutil.rmtree(tmp_path / "home" / "copies")
        files.pipe_file(part, content[1:])
    code, said = bench("verify", "--remove", "--cache", cache)
    assert (code, said.endswith("1 removed\n")) == (0, True)
    assert {one["key"] for one in held(bench, cache)} == (keys["first"] | keys["second"]) - {crafted["key"]}

    _, said = bench("prune", "--unused-by", str(second.path), "--cache", cache)
    assert f"would remove {len(alone) - 1} of {len(found) - 1} artifacts" in said
    assert len(held(bench, cache)) == len(found) - 1, "without --yes nothing is removed"
    code, said = bench("prune", "--unused-by", str(second.path), "--yes", "--cache", cache)
    assert (code, f"removed {len(alone) - 1} of" in said) == (0, True)
    assert {one["key"] for one in held(bench, cache)} == keys["second"]

    again = toy_run(toy_suite(), tmp_path / "first", cache).run.costs
    assert set(again[again.status == "done"].key) == alone, "what is gone is made again, and no more"


def test_what_an_interrupted_run_has_not_come_to_is_needed_by_it(bench, tmp_path, toy_suite):
    cache, suite = str(tmp_path / "cache"), toy_suite()
    stopped = toy_run(suite, tmp_path / "stopped", cache, plugins=("unlucky",), executor="interrupted")
    assert stopped.code == 130
    assert {one["kind"] for one in held(bench, cache)} >= {"train", "unfinished"}
    unused = ("prune", "--unused-by", str(tmp_path / "stopped" / ".." / "stopped"), "--cache", cache)
    assert "would remove 0 of" in bench(*unused)[1]
    assert toy_run(suite, tmp_path / "whole", cache).code == 0
    assert "would remove 0 of" in bench(*unused)[1]
    # Of another cache it does not know, it needs what its tables are made from.
    shutil.rmtree(tmp_path / "cache" / "runs")
    assert "would remove 0 of" not in bench(*unused)[1]


def test_two_that_verify_at_the_same_time_find_no_damage_where_there_is_none(bench, tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "home"))
    cache = f"memory://bucket/{digest(str(tmp_path))[:8]}"
    store = Store(cache)
    store.prepare()
    for number in range(20):
        with store.building(digest(number)) as building:
            for name in range(5):
                (building.out / str(name)).write_bytes(bytes(20_000))
            building.publish({"kind": "craft"})
    everything = holdings(store)
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(lambda _: damaged(Store(cache), everything), range(3))) == [[], [], []]
    # What was damaged when somebody looked may be intact by now.
    pruned = prune(store, everything, damaged_only=True)
    assert (pruned.removed, pruned.busy) == ([], [])
    assert len(held(bench, cache)) == 20


def test_prune_by_age_use_and_size(bench, cache, tmp_path):
    store = Store(cache)
    store.prepare()
    keys = [digest(number) for number in range(4)]
    for number, key in enumerate(keys):
        with store.building(key) as building:
            (building.out / "file").write_bytes(bytes(1000 * (number + 1)))
            building.publish({"kind": "craft", "label": f"number {number}"})
        grow_old(cache, key, days=40 - 10 * number)

    def would_go(*options: str) -> int:
        code, said = bench("prune", *options, "--cache", cache)
        assert code == 0
        return int(re.search(r"would remove (\d+) of 4", said)[1])

    assert would_go("--older-than", "35d") == 1
    assert would_go("--older-than", "15d") == 3
    assert would_go("--unused-for", "2w", "--kind", "craft") == 3
    assert would_go("--older-than", "25d", "--kind", "train") == 0
    sizes = {one["key"]: one["bytes"] for one in held(bench, cache)}
    assert would_go("--to", f"{sum(sizes.values())}B") == 0
    assert would_go("--to", str(sum(sizes.values()) - 1)) == 1
    assert would_go("--to", "0kB") == 4
    with store.building(keys[0], anew=True):
        code, said = bench("prune", "--to", "5kB", "--yes", "--cache", cache)
        assert code == 1
        assert "1 stay, since a process is at work on them" in said
    assert keys[3] in {one["key"] for one in held(bench, cache)}


def test_what_is_half_done_is_told_and_removed(bench, tmp_path):
    store = Store(tmp_path / "cache")
    store.prepare()
    with store.building(digest("half")) as building:
        (building.checkpoints() / "checkpoint").write_bytes(bytes(2048))
    _, said = bench("ls", "--cache", str(tmp_path / "cache"))
    assert re.search(r"unfinished +1 +2\.0 KiB", said)
    bench("prune", "--kind", "unfinished", "--yes", "--cache", str(tmp_path / "cache"))
    assert not list((tmp_path / "cache" / "partial").iterdir())


def test_what_is_half_done_goes_and_what_was_finished_stays(bench, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "home"))
    store, key = Store(cache), digest("made again")
    store.prepare()
    for _ in range(2):
        with store.building(key, anew=True) as building:
            (building.out / "file").write_text("content")
            if not store.has(key):
                building.publish({"kind": "train"})
    (store.root / "partial" / f"{key}.copy").mkdir()
    (store.root / "partial" / f"{key}.copy" / "file").write_text("half a copy")
    assert [one["kind"] for one in held(bench, cache)] == ["train", "unfinished"]
    _, said = bench("prune", "--kind", "unfinished", "--yes", "--cache", cache)
    assert "removed 1 of 2 artifacts" in said
    assert [one["kind"] for one in held(bench, cache)] == ["train"]
    assert bench("verify", "--cache", cache)[0] == 0
    assert not list((store.root / "partial").iterdir())


def test_what_others_left_in_a_cache_is_neither_ours_nor_in_the_way(bench, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "home"))
    store, key = Store(cache), digest("key")
    store.prepare()
    with store.building(key) as building:
        building.publish({"kind": "train"})
    foreign = [store.root / "partial" / ".Trash-1000" / "file", store.root / "partial" / "notes" / "file"]
    for path in foreign:
        path.parent.mkdir()
        path.write_text("not ours")
    files, root = fsspec.url_to_fs(cache)
    for name in ("artifacts/.DS_Store", "artifacts/ab/notes.txt", "runs/.0123.json.0123456789abcdef.aside"):
        files.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True)
        files.pipe_file(f"{root}/{name}", b'{"run": "r", "suite": "s", "keys": []}')
    _, said = bench("ls", "--by", "run", "--cache", cache)
    assert "1 artifacts" in said
    assert " r " not in said
    assert bench("verify", "--cache", cache)[0] == 0
    assert bench("prune", "--unused-for", "1m", "--yes", "--cache", cache)[0] == 0
    assert [one["key"] for one in held(bench, cache)] == [key]
    assert Store(cache).has(key)
    code, _ = bench("prune", "--to", "0B", "--yes", "--cache", cache)
    assert (code, held(bench, cache)) == (0, [])
    assert [path.read_text() for path in foreign] == ["not ours"] * 2


def test_what_has_no_manifest_is_told_and_removed(bench, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "home"))
    store, keys = Store(cache), [digest("uploaded by half"), digest("on its way")]
    store.prepare()
    files, root = fsspec.url_to_fs(cache)
    for key, days in zip(keys, (1, 0), strict=True):
        files.makedirs(f"{root}/artifacts/{key[:2]}/{key}", exist_ok=True)
        files.pipe_file(f"{root}/artifacts/{key[:2]}/{key}/part.json", bytes(1000))
        grow_old(cache, key, days=days)
    (one,) = held(bench, cache)
    assert (one["key"], one["kind"], one["bytes"]) == (keys[0], "damaged", 1000)
    code, said = bench("verify", "--cache", cache)
    assert (code, "0 of 1 intact" in said) == (1, True)
    bench("prune", "--kind", "damaged", "--yes", "--cache", cache)
    assert [path.rpartition("/")[2] for path in files.find(f"{root}/artifacts")] == ["part.json"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["prune"], "say what may go, by --older-than"),
        (["prune", "--older-than", "soon"], "--older-than 'soon': write a number and m, h, d or w"),
        (["prune", "--to", "all"], "--to 'all': write a number and kB, MB, GB or TB"),
        (["prune", "--to", "9" * 400 + "TB"], "that is more than any cache holds"),
        (["ls", "--kind", "craf"], "unknown kind 'craf'. Did you mean 'craft'?"),
        (["prune", "--unused-by", "nowhere"], "nowhere"),
        (["prune", "--unused-by", ""], "--unused-by: it is empty"),
        (["ls", "--cache", ""], "--cache: it is empty. Name a place, or leave it out."),
    ],
)
def test_unusable_options_are_told(bench, arguments, said):
    code, told = bench(*arguments)
    assert code == 2
    assert said in told
    assert told.startswith("error: ")


def test_an_empty_cache_is_no_mistake(bench, cache):
    assert bench("ls", "--cache", cache) == (0, f"0 artifacts, 0 B in {cache}\n")
    assert bench("verify", "--cache", cache)[0] == 0
