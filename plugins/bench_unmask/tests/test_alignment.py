"""Algorithm 1 on hand-made sets of parts: no network, no data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench_unmask.alignment import align, distance, flag, found_parts, jaccard, log_odds, missing_parts, soft_jaccard
from benchmark.defense import NO_LABEL

V = {
    "bike": {"wheel", "seat", "frame"},
    "bird": {"head", "tail", "beak", "wing"},
    "dog": {"head", "tail", "paw", "ear"},
}
CLASSES = tuple(V)
PARTS = (*sorted(set().union(*V.values())), "horn")  # the extractor knows a horn, which none of the classes has
MATRIX = torch.tensor([[part in V[name] for part in PARTS] for name in CLASSES])


def says(name: str, then: str | None = None) -> torch.Tensor:
    """Return logits (1, C) of a classifier that says `name`, and finds `then` the second likeliest."""
    return torch.tensor([[2.0 * (c == name) + 1.0 * (c == then) for c in CLASSES]])


def scores_of(found: dict[str, float] | set[str]) -> torch.Tensor:
    """Return part scores (1, P): those given, or 0.9 for each part of a set."""
    scores = found if isinstance(found, dict) else dict.fromkeys(found, 0.9)
    assert set(scores) <= set(PARTS)
    return torch.tensor([[scores.get(part, 0.0) for part in PARTS]])


def aligned(found, classifier: torch.Tensor, part_score: float = 0.5):
    return align(scores_of(found), MATRIX, classifier, part_score)


def test_a_benign_image_has_distance_0_and_keeps_its_class():
    seen = aligned(V["bike"], says("bike"))
    assert seen.similarity.tolist() == [[1, 0, 0]]
    assert seen.score.item() == 0
    assert CLASSES[seen.rectified.item()] == "bike"
    assert not flag(seen.score, 0.01).item()


def test_the_attacked_bike_of_figure_1_is_flagged_as_a_bird_and_rectified():
    seen = aligned({"wheel", "seat"}, says("bird"))
    assert seen.similarity.tolist() == [[2 / 3, 0, 0]]
    assert seen.score.item() == 1
    assert CLASSES[seen.rectified.item()] == "bike"
    assert flag(seen.score, 1.0).item()  # the largest threshold


def test_large_distances_are_adversarial_as_in_algorithm_1_not_benign_as_in_the_prose_of_step_3():
    fits, does_not = aligned(V["dog"], says("dog")), aligned(V["dog"], says("bike"))
    for threshold in (0.1, 0.5, 0.9):
        assert not flag(fits.score, threshold).item()
        assert flag(does_not.score, threshold).item()
        prose_calls_benign = does_not.score > threshold
        assert prose_calls_benign.item()  # the sentence taken at its word lets the attack pass


def test_a_distance_equal_to_the_threshold_is_adversarial():
    seen = aligned({"head", "tail", "beak"}, says("bird"))
    assert seen.score.item() == 0.25
    assert flag(seen.score, 0.25).item()
    assert not flag(seen.score, np.nextafter(0.25, 1)).item()


@pytest.mark.parametrize(("differing", "threshold"), [(1, 0.1), (3, 0.3), (7, 0.7), (9, 0.9)])
def test_a_distance_written_as_a_decimal_meets_the_threshold_written_so(differing, threshold):
    matrix = torch.ones(1, 10, dtype=torch.bool)
    found = torch.tensor([[0.9] * (10 - differing) + [0.0] * differing])
    seen = align(found, matrix, torch.zeros(1, 1), 0.5)
    assert seen.score.item() == threshold
    assert flag(seen.score, threshold).item()


def test_the_class_is_the_most_similar_to_the_found_parts_not_algorithm_1s_argmin_over_the_expected_ones():
    seen = aligned({"head", "paw", "ear"}, says("bird"))
    expected = MATRIX[[CLASSES.index("bird")]]
    printed = jaccard(expected, MATRIX)
    assert CLASSES[printed.argmin().item()] == "bike"  # as printed: whatever is least like the prediction
    assert CLASSES[printed.argmax().item()] == "bird"  # with argmax alone corrected: the prediction itself
    assert CLASSES[seen.rectified.item()] == "dog"


def test_nothing_found_is_similar_to_nothing_and_has_no_answer():
    seen = aligned(set(), says("dog"))
    assert seen.similarity.tolist() == [[0, 0, 0]]
    assert seen.score.item() == 1
    assert (seen.unmatched.item(), seen.tied.item(), seen.found.any().item()) == (True, False, False)
    assert seen.rectified.item() == NO_LABEL


def test_a_part_of_no_class_alone_has_no_answer_either():
    seen = aligned({"horn"}, says("dog"))
    assert seen.similarity.tolist() == [[0, 0, 0]]
    assert (seen.unmatched.item(), seen.found.any().item()) == (True, True)
    assert seen.rectified.item() == NO_LABEL


def test_a_part_of_no_class_makes_every_class_less_similar():
    assert aligned({"wheel", "horn"}, says("bike")).similarity.tolist() == [[1 / 4, 0, 0]]


def test_the_similarity_of_two_empty_sets_is_0():
    nothing = torch.zeros(1, 2, dtype=torch.bool)
    assert jaccard(nothing, nothing).item() == 0
    assert distance(nothing, nothing).item() == 1


@pytest.mark.parametrize(("beak", "paw", "winner"), [(0.9, 0.6, "bird"), (0.6, 0.9, "dog")])
@pytest.mark.parametrize("prediction", CLASSES)
def test_a_tie_goes_to_the_class_whose_found_parts_have_the_greater_scores(beak, paw, winner, prediction):
    seen = aligned({"head": 0.7, "beak": beak, "paw": paw}, says(prediction))
    assert seen.similarity.tolist() == [[0, 2 / 5, 2 / 5]]
    assert (seen.tied.item(), seen.unmatched.item()) == (True, False)
    assert CLASSES[seen.rectified.item()] == winner


@pytest.mark.parametrize(
    ("logits", "winner"),
    [(says("bird"), "bird"), (says("dog"), "dog"), (says("bike", "dog"), "dog"), (says("bike", "bird"), "bird")],
)
def test_a_tie_of_the_same_found_parts_goes_to_the_likelier_class_among_the_tied(logits, winner):
    seen = aligned({"head": 0.8, "tail": 0.6}, logits)
    assert seen.tied.item()
    assert CLASSES[seen.rectified.item()] == winner


def test_thirds_and_sixths_compare_as_equal():
    # 1 of 3 against 2 of 6, by way of unions of different size.
    matrix = torch.tensor([[1, 0, 0, 0, 0, 0, 0], [0, 1, 1, 1, 1, 1, 0]], dtype=torch.bool)
    found = torch.tensor([[0.9, 0.9, 0.9, 0.0, 0.0, 0.0, 0.0]])
    seen = align(found, matrix, torch.tensor([[1.0, 0.0]]), 0.5)
    assert seen.similarity.tolist() == [[1 / 3, 2 / 6]]
    assert seen.tied.item()
    assert seen.rectified.item() == 1  # two found parts speak for it, one for the other


def test_a_part_counts_from_the_part_score_on_and_never_at_0():
    scores = torch.tensor([[0.0, 0.3, 0.5, 1.0]])
    assert found_parts(scores, 0.5).tolist() == [[False, False, True, True]]
    assert found_parts(scores, 0.0).tolist() == [[False, True, True, True]]
    assert found_parts(scores, 1.0).tolist() == [[False, False, False, True]]


# -- properties -------------------------------------------------------------------------------------------------------


@st.composite
def worlds(draw):
    """Return part scores (N, P) in steps of 1/8, a matrix (C, P) without empty rows, and logits (N, C)."""
    images, parts, classes = draw(st.integers(1, 6)), draw(st.integers(1, 8)), draw(st.integers(2, 5))
    eighths = st.integers(0, 8).map(lambda k: k / 8)
    scores = draw(st.lists(st.lists(eighths, min_size=parts, max_size=parts), min_size=images, max_size=images))
    row = st.lists(st.booleans(), min_size=parts, max_size=parts).filter(any)
    matrix = draw(st.lists(row, min_size=classes, max_size=classes))
    orders = st.permutations(range(classes))
    logits = draw(st.lists(orders, min_size=images, max_size=images))
    return torch.tensor(scores), torch.tensor(matrix), torch.tensor(logits, dtype=torch.float32)


@given(worlds())
def test_similarity_is_that_of_sets(world):
    scores, matrix, logits = world
    seen = align(scores, matrix, logits, 0.5)
    assert seen.similarity.min() >= 0
    assert seen.similarity.max() <= 1
    for n, row in enumerate(scores.tolist()):
        found = {p for p, score in enumerate(row) if score >= 0.5}
        rows = [{p for p, yes in enumerate(has) if yes} for has in matrix.tolist()]
        similarity = [len(found & row) / len(found | row) for row in rows]
        assert seen.similarity[n].tolist() == similarity
        expected = rows[int(logits[n].argmax())]
        assert seen.score[n].item() == len(found ^ expected) / len(found | expected)
        assert seen.unmatched[n].item() == (max(similarity) == 0)
        assert seen.tied[n].item() == (max(similarity) > 0 and similarity.count(max(similarity)) > 1)
        label = seen.rectified[n].item()
        assert label == NO_LABEL if max(similarity) == 0 else similarity[label] == max(similarity)


@given(worlds(), st.randoms(use_true_random=False))
def test_the_order_of_images_parts_and_classes_does_not_matter(world, random):
    scores, matrix, logits = world

    def shuffled(count: int) -> list[int]:
        return random.sample(range(count), count)

    whole = align(scores, matrix, logits, 0.5)
    parts = shuffled(matrix.shape[1])
    other = align(scores[:, parts], matrix[:, parts], logits, 0.5)
    assert torch.equal(whole.similarity, other.similarity)
    assert torch.equal(whole.rectified, other.rectified)
    classes = shuffled(len(matrix))
    other = align(scores, matrix[classes], logits[:, classes], 0.5)
    named = torch.tensor([*classes, NO_LABEL])[other.rectified]
    assert torch.equal(whole.rectified, named)
    assert torch.equal(whole.score, other.score)
    for n in range(len(scores)):  # nor does the company that an image is in
        alone = align(scores[[n]], matrix, logits[[n]], 0.5)
        assert torch.equal(alone.similarity[0], whole.similarity[n])
        assert alone.rectified.item() == whole.rectified[n].item()


@given(st.integers(0, 10_000))
def test_the_soft_similarity_of_sets_is_their_similarity(seed):
    found = torch.rand((5, len(PARTS)), generator=torch.Generator().manual_seed(seed)) < 0.4
    torch.testing.assert_close(soft_jaccard(found.double(), MATRIX), jaccard(found, MATRIX), rtol=1e-12, atol=1e-12)


def test_a_part_is_half_present_at_the_score_that_finds_it_and_the_similarity_can_be_climbed():
    probabilities = torch.tensor([[1e-9, 0.01, 0.4, 0.99, 1.0]], dtype=torch.float64)
    presence = log_odds(probabilities, 0.4).sigmoid()
    assert presence[0, 2].item() == pytest.approx(0.5)
    assert presence[0].diff().gt(0).all()
    inside = torch.full((2, len(PARTS)), 0.3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: soft_jaccard(log_odds(p, 0.4).sigmoid(), MATRIX), (inside,))


@given(st.integers(0, 10_000))
def test_nothing_is_missing_where_the_parts_found_are_those_wanted_and_each_other_part_counts(seed):
    generator = torch.Generator().manual_seed(seed)
    wanted = torch.rand((5, len(PARTS)), generator=generator) < 0.4
    sure, image = torch.where(wanted, 3.0, -3.0).double(), torch.arange(5)
    torch.testing.assert_close(missing_parts(sure, image, wanted), torch.zeros(5, dtype=torch.float64))
    flipped = torch.rand((5, len(PARTS)), generator=generator) < 0.3
    other = torch.where(flipped, -sure, sure)
    torch.testing.assert_close(missing_parts(other, image, wanted), 4.0 * flipped.sum(1).double())
    # A part has the odds of all its proposals together; an image without any lacks what it wants, and has nothing else.
    twice, among = torch.cat([other, other]), torch.cat([image, image])
    more = np.log(2) * torch.where(flipped & ~wanted, 1.0, torch.where(flipped & wanted, -1.0, 0.0)).double().sum(1)
    torch.testing.assert_close(missing_parts(twice, among, wanted), 4.0 * flipped.sum(1).double() + more)
    none = missing_parts(other[1:], image[1:], wanted)[0]
    assert none >= 60 * wanted[0].sum()
    assert (none == 0) == (not wanted[0].any())
    near = torch.randn((9, len(PARTS)), generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda odds: missing_parts(odds, torch.arange(9) % 5, wanted), (near,))
