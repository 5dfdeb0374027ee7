"""Components whose trouble shows late, inside a task, for the tests; loaded by `--plugin unlucky`."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

from inline import InlineExecutor
from toy import BlobOptions, Blobs, Step

from benchmark import (
    ArraySplit,
    Classifier,
    FitContext,
    Hardener,
    InputError,
    Split,
    hookimpl,
)
from benchmark.executors import Event


class Refuses(Step):
    """Finds out on the first batch that it cannot attack this victim."""

    def craft(self, victim, x, y, rng):
        raise InputError("refuses: needs a victim of another kind. Choose another attack.")


class Hangs(Step):
    """Never comes back; the second time that it is tried it does, if `log` names a file."""

    def craft(self, victim, x, y, rng):
        if self.options.log:
            if Path(self.options.log).exists():
                return super().craft(victim, x, y, rng)
            Path(self.options.log).touch()
        while True:
            time.sleep(1)


class DiesOnce(Step):
    """Kills its worker, but not twice."""

    def craft(self, victim, x, y, rng):
        if not Path(self.options.log).exists():
            Path(self.options.log).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().craft(victim, x, y, rng)


class Crowded(Step):
    """Runs out of room in a place of its own."""

    def craft(self, victim, x, y, rng):
        raise OSError(errno.ENOSPC, "No space left on device", "/dev/shm/scratch")


class Quoting(Step):
    """Fails in words that a full disk has, too."""

    def craft(self, victim, x, y, rng):
        raise RuntimeError("the licence server said: No space left on device (os error 28)")


class Other(Hardener):
    """Hardens a network of twice the inputs' width instead of the one it was given."""

    def harden(self, context: FitContext) -> Classifier:
        from torch import nn

        wide = nn.Sequential(nn.Flatten(), nn.Linear(16, 32), nn.Linear(32, 2))
        return Classifier(wide, 2, context.train.image_shape)


class TornSplit(ArraySplit):
    def images(self, indices):
        if 40 in indices:
            raise InputError("scan-40.png: the file is cut off. Replace it, or take it away.")
        return super().images(indices)


class Torn(Blobs):
    """One test image cannot be read, which shows when its turn comes."""

    Options = BlobOptions

    def load(self, split: str) -> Split:
        whole = super().load(split)
        kind = TornSplit if split == "test" else ArraySplit
        images = whole.images(range(len(whole))).numpy()
        return kind(images, whole.labels, list(whole.class_names))


class Few(Blobs):
    """So few images that states of theirs have no covariance."""

    def fingerprint(self) -> str:
        return f"{self.options.count} blobs"


class Forgetful(InlineExecutor):
    """Every judgement vanishes from the cache once it is made, as if another process had thrown it away."""

    times = 99

    def submit(self, task) -> None:
        super().submit(task)
        if task.kind == "judge" and self.times:
            self.times -= 1
            shutil.rmtree(self.store.folder(task.key))


class ForgetsOnce(Forgetful):
    """The first judgement vanishes."""

    times = 1


class Watchful(InlineExecutor):
    """Sees that what lies in the cache stays there while it is made anew."""

    def start(self, setup) -> None:
        super().start(setup)
        self.there = sorted(Path(setup.cache).glob("artifacts/*/*/*"))

    def submit(self, task) -> None:
        super().submit(task)
        assert self.there
        assert all(file.is_file() for file in self.there)


class Bereaved(InlineExecutor):
    """Loses whoever has started an attack; the attack waits for a place elsewhere, longer than tasks may take."""

    def start(self, setup) -> None:
        super().start(setup)
        self.waiting = None

    def submit(self, task) -> None:
        if task.kind != "craft":
            super().submit(task)
            return
        self.events.append(Event("started", task.key))
        self.waiting = (time.monotonic() + 3600, task)

    def at_work(self, keys):
        return keys if self.waiting is None else []

    def wait(self, seconds: float):
        if self.waiting is not None and time.monotonic() > self.waiting[0]:
            (_, task), self.waiting = self.waiting, None
            super().submit(task)
        time.sleep(seconds)
        return super().wait(seconds)


class Interrupted(InlineExecutor):
    """Is interrupted in the middle of the first attack."""

    def submit(self, task) -> None:
        if task.kind != "craft":
            super().submit(task)
            return
        with self.store.building(task.key) as building:
            (building.out / "part").write_text("half")
        raise KeyboardInterrupt


class Heedless(InlineExecutor):
    """Has its one process do tasks after one that has spoiled it."""

    def replace(self) -> None:
        pass


class Apart(InlineExecutor):
    """Works on another machine, where the cache's name is that of another folder."""

    elsewhere = True

    def start(self, setup) -> None:
        super().start(replace(setup, cache=f"{setup.cache}-of-another-machine"))


class Beside(InlineExecutor):
    """Works on another machine that sees the cache."""

    elsewhere = True


@hookimpl
def register_executors(register):
    register("bereaved", Bereaved)
    register("interrupted", Interrupted)
    register("apart", Apart)
    register("beside", Beside)
    register("heedless", Heedless)
    register("forgetful", Forgetful)
    register("forgets-once", ForgetsOnce)
    register("watchful", Watchful)


@hookimpl
def register_datasets(register):
    register("torn", Torn)
    register("few", Few)


@hookimpl
def register_attacks(register):
    register("refuses", Refuses)
    register("hangs", Hangs)
    register("dies-once", DiesOnce)
    register("crowded", Crowded)
    register("quoting", Quoting)


@hookimpl
def register_defenses(register):
    register("other", Other)
