"""A shot goes through the real engine in two groups of stages, as two machines would solve it."""

import json
from pathlib import Path

import cv2
import pytest

from engine.batch.queue import Batch
from engine.batch.report import write_batch_report
from engine.batch.shots import read_shots
from engine.request import STAGES

SAMPLE = Path(__file__).resolve().parents[2] / "sample" / "room.mp4"


@pytest.mark.slow
def test_a_later_group_of_stages_goes_on_where_the_earlier_one_stopped(tmp_path: Path) -> None:
    movie = cv2.VideoCapture(str(SAMPLE))
    (tmp_path / "plate").mkdir()
    for number in range(1, 25):
        picture = movie.read()[1]
        if number % 4 == 0:
            small = cv2.resize(picture, (320, 180), interpolation=cv2.INTER_AREA)
            cv2.imwrite(str(tmp_path / "plate" / f"a.{number // 4:04d}.png"), small)
    request = {"footage": {"path": "plate"}, "output": "a.solve", "preset": "preview", "device": "cpu"}
    path = tmp_path / "shots.json"
    path.write_text(json.dumps({"schema": "cvd.shots/1", "shots": [{"name": "a", "request": request}]}))
    shots, report, solve = read_shots(path), tmp_path / "report", tmp_path / "a.solve"
    said: list[str] = []
    told: list[float] = []

    def run(**options):
        said.clear()
        return Batch(report, say=said.append, progress=told.append, **options).run(shots)["a"].state

    assert run(until="motion", task=True) == "stopped"
    assert not (solve / "solve.json").exists()
    status = json.loads((solve / "status.json").read_text())
    assert (status["state"], status["error"]) == ("stopped", None)
    assert "Stopped after the stage motion" in status["message"]
    assert told[-1] > 0.9, "progress is of what was asked for"
    assert run(task=True) == "done"
    for stage in (name for name in STAGES if name != "hints"):  # nobody has given any
        earlier = STAGES.index(stage) <= STAGES.index("motion")
        assert (f"a: {stage}: taken from the cache" in said) == earlier
        assert (f"a: {stage} …" in said) != earlier
    (entry,) = write_batch_report(shots, report)["shots"]
    assert entry["state"] == "done"
    assert entry["frames"] == {"all": 6, "with_camera": 6}
    assert (report / entry["report"]).is_file()
    assert run() == "done"
    assert said == ["a: already done"]
