"""Segmentation networks of transformers: loaded from a folder, fed and read as their publishers do it."""

import json
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
import torch

from tests import pictures

pytest.importorskip("transformers")

from transformers import DetrImageProcessorPil, MaskFormerImageProcessorPil

from engine.errors import MaskError
from engine.footage import probe
from engine.masks import segmentation
from engine.masks.given import content_of, solve_given_masks
from engine.masks.segmentation import Preparation, moving_classes, network, score
from engine.progress import Silent
from engine.request import MaskRequest
from tests.engine.masks.tiny_segmenters import LABELS, MAKERS, save

CPU = torch.device("cpu")
PICTURE = cv2.GaussianBlur(np.random.default_rng(3).integers(0, 256, (96, 160, 3), np.uint8), (0, 0), 2)
PERSON = torch.tensor([1])


def code_of(name):
    with pytest.raises(MaskError) as failure:
        network(str(name))
    return failure.value.code


@pytest.mark.parametrize("kind", MAKERS)
def test_every_kind_answers_for_every_pixel_and_the_same_each_time(tmp_path: Path, kind) -> None:
    save(kind, tmp_path)
    found = network(str(tmp_path))
    masks = [found.open(CPU)(PICTURE) for _ in range(2)]
    assert masks[0].shape == PICTURE.shape[:2]
    assert masks[0].dtype == bool
    assert np.array_equal(masks[0], masks[1])


@pytest.mark.parametrize(("kind", "favoured"), [("segformer", 1), ("segformer", 0)])
def test_the_class_that_a_network_prefers_decides(tmp_path: Path, kind, favoured) -> None:
    model = save(kind, tmp_path)
    with torch.no_grad():
        model.decode_head.classifier.bias[favoured] = 50.0
    model.save_pretrained(tmp_path)
    mask = network(str(tmp_path)).open(CPU)(PICTURE)
    assert mask.all() if LABELS[favoured] == "person" else not mask.any()


def query_answer(classes, masks):
    return {"class_queries_logits": torch.tensor([classes]) * 20.0, "masks_queries_logits": masks[None] * 20.0}


def test_queries_count_by_their_class_and_where_their_mask_is() -> None:
    left, right = torch.full((2, 8, 8), -1.0)
    left[:, :4] = 1.0
    right[:, 4:] = 1.0
    person, wall, nothing = [0.0, 1, 0, 0], [1.0, 0, 0, 0], [0.0, 0, 0, 1]
    moves = score(query_answer([person, wall], torch.stack([left, right])), PERSON, (16, 16), each_class_alone=False)
    assert (moves[:, :7] > 0.5).all()
    assert (moves[:, 9:] < 0.5).all()
    for other in (wall, nothing):
        answer = query_answer([other, wall], torch.stack([left, right]))
        assert not (score(answer, PERSON, (16, 16), each_class_alone=False) > 0.5).any()
    both = query_answer([person, person], torch.stack([left, right]))
    assert (score(both, PERSON, (8, 8), each_class_alone=False) > 0.5).all(), "what two people hide is united"


def test_classes_that_stand_alone_need_no_class_for_nothing() -> None:
    masks = torch.ones(1, 1, 4, 4) * 20
    sure, unsure = torch.tensor([[[-9.0, 9.0, -9.0]]]), torch.tensor([[[-9.0, -1.0, -9.0]]])
    for logits, expected in ((sure, True), (unsure, False)):
        moves = score({"logits": logits, "pred_masks": masks}, PERSON, (4, 4), each_class_alone=True)
        assert bool((moves > 0.5).all()) is expected


@pytest.mark.parametrize(
    ("processor", "size"),
    [
        (MaskFormerImageProcessorPil(size={"shortest_edge": 48, "longest_edge": 96}, size_divisor=32), (96, 160)),
        (MaskFormerImageProcessorPil(size={"shortest_edge": 48, "longest_edge": 60}, size_divisor=32), (96, 160)),
        (DetrImageProcessorPil(size={"shortest_edge": 60, "longest_edge": 1000}), (96, 160)),
        (DetrImageProcessorPil(size={"shortest_edge": 60, "longest_edge": 80}), (160, 96)),
    ],
)
def test_pictures_are_prepared_as_the_publishers_do(processor, size) -> None:
    picture = np.ascontiguousarray(PICTURE if size[0] < size[1] else PICTURE.transpose(1, 0, 2))
    theirs = processor(images=picture, return_tensors="pt")["pixel_values"]
    mine = Preparation.of(json.loads(processor.to_json_string()))(
        torch.from_numpy(picture).permute(2, 0, 1)[None].float()
    )
    assert mine.shape == theirs.shape
    assert (mine - theirs).abs().max() < 0.03


