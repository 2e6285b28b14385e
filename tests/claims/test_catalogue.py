from __future__ import annotations

from collections import Counter

from pytest_k8snet.claims.catalogue import BY_ID, CATALOGUE


def test_every_row_of_the_labs_is_there_once() -> None:
    assert Counter(claim.lab for claim in CATALOGUE) == {
        "pause": 9,
        "pod-network": 11,
        "clusterip": 7,
        "nodeport": 7,
    }
    assert len(BY_ID) == len(CATALOGUE)


def test_ids_and_sentences() -> None:
    claim = BY_ID["pod-network/source-kept"]
    assert claim.sentence == "pod-dest sees pod-src's own IP."
    assert BY_ID["nodeport/answers-from-node2"].function.__name__ == "answers_from_node2"


def test_every_claim_is_one_sentence_of_its_lab() -> None:
    for claim in CATALOGUE:
        assert claim.sentence.endswith("."), claim.id
        assert claim.function.__wrapped__, f"{claim.id} is not decorated with @claim"  # type: ignore[attr-defined]
