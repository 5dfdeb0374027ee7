"""Adversarial examples as images of 8 bits: rounded where a suite asks for it, a byte each wherever that is exact."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy import Blobs

from benchmark.store.arrays import ArrayReader, ArrayWriter
from benchmark.store.artifact import digest
from benchmark.store.store import Store
from benchmark.tasks.checks import rounded

EIGHT = "{blobs: {use: blobs, eight_bit: true}}"


def crafted(run, cache):
    """Return the adversarial examples of a run, the task that crafted them, and the bytes that they take."""
    (row,) = run.run.costs[run.run.costs.kind == "craft"].itertuples()
    folder = Store(cache).open(row.key)
    return ArrayReader(folder).read()["x_adv"], row, sum(path.stat().st_size for path in folder.glob("part-*"))


def test_a_suite_that_asks_for_it_judges_rounded_adversarial_examples(run_toy, tmp_path):
    exact = run_toy(datasets=EIGHT, out="exact")
    coarse = run_toy(datasets=EIGHT, out="coarse", protocol="{adversarial: 8-bit}")
    assert (exact.code, coarse.code) == (0, 0)
    before, made, much = crafted(exact, tmp_path / "cache")
    after, rounded_to, less = crafted(coarse, tmp_path / "cache")
    assert made.key != rounded_to.key
    assert rounded_to.label == f"{made.label}, rounded to 8 bits"
    assert much - less > 2.5 * after.size, "a byte instead of four, beside the sizes"

    clean = Blobs(Blobs.Options(eight_bit=True)).split("test").images(range(60)).numpy()
    assert np.array_equal(after, np.rint(after * 255).astype(np.uint8) / np.float32(255))
    assert not np.array_equal(before, np.rint(before * 255).astype(np.uint8) / np.float32(255))
    assert np.abs(after - clean).max() <= 0.3, "the budget"
    sizes = coarse.run.samples.dropna(subset="perturbation").perturbation.to_numpy(float)
    np.testing.assert_allclose(sizes, np.abs(after - clean).max((1, 2, 3)), rtol=1e-6)

    assert coarse.run.manifest["protocol"]["adversarial"] == "8-bit"
    assert "adversarial" not in exact.run.manifest["protocol"]
    done = coarse.run.costs.set_index("kind").status
    assert set(done.loc[["train", "fit"]]) == {"cached"}, "only what is attacked is done anew"


def test_data_that_is_not_of_8_bits_is_refused_in_its_cells(run_toy):
    run = run_toy(protocol="{adversarial: 8-bit}")
    assert run.code == 1
    assert "needs clean images of 8 bits, and 16 of 16 images" in run.said


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 255]))
def test_rounding_moves_no_pixel_further_from_the_clean_one(seed, grid):
    drawn = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 256, (2, 3, 4, 4), generator=drawn) / 255
    x_adv = torch.rand(x.shape, generator=drawn)
    x_adv = (x_adv * 255).round() / 255 if grid == 255 else x_adv
    found = rounded(x_adv, x, 0)
    assert torch.equal(found, (found * 255).round() / 255)
    assert ((found - x).abs() <= (x_adv - x).abs() + 1e-5).all()
    assert ((found - x_adv).abs() < 1 / 255).all()
    assert torch.equal(rounded(found, x, 0), found)
    if grid == 255:
        assert torch.equal(found, x_adv)


def test_a_byte_is_used_where_nothing_is_lost(tmp_path):
    store = Store(tmp_path)
    store.prepare()
    levels = np.arange(256, dtype=np.float32).reshape(16, 16) / np.float32(255)
    between = levels.copy()
    between[3, 3] = np.nextafter(between[3, 3], np.float32(1))
    with store.building(digest("images")) as building:
        writer = ArrayWriter(building, eight_bit=["x"])
        for part in (levels, between, levels):
            writer.add({"x": part, "n": np.arange(16)})
            writer.flush()
        building.publish({})
    folder = store.open(digest("images"))
    reader = ArrayReader(folder)
    assert reader.names == ["n", "x"]
    assert np.array_equal(reader.read(names=["x"])["x"], np.concatenate([levels, between, levels]))
    assert np.array_equal(reader.take("x", [19, 47, 0]), np.stack([between[3], levels[15], levels[0]]))
    first, second, third = (path.stat().st_size for path in sorted(folder.glob("part-*")))
    assert first == third < second - 700
