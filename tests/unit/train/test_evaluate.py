from __future__ import annotations

import pytest
import torch

from train.evaluate import (
    UNSURE_SHARE,
    as_input,
    calibrate,
    choose_threshold,
    confusion,
    fit_temperature,
    score,
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
    assert (confidence < found.threshold).sum() == 3


def test_input_is_scaled_to_one() -> None:
    images = as_input(torch.tensor([[[0, 255]]], dtype=torch.uint8))
    assert images.tolist() == [[[[0.0, 1.0]]]]
