"""Whatever in a cache is damaged, the same command ends with the same numbers, and says what it made again."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from pathlib import Path
from random import Random
from threading import Timer

import pytest
from inline import toy_run

from benchmark.files import exclusive
from suites import write_suite

TABLES = ("metrics", "samples", "curves", "comparisons", "artifacts")
SUITE = {
    "attacks": "{step: {use: step, eps: 0.3}}",
    "defenses": "{none: {use: plain}, bright: {use: brightness}, near: {use: nearest}, taught: {use: taught}}",
}
INTERRUPTIONS = ("training 7", "crafting 3", "judging 3")


@pytest.fixture(scope="module")
def caches(tmp_path_factory, stop_clock):
    """Return the suite, caches by what they hold (all of it, or what an interruption leaves), and the tables."""
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(Path(__file__).parent))
    stop_clock(patch)
    folder = tmp_path_factory.mktemp("caches")
    suite = write_suite(folder, **SUITE)
    assert toy_run(suite, folder / "run", folder / "whole").code == 0
    found = {"whole": folder / "whole"}
    for phase in INTERRUPTIONS:
        patch.setenv("TOY_INTERRUPTED_IN", phase)
        patch.setenv("TOY_LINGERS_IN", f"{phase.split()[0]} 60")
        found[phase] = folder / phase
        assert toy_run(suite, folder / "interrupted", found[phase]).code == 130
        assert list(found[phase].glob("partial/*.work/*")), "nothing was half done"
        patch.delenv("TOY_INTERRUPTED_IN")
        patch.delenv("TOY_LINGERS_IN")
        # What a task has read before is damaged too, and only a task that is yet to run looks deep.
    yield suite, found, tables(folder / "run")
    patch.undo()


def tables(run: Path) -> dict[str, bytes]:
    return {name: (run / f"{name}.parquet").read_bytes() for name in TABLES}


def flip(file: Path, random: Random) -> None:
    content = bytearray(file.read_bytes())
    if content:
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    file.write_bytes(content)


def shorten(file: Path, random: Random) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: random.randrange(len(content) + 1)])


def blank(file: Path, random: Random) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def lengthen(file: Path, random: Random) -> None:
    file.write_bytes(file.read_bytes() + random.randbytes(random.randrange(1, 200)))


def delete(file: Path, random: Random) -> None:
    file.unlink()


def make_folder(file: Path, random: Random) -> None:
    file.unlink()
    (file / "inner").mkdir(parents=True)
    (file / "inner" / "file").write_text("x")


def make_file_of_its_folder(file: Path, random: Random) -> None:
    depth = len(file.parts)
    cache = next((n for n, part in enumerate(file.parts) if part in ("artifacts", "partial", "locks")), depth)
    if depth - cache <= 2:  # a cache and its folders themselves are not part of what it keeps
        return
    shutil.rmtree(file.parent)
    file.parent.write_text("a file")


def swap(file: Path, random: Random) -> None:
    """Put a file of another artifact in its place."""
    others = sorted(path for path in file.parents[2].rglob(file.name) if path.is_file() and path != file)
    if others:
        shutil.copyfile(random.choice(others), file)


def stray(file: Path, random: Random) -> None:
    shutil.copyfile(file, file.with_name(f"part-{random.randrange(10**8):09d}.safetensors"))


DAMAGES = (flip, flip, flip, shorten, blank, lengthen, delete, make_folder, make_file_of_its_folder, swap, stray)


def damaged(cache: Path, random: Random, count: int) -> list[str]:
    """Damage `count` files of a cache, and take some answers away, so that tasks read what lies before them."""
    for artifact in sorted(cache.glob("artifacts/*/*")):
        kind = json.loads((artifact / "artifact.json").read_text())["meta"]["kind"]
        if kind in ("judge", "predict", "craft", "fit") and random.random() < 0.4:
            shutil.rmtree(artifact)
    done = []
    for _ in range(count):
        files = sorted(path for path in cache.rglob("*") if path.is_file())
        if not files:
            break
        file, damage = random.choice(files), random.choice(DAMAGES)
        done.append(f"{damage.__name__} {file.relative_to(cache)}")
        damage(file, random)
    return done


def suffers(caches, tmp_path: Path, seed: int, count: int) -> None:
    suite, found, expected = caches
    random = Random(seed)
    cache = tmp_path / f"cache{seed}"
    shutil.copytree(found[random.choice([*found, "whole"])], cache)
    done = damaged(cache, random, count)
    finished = toy_run(suite, tmp_path / f"run{seed}", cache)
    assert finished.code == 0, (seed, done, finished.said)
    assert tables(finished.path) == expected, (seed, done, finished.said)
    # And what it left is whole: nothing is found damaged, and nothing is done, a second time.
    again = toy_run(suite, tmp_path / f"run{seed}", cache)
    assert " 0 to run" in again.said, (seed, done, again.said)
    assert "damaged" not in again.said.replace("should a task need it", "")
    shutil.rmtree(cache)


@pytest.mark.parametrize("seed", range(4))
def test_damages_of_any_file_are_made_good(caches, tmp_path, seed):
    suffers(caches, tmp_path, seed, 3)


@pytest.mark.slow
def test_a_hundred_damages_are_made_good(caches, tmp_path):
    for seed in range(100, 120):
        suffers(caches, tmp_path, seed, 5)


def test_a_damaged_artifact_that_another_process_holds_is_waited_for(tmp_path, clock, monkeypatch):
    suite = write_suite(tmp_path)
    first = toy_run(suite, tmp_path / "run", tmp_path / "cache")
    costs, metrics = first.run.costs, first.run.metrics
    key = costs[costs.kind == "judge"].key.iloc[0]
    flip(next((tmp_path / "cache").glob(f"artifacts/*/{key}/part*")), Random(0))
    held = contextlib.ExitStack()
    held.enter_context(exclusive(tmp_path / "cache" / "locks" / key, None))
    timer = Timer(0.5, held.close)

    def sleep(seconds: float) -> None:
        clock.seconds += seconds
        if timer.ident is None:  # the first time that somebody waits; he is told of it before it ends
            timer.start()

    monkeypatch.setattr(time, "sleep", sleep)
    again = toy_run(suite, tmp_path / "run", tmp_path / "cache")
    timer.join()
    assert again.code == first.code
    (warning,) = again.run.manifest["warnings"]
    assert "differs from its checksum; it is made again" in warning["text"]
    assert again.said.count("it is made again") == 1
    assert again.run.metrics.equals(metrics)
