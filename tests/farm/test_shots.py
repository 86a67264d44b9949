"""The shot list is read as it is documented, and refused in three parts where it is wrong."""

import json
from pathlib import Path

import pytest

from engine.batch.shots import read_shots, select
from engine.errors import RequestError
from engine.schemas import schema


def write(path, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def a_list(folder, *shots):
    return write(folder / "shots.json", {"schema": "cvd.shots/1", "shots": list(shots)})


def a_shot(name="a", **request):
    return {"name": name, "request": {"footage": {"path": "a.mp4"}, "output": f"{name}.solve", **request}}


def test_relative_paths_begin_at_the_file_that_they_are_written_in(tmp_path: Path) -> None:
    far = tmp_path / "elsewhere"
    inline = a_shot(
        "a",
        footage={"path": "left.mp4", "right": "../right.mp4", "stereo": "two_files"},
        masks={"path": "masks"},
        tracks="tracks.json",
        camera={"kind": "chan", "path": str(far / "a.chan")},
        prior={"kind": "maps", "path": "maps"},
    )
    (tmp_path / "maps").mkdir()
    write(tmp_path / "sub" / "b.json", {"schema": "cvd.request/1", "footage": {"path": "b"}, "output": "b.solve"})
    first, second = read_shots(a_list(tmp_path, inline, {"name": "b", "request": "sub/b.json"}))
    assert first.request.footage.path == tmp_path / "left.mp4"
    assert first.request.footage.right == tmp_path / ".." / "right.mp4"
    assert first.request.masks.path == tmp_path / "masks"
    assert first.request.tracks == tmp_path / "tracks.json"
    assert first.request.camera.path == far / "a.chan"
    assert first.request.prior.path == str(tmp_path / "maps")
    assert first.request.output == tmp_path / "a.solve"
    assert second.request.footage.path == tmp_path / "sub" / "b"
    assert (first.number, second.number, second.name) == (1, 2, "b")


def test_a_model_by_its_name_is_no_path(tmp_path: Path) -> None:
    (shot,) = read_shots(a_list(tmp_path, a_shot(prior={"kind": "transformers", "path": "maker/model"})))
    assert shot.request.prior.path == "maker/model"


def test_a_preset_for_all_goes_before_what_the_shots_say(tmp_path: Path) -> None:
    path = a_list(tmp_path, a_shot("a"), a_shot("b", preset="best"))
    assert [shot.request.preset for shot in read_shots(path)] == ["standard", "best"]
    assert [shot.request.preset for shot in read_shots(path, "preview")] == ["preview", "preview"]


@pytest.mark.parametrize(
    ("shots", "code", "named"),
    [
        ([], "shots.invalid", "shots"),
        ([a_shot("../a")], "shots.invalid", "shots/0/name"),
        ([a_shot("a/b")], "shots.invalid", "shots/0/name"),
        ([{"name": "a"}], "shots.invalid", "request"),
        ([a_shot("a"), a_shot("A")], "shots.twice", "name a"),
        ([a_shot("a", output="x"), a_shot("b", output="x")], "shots.twice", "output"),
        ([a_shot("a", preset="fast")], "request.invalid", "preset"),
        ([a_shot("a", schema="cvd.request/2")], "request.version", "cvd.request/1"),
        ([{"name": "a", "request": "none.json"}], "shots.unreadable", "No such file"),
    ],
)
def test_a_wrong_list_is_refused(tmp_path: Path, shots, code, named) -> None:
    with pytest.raises(RequestError) as refused:
        read_shots(a_list(tmp_path, *shots))
    assert refused.value.code == code
    assert named in refused.value.why
    assert refused.value.fix


def test_what_is_no_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shots.json").write_text("{")
    with pytest.raises(RequestError) as refused:
        read_shots(tmp_path / "shots.json")
    assert refused.value.code == "shots.not_json"
    with pytest.raises(RequestError) as refused:
        read_shots(write(tmp_path / "shots.json", {"schema": "cvd.shots/2", "shots": [a_shot()]}))
    assert refused.value.code == "shots.invalid"
    assert schema("shots-1")["properties"]["schema"]["const"] in refused.value.why


def test_shots_are_chosen_by_number(tmp_path: Path) -> None:
    shots = read_shots(a_list(tmp_path, *(a_shot(name) for name in "abcdefg")))

    def chosen(words):
        return "".join(shot.name for shot in select(shots, words))

    assert chosen("2") == "b"
    assert chosen("1-3,7") == "abcg"
    assert chosen("7, 1-7:3, 1") == "adg"
    for wrong in ("0", "8", "3-2", "1-8", "a", "", "1,", "1-3:0", "-1"):
        with pytest.raises(RequestError):
            select(shots, wrong)