def test_what_may_move_is_told_by_the_labels() -> None:
    coco = {1: "person", 2: "bicycle", 16: "bird", 37: "sports ball", 62: "chair", 63: "couch", 64: "potted plant"}
    assert moving_classes(coco) == [1, 2, 16, 37]
    ade = {
        0: "wall",
        12: "person, individual, someone",
        20: "car;auto;automobile",
        83: "truck",
        126: "animal",
        4: "tree",
    }
    assert moving_classes(ade) == [12, 20, 83, 126]
    panoptic = {0: "wall-other-merged", 1: "Person", 2: "dirt-merged", 3: "carpet", 4: "teddy bear", 5: "LABEL_7"}
    assert moving_classes(panoptic) == [1]


def test_models_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    assert code_of(tmp_path / "nowhere") == "mask.not_found"
    (tmp_path / "empty").mkdir()
    assert code_of(tmp_path / "empty") == "mask.incomplete"
    save("segformer", tmp_path / "a")
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    for name, change, code in (
        ("kind", {"model_type": "sam"}, "mask.unsupported"),
        ("labels", {"id2label": {"0": "wall"}}, "mask.no_classes"),
    ):
        save("segformer", tmp_path / name)
        (tmp_path / name / "config.json").write_text(json.dumps(config | change))
        assert code_of(tmp_path / name) == code
    save("segformer", tmp_path / "size", size=None)
    assert code_of(tmp_path / "size") == "mask.unsupported"
    (tmp_path / "a" / "model.safetensors").rename(tmp_path / "a" / "pytorch_model.bin")
    assert code_of(tmp_path / "a") == "mask.pickle"


def test_without_transformers_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save("segformer", tmp_path)
    monkeypatch.setattr("engine.networks.pretrained.importlib.util.find_spec", lambda name: None)
    assert code_of(tmp_path) == "mask.no_transformers"


def test_network_and_artist_are_united_by_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, names in (("plate", "plate_{:04d}.png"), ("proxy", "{:06d}.png")):
        (tmp_path / folder).mkdir()
        for number in (1, 2, 3):
            cv2.imwrite(str(tmp_path / folder / names.format(number)), PICTURE)
    (tmp_path / "own").mkdir()
    own = np.zeros(PICTURE.shape[:2], np.uint8)
    own[:20] = 255
    cv2.imwrite(str(tmp_path / "own" / "mask_0002.png"), own)
    save("segformer", tmp_path / "model")

    def bottom(picture):
        assert np.array_equal(picture, PICTURE[..., ::-1]), "networks are fed RGB"
        return np.arange(len(picture))[:, None].repeat(picture.shape[1], axis=1) >= 80

    fake = segmentation.Network("tiny", "MIT", "hash", lambda device: bottom)
    monkeypatch.setattr(segmentation, "network", lambda name: fake)
    request = MaskRequest(path=tmp_path / "own", segmentation="tiny")
    footage = probe(tmp_path / "plate")
    solve_given_masks(footage, tmp_path / "proxy", request, tmp_path / "out", CPU, Silent())
    masks = {int(p.stem): pictures.read(p, cv2.IMREAD_GRAYSCALE) > 127 for p in (tmp_path / "out").glob("*.png")}
    rows = {number: np.flatnonzero(mask.all(axis=1)).tolist() for number, mask in sorted(masks.items())}
    low = list(range(80, 96))
    assert rows == {1: low, 2: list(range(20)) + low, 3: low}
    about = json.loads((tmp_path / "out" / "masks.json").read_text())
    assert about == {"frames": 3, "segmentation": "tiny", "licence": "MIT"}
    assert content_of(request, footage)["segmentation"] == "hash"


def test_a_licence_that_excludes_paid_work_needs_the_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = segmentation.Network("tiny", "CC-BY-NC-4.0", "hash", lambda device: lambda picture: picture[..., 0] > 0)
    monkeypatch.setattr(segmentation, "network", lambda name: fake)
    footage = Mock(width=8, height=8)
    with pytest.raises(MaskError) as caught:
        content_of(MaskRequest(segmentation="tiny"), footage)
    assert caught.value.code == "mask.non_commercial" and "CC-BY-NC-4.0" in caught.value.why
    assert content_of(MaskRequest(segmentation="tiny", allow_non_commercial=True), footage)["segmentation"] == "hash"


def test_settings_that_no_network_can_have_are_refused(tmp_path: Path) -> None:
    save("segformer", tmp_path / "a")
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    for number, change in enumerate(
        (
            {"size": {"height": -1, "width": 64}},
            {"size": {"height": "64", "width": 64}},
            {"size": {"shortest_edge": 10**9}},
            {"size_divisor": "many"},
            {"image_mean": [0.5]},
            {"image_std": None},
        )
    ):
        folder = tmp_path / f"preprocessor {number}"
        save("segformer", folder)
        path = folder / "preprocessor_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
        assert code_of(folder) == "mask.unsupported", change
    for number, labels in enumerate(({"one": "person"}, ["person"], "person")):
        folder = tmp_path / f"labels {number}"
        save("segformer", folder)
        (folder / "config.json").write_text(json.dumps(config | {"id2label": labels}))
        assert code_of(folder) == "mask.unsupported", labels
