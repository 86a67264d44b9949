"""Sends a list of shots to OpenCue (docs/farm.md): a layer for each group of stages, a frame for each shot.

Runs where OpenCue's `outline` is installed (`pip install opencue-pyoutline`): python solve_shots.py --help
"""

from __future__ import annotations

import argparse
import getpass
import shlex

import outline
import outline.cuerun
from outline.depend import DependType
from outline.modules.shell import Shell, ShellCommand

GROUPS = (("cameras", "motion"), ("depth", "depth"), ("export", "export"))
"""Layers, and the last stage that each does."""


def make_job(options: argparse.Namespace) -> outline.Outline:
    """The job: within a shot each group waits for the one before, and the report for all."""
    folder, python, listed, report_folder = (
        shlex.quote(path) for path in (options.engine_folder, options.engine_python, options.list, options.report)
    )  # OpenCue joins the words of a command by spaces
    engine = ["env", f"PYTHONPATH={folder}", python, "-m", "engine"]
    where = [listed, "--report", report_folder, "--preset", options.preset]
    job = outline.Outline("solve_shots", shot=options.shot, show=options.show, user=getpass.getuser())
    before = None
    for name, until in GROUPS:
        task = [*engine, "batch", *where, "--task", "--shots", "#IFRAME#", "--until", until]
        layer = Shell(name, command=task, range=options.shots, chunk=1)
        job.add_layer(layer)
        if before is not None:
            layer.depend_on(before, DependType.FrameByFrame)
        before = layer
    report = ShellCommand("report", command=[*engine, "batch-report", *where])
    job.add_layer(report)
    report.depend_on(before, DependType.LayerOnLayer)
    return job


def main() -> None:
    """Read the command line and launch the job."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("list", help="the cvd.shots/1 file, on storage that all machines share")
    parser.add_argument("--shots", required=True, help="as OpenCue writes frames: 1-12")
    parser.add_argument("--report", required=True, help="folder of the report, likewise shared")
    parser.add_argument("--engine-folder", required=True, help="the folder that holds engine/")
    parser.add_argument("--engine-python", required=True, help="the Python of the engine's environment")
    parser.add_argument("--preset", default="listed")
    parser.add_argument("--show", required=True)
    parser.add_argument("--shot", default="all")
    outline.cuerun.launch(make_job(parser.parse_args()), use_pycuerun=False)


if __name__ == "__main__":
    main()
