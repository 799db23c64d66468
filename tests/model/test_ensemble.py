"""Several bundles are one detector, whose score is the mean of their calibrated scores."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from deepfake.errors import UsageError
from deepfake.io.storage import Storage
from deepfake.model import inference
from deepfake.model.bundle import Bundle
from deepfake.model.ensemble import Ensemble, find_curve, name_bundles
from deepfake.model.thresholds import Calibration, Mixer
from tests.small_bundle import save_untrained

CURVE = Calibration(
    method="platt", slope=2.0, offset=-1.0, share_of_fakes=0.5, log_loss={"none": 0.7, "platt": 0.6}
)
UNPROVEN = {"threshold": 0.5, "unproven": "nothing is known"}


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    folder = tmp_path_factory.mktemp("members")
    for name, more in (("plain", {}), ("curved", {"calibration": {"mean": CURVE}})):
        people = {"identities": {"train": [name, "both"]}}
        save_untrained(str(folder / name), seed=len(name), training=people, **more)
    return [Bundle.load(str(folder / name)) for name in ("plain", "curved")]


def test_each_score_is_calibrated_by_its_own_bundles_curve_before_the_mean() -> None:
    scores = np.array([[0.2, 0.3], [0.9, 0.5], [0.0, 1.0]])
    found = Mixer((None, CURVE))(scores)
    logits = np.log(scores[:2, 1] / (1 - scores[:2, 1]))
    expected = (scores[:2, 0] + 1 / (1 + np.exp(1.0 - 2.0 * logits))) / 2
    np.testing.assert_allclose(found[:2], expected, atol=1e-12)
    assert 0.499 < found[2] <= 0.5
    each = Mixer((None, CURVE)).calibrate(scores)
    assert (
        each[:, 0].tolist() == scores[:, 0].tolist() and each[:, 1].tolist() == CURVE(scores[:, 1]).tolist()
    )
    assert Mixer()(scores[:, 0]).tolist() == scores[:, 0].tolist()


def test_both_networks_score_every_crop_and_what_each_says_is_known(members: list[Bundle]) -> None:
    ensemble = pickle.loads(pickle.dumps(Ensemble(members, UNPROVEN)))
    network = inference.prepare_network(ensemble, Storage())
    scorer, crops = network.start_scorer(threads=1), inference.make_probes()
    own = inference.score_by_each(scorer, crops)
    for column, member in zip(own.T, members, strict=True):
        alone = inference.prepare_network(member, Storage()).start_scorer(threads=1)
        assert column.tolist() == alone.score(crops).tolist()
    assert np.ptp(own[:, 0] - own[:, 1]) > 0
    assert scorer.score(crops).tolist() == ensemble.mixer(own).tolist()
    assert network.made_with.count("openvino ") == network.made_with.count("deepfake ") == 1


def test_a_mirrored_crop_has_the_same_score_once_both_count(members: list[Bundle]) -> None:
    crops = inference.make_probes()
    mirrored = crops[:, :, ::-1]
    plain = inference.prepare_network(members[0], Storage()).start_scorer(threads=1)
    assert np.abs(plain.score(crops) - plain.score(mirrored)).max() > 1e-6
    network = inference.prepare_network(members[0], Storage(), flip=True)
    both = network.start_scorer(threads=1)
    expected = (plain.score(crops) + plain.score(mirrored)) / 2
    np.testing.assert_array_equal(both.score(crops), expected)
    np.testing.assert_array_equal(both.score(mirrored), expected)


def test_an_ensemble_is_known_by_its_bundles_their_order_and_its_decisions(members: list[Bundle]) -> None:
    def identify(some: list[Bundle], **more: Any) -> tuple[str, str]:
        made = Ensemble(some, {**UNPROVEN, **more})
        return made.sha256, made.info.model_sha256

    usual = identify(members)
    assert usual == identify(members)
    assert identify(members[::-1])[0] != usual[0] != identify(members, threshold=0.6)[0]
    assert identify(members, threshold=0.6)[1] == usual[1] != identify(members[::-1])[1]
    info = Ensemble(members, UNPROVEN).info
    assert info.read_identities() == {"train": {"plain", "curved", "both"}}


def test_heat_maps_are_the_mean_of_those_there_are_and_one_network_is_not_to_be_had(
    members: list[Bundle],
) -> None:
    ensemble, crops = Ensemble(members, UNPROVEN), inference.make_probes()[:3]
    draw = inference.prepare_network(ensemble, Storage()).start_heat_maps(threads=1)
    alone = [inference.prepare_network(one, Storage()).start_heat_maps(threads=1) for one in members]
    np.testing.assert_allclose(draw(crops), (alone[0](crops) + alone[1](crops)) / 2, atol=1e-6)
    with pytest.raises(UsageError, match="these are several networks; give one --bundle"):
        _ = ensemble.network


def test_a_curve_that_nothing_was_fitted_to_is_none(members: list[Bundle]) -> None:
    assert [find_curve(one) for one in members] == [None, CURVE]


def test_bundles_are_called_by_their_folders_where_these_differ(members: list[Bundle]) -> None:
    assert name_bundles(members) == ["plain", "curved"]
    assert Ensemble(members, UNPROVEN).mixer == Mixer((None, CURVE), ("plain", "curved"))
    same = [Bundle(members[0].info, b"", f"/{folder}/model") for folder in "ab"]
    assert name_bundles([*same, members[0]]) == ["/a/model", "/b/model", "plain"]
