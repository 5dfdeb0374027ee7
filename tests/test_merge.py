"""`bench merge`: shards become the run that nobody has split, or are refused in one message."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import fsspec
import pytest
from inline import toy_run

from benchmark import load_run
from benchmark.rundir import RESULTS
from benchmark.store.store import Store
from suites import SUITE, write_suite

AXES = {
    "attacks": "{a: {use: step, eps: 0.1}, b: {use: step, eps: 0.2}, bad: {use: raises, eps: 0.1}}",
    "defenses": "{none: {use: plain}, bright: {use: brightness}}",
    "groups": "{both: [a, b]}",
    "seeds": "[0, 1]",
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A folder with a whole run, its shards on one cache (`one1` to `one3`) and on one each (`own1` to `own3`)."""
    folder = tmp_path_factory.mktemp("runs")
    suite = write_suite(folder, SUITE, **AXES)
    toy_run(suite, folder / "whole", folder / "cache-whole")
    for index in (1, 2, 3):
        toy_run(suite, folder / f"one{index}", folder / "cache", part=(index, 3))
        toy_run(suite, folder / f"own{index}", folder / f"cache{index}", part=(index, 3))
    return folder


@pytest.fixture
def merge(tmp_path, capsys):
    """Return a function that merges runs into `tmp_path / "merged"`: exit code, what was said."""

    def run(*folders: Path, plugins: tuple[str, ...] = ("toy",), options: tuple[str, ...] = ()):
        from benchmark.cli import main

        loaded = [word for name in plugins for word in ("--plugin", name)]
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(["merge", *map(str, folders), "-o", str(tmp_path / "merged"), "--no-report", *loaded, *options])
        out, err = capsys.readouterr()
        return stop.value.code, out + err

    return run


def caches(*folders: Path | str) -> tuple[str, ...]:
    return tuple(word for folder in folders for word in ("--cache", str(folder)))


def refused(merge, *arguments, **options) -> str:
    code, said = merge(*arguments, **options)
    assert code == 2, said
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1, said
    return said


@pytest.mark.parametrize("kind", ["one", "own"])
def test_shards_become_the_whole_byte_by_byte(runs, merge, tmp_path, kind):
    options = ("--cache", str(runs / "cache"))
    if kind == "own":
        options = caches(tmp_path / "cache", *(runs / f"cache{index}" for index in (1, 2, 3)))
    code, said = merge(*(runs / f"{kind}{index}" for index in (3, 1, 2)), options=options)
    assert code == 1, said  # as the whole: one attack fails
    assert "12 of 16 cells done" in said
    for name in RESULTS:
        if name != "costs.parquet":
            assert (tmp_path / "merged" / name).read_bytes() == (runs / "whole" / name).read_bytes(), name
    merged, whole = (load_run(folder) for folder in (tmp_path / "merged", runs / "whole"))
    assert merged.key == whole.key
    assert merged.manifest["failures"] == whole.manifest["failures"]
    assert merged.manifest["identity"] == whole.manifest["identity"]
    assert [part["shard"] for part in merged.manifest["merged"]] == ["1/3", "2/3", "3/3"]
    assert set(merged.costs.key) == set(whole.costs.key)
    # The same again goes on with it, and so does the command that nobody had split.
    assert merge(*(runs / f"{kind}{index}" for index in (1, 2, 3)), options=options)[0] == 1


def test_what_does_not_belong_together_is_refused(runs, merge, tmp_path):
    one, two = runs / "one1", runs / "one2"
    assert "shards are missing: 3/3. Run them (`--shard 3/3`)" in refused(merge, one, two)
    assert "is no shard: it was run without --shard" in refused(merge, one, runs / "whole")
    assert not (tmp_path / "merged").exists()

    suite = write_suite(tmp_path, SUITE, **{**AXES, "batch_size": "8"})
    toy_run(suite, tmp_path / "other", runs / "cache", part=(3, 3))
    said = refused(merge, one, two, tmp_path / "other")
    assert "is of another suite than shard 1/3" in said
    assert "batch_size: 16 → 8" in said
    toy_run(write_suite(tmp_path, SUITE, **AXES), tmp_path / "half", runs / "cache", part=(1, 2))
    assert "are of two divisions" in refused(merge, one, tmp_path / "half")


def changed(folder: Path, place: Path, change) -> Path:
    """Copy a run directory with another manifest."""
    from benchmark.store.artifact import digest

    shutil.copytree(folder, place)
    manifest = json.loads((place / "manifest.json").read_text())
    del manifest["checksum"]
    change(manifest)
    (place / "manifest.json").write_text(json.dumps({**manifest, "checksum": digest(manifest)}))
    return place


