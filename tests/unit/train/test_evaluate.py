from __future__ import annotations

import pytest
import torch

from train.evaluate import (
    UNSURE_SHARE,
    as_input,
    calibrate,
    calibration_error,
    choose_threshold,
    confusion,
    fit_temperature,
    measure_sureness,
    reliability,
    reliability_by_mass,
    score,
    score_classes,
    score_probabilities,
    wilson_interval,
)


def test_wilson_interval_of_known_shares() -> None:
    """Worked out by hand from the formula, z = 1.959964."""
    assert wilson_interval(9964, 10_000) == pytest.approx((0.995020, 0.997399), abs=1e-6)
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.277533), abs=1e-6)
    assert wilson_interval(10, 10) == pytest.approx((0.722467, 1.0), abs=1e-6)


def test_score_counts_errors() -> None:
    logits = torch.tensor([[3.0, 0.0], [0.0, 3.0], [3.0, 0.0], [3.0, 0.0]])
    found = score(logits, torch.tensor([0, 1, 1, 0]))
    assert (found.n, found.errors, found.accuracy) == (4, 1, 0.75)
    assert "75.00%" in str(found)


def test_confusion_has_truth_in_rows() -> None:
    logits = torch.eye(3)[[0, 1, 1, 2]]
    assert confusion(logits, torch.tensor([0, 1, 2, 2])).tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 3.0])
def test_temperature_is_found_again(true_temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    honest = torch.randn(20_000, 10, generator=generator) * 3
    labels = torch.multinomial(honest.softmax(1), 1, generator=generator).squeeze(1)
    assert fit_temperature(honest * true_temperature, labels) == pytest.approx(true_temperature, rel=0.05)


def test_the_threshold_leaves_the_share_it_promises() -> None:
    confidence = torch.rand(5_000, generator=torch.Generator().manual_seed(0))
    threshold = choose_threshold(confidence)
    assert (confidence < threshold).sum() == int(UNSURE_SHARE * 5_000)


def test_few_images_leave_nobody_unsure() -> None:
    confidence = torch.tensor([0.9, 0.7, 0.8])
    assert not (confidence < choose_threshold(confidence)).any()


def test_calibration_is_of_the_calibrated_probabilities() -> None:
    logits = torch.randn(1_000, 10, generator=torch.Generator().manual_seed(0)) * 4
    found = calibrate(logits, logits.argmax(1))
    confidence = (logits / found.temperature).softmax(1).amax(1)
    assert (confidence < found.threshold).sum() == int(UNSURE_SHARE * 1_000)


def test_input_is_scaled_to_one() -> None:
    images = as_input(torch.tensor([[[0, 255]]], dtype=torch.uint8))
    assert images.tolist() == [[[[0.0, 1.0]]]]


PROBABILITIES = torch.tensor([[0.88, 0.12], [0.78, 0.22], [0.32, 0.68], [0.45, 0.55]])
LABELS = torch.tensor([0, 1, 1, 1])


def test_precision_and_recall_of_a_known_matrix() -> None:
    first, second, third = score_classes(torch.tensor([[8, 2, 0], [1, 9, 0], [0, 0, 0]]), ("a", "b", "c"))
    assert (first.n, first.answered, first.right) == (10, 9, 8)
    assert (first.precision, first.recall) == (8 / 9, 0.8)
    assert (second.precision, second.recall) == (9 / 11, 0.9)
    assert (third.precision, third.recall) == (None, None)


def test_reliability_by_hand() -> None:
    bins = reliability(PROBABILITIES, LABELS, bins=2)
    assert [(one.n, one.accuracy) for one in bins] == [(4, 0.75)]
    assert bins[0].confidence == pytest.approx((0.88 + 0.78 + 0.68 + 0.55) / 4)
    assert calibration_error(bins) == pytest.approx(0.75 - 0.7225)


def test_bins_of_equal_width_leave_out_what_is_empty() -> None:
    bins = reliability(PROBABILITIES, LABELS, bins=10)
    assert [(round(one.low, 1), round(one.high, 1), one.n) for one in bins] == [
        (0.5, 0.6, 1),
        (0.6, 0.7, 1),
        (0.7, 0.8, 1),
        (0.8, 0.9, 1),
    ]
    assert calibration_error(bins) == pytest.approx((0.45 + 0.32 + 0.78 + 0.12) / 4)


def test_bins_of_equal_mass_have_as_many() -> None:
    confidence = torch.linspace(0.5, 1, 32)
    bins = reliability_by_mass(torch.stack((confidence, 1 - confidence), 1), torch.zeros(32, dtype=torch.long))
    assert sum(one.n for one in bins) == 32
    assert {one.n for one in bins} == {2, 3}
    assert [one.low for one in bins] == sorted(one.low for one in bins)
    assert len(reliability_by_mass(PROBABILITIES, LABELS)) == 4


def test_honest_probabilities_have_no_calibration_error() -> None:
    generator = torch.Generator().manual_seed(0)
    probabilities = (torch.randn(50_000, 5, generator=generator) * 2).softmax(1)
    labels = torch.multinomial(probabilities, 1, generator=generator).squeeze(1)
    assert calibration_error(reliability(probabilities, labels)) < 0.01
    assert calibration_error(reliability_by_mass(probabilities, labels)) < 0.01
    boastful = probabilities.pow(3) / probabilities.pow(3).sum(1, keepdim=True)
    assert calibration_error(reliability(boastful, labels)) > 0.1


def test_sureness_counts_errors_among_the_sure() -> None:
    found = measure_sureness(PROBABILITIES, LABELS, 0.6)
    assert (found.n, found.unsure, found.sure_errors) == (4, 1, 1)
    assert (found.unsure_share, found.sure_error_rate) == (1 / 4, 1 / 3)
    assert measure_sureness(PROBABILITIES, LABELS, 0.99).sure_error_rate is None


def test_the_loss_of_probabilities_is_their_likelihood() -> None:
    found = score_probabilities(PROBABILITIES, LABELS)
    assert found.loss == pytest.approx(-torch.tensor([0.88, 0.22, 0.68, 0.55]).log().mean().item())
    assert score_probabilities(torch.tensor([[1.0, 0.0]]), torch.tensor([1])).loss == pytest.approx(27.63, abs=0.01)
