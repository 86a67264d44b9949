"""Nobody who starts the engine meets a traceback."""

from pathlib import Path

import pytest

from engine import cli


def test_a_defect_outside_of_any_solve_folder_is_told_in_three_parts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(_options):
        raise KeyError("surprise")

    monkeypatch.setattr(cli, "_request", broken)
    assert cli.main(["solve", str(tmp_path / "a.mp4")]) == 1
    said = capsys.readouterr().err
    assert "KeyError: 'surprise' (test_faults_cli.py:" in said
    assert "Traceback" not in said
    assert all(part in said for part in ("error: ", "\n  why: ", "\n  fix: "))


def test_the_interrupts_of_a_person_are_no_defects(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_request", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cli.main(["solve", str(tmp_path / "a.mp4")])