def test_other_software_other_numbers_and_other_answers_are_refused(runs, merge, tmp_path):
    one, two, three = (runs / f"one{index}" for index in (1, 2, 3))
    newer = changed(three, tmp_path / "newer", lambda manifest: manifest["versions"].update(torch="99.0"))
    said = refused(merge, one, two, newer)
    assert "was run by other software than shard 1/3" in said
    assert "versions.torch" in said
    stopped = changed(three, tmp_path / "stopped", lambda manifest: manifest.update(exit_code=130))
    assert "ended with exit code 130. Give its command again" in refused(merge, one, two, stopped)
    other = changed(three, tmp_path / "keyed", lambda manifest: manifest.update(key="0" * 64))
    assert "other data, files or plugins" in refused(merge, one, two, other)

    # A cache that holds another answer than the shard had, and two that differ.
    cache = tmp_path / "cache3"
    shutil.copytree(runs / "cache3", cache)
    moved = changed(runs / "own3", tmp_path / "moved", lambda manifest: manifest.update(cache=str(cache)))
    lost = [folder for folder in cache.glob("artifacts/*/*") if "judge" in (folder / "artifact.json").read_text()]
    for folder in lost:
        shutil.rmtree(folder)
    own = (runs / "own1", runs / "own2")
    named = caches(tmp_path / "new", runs / "cache1", runs / "cache2", cache)
    assert "is in no cache of these shards" in refused(merge, *own, moved, options=named)


@pytest.mark.slow
def test_submit_gives_shards_to_a_batch_system_and_merges_them(runs, tmp_path, monkeypatch, capsys):
    pytest.importorskip("submitit", reason="submitit is not installed (extra `slurm`)")
    from benchmark.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    suite = str(write_suite(tmp_path, SUITE, **AXES))
    run = ("--plugin", "toy", "--no-report", "--device", "cpu", "--workers", "1", "--cache", str(runs / "cache-whole"))
    with pytest.raises(SystemExit) as stop:
        main(["submit", suite, "--shards", "2", "--cluster", "local", "--wait", *run, "--output", "runs/all"])
    out, err = capsys.readouterr()
    assert stop.value.code == 1, err  # as the whole: one attack fails
    assert "12 of 16 cells done; results in runs/all" in out
    assert out.count("it prints to ") == 2
    assert (tmp_path / "runs" / "all" / "metrics.parquet").read_bytes() == (
        runs / "whole" / "metrics.parquet"
    ).read_bytes()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--shards", "99"], "the grid has 16 cells, so this part is empty"),
        (["--shards", "2", "--shard", "1/2"], "bench submit cuts the grid itself"),
        (["--shards", "2", "--job-set", "timeout_min"], "write NAME=VALUE, for example timeout_min=600"),
        (["--shards", "2", "--no-such-option"], "No such option"),
        (["--shards", "2"], "slurm"),  # there is none here
        (["--shards", "2", "--output", "."], "slurm"),
        (["--shards", "2", "--output", ".."], "slurm"),
        (["--shards", "2", "--output", "/"], "--output '/': the folders of shards are beside it. Name another folder."),
    ],
)
def test_what_cannot_be_submitted_is_refused(tmp_path, monkeypatch, capsys, options, told):
    from benchmark.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit) as stop:
        main(["submit", str(write_suite(tmp_path, SUITE, **AXES)), "--plugin", "toy", *options])
    assert stop.value.code == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("kind", ["folder", "address"])
def test_a_run_says_its_cache_as_it_is_from_everywhere_and_has_nothing_opened(merge, runs, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    assert Store("folder").place == str(tmp_path / "folder")
    monkeypatch.setenv("BENCH_CACHE", str(runs / "cache1"))
    own = [runs / f"own{index}" for index in (1, 2)]
    place = "memory://a-strangers/cache" if kind == "address" else str(tmp_path / "a-strangers")
    moved = changed(runs / "own3", tmp_path / "moved", lambda manifest: manifest.update(cache=place))
    mine = str(runs / "cache2")
    for given in ([*own, moved], [moved, *own]):
        said = refused(merge, *given)
        assert f"shard 3/3 in '{moved}' had its cache at '{place}'" in said
        assert f"shard 2/3 in '{own[1]}' had its cache at '{mine}'" in said
        assert f"--cache {place}" in said
    assert not fsspec.filesystem("memory").find("a-strangers")
    assert not (tmp_path / "a-strangers").exists()
    assert not (tmp_path / "merged").exists()
    named = caches(tmp_path / "new", mine, place)
    assert "is in no cache of these shards" in refused(merge, *own, moved, options=named)
