"""`python -m tests.fuzz [--seconds N] [TARGET ...]`: fuzz with coverage as the guide, and print what was found.

Needs `atheris` (requirements/fuzz.txt) in the engine's environment. Each target runs in a process of its own, so that a
crash of native code is a finding and not the end. New inputs that reach new code are kept in `build/fuzz/`.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "build" / "fuzz"


def fuzz(target: str, arguments: list[str]) -> None:
    """Fuzz one target in this process; does not return."""
    import atheris

    with atheris.instrument_imports(
        include=["engine.cameras", "engine.footage", "engine.request", "engine.files", "cvd_blender_addon"],
        enable_loader_override=False,
    ):
        from tests.fuzz.targets import Targets
    targets = Targets(Path(tempfile.mkdtemp(prefix="cvd-fuzz-")))
    atheris.Setup([sys.argv[0], *arguments], lambda data: targets.run(target, data) and None)
    atheris.Fuzz()


def main() -> int:
    """Run targets one after the other. Returns 1 where something was found."""
    parser = argparse.ArgumentParser(prog="tests.fuzz", description="Coverage-guided fuzzing of everything that reads")
    parser.add_argument("targets", nargs="*", help="default: all")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options, rest = parser.parse_known_args()
    if options.one:
        fuzz(options.one, rest)
    if find_spec("atheris") is None:
        parser.error("atheris is not installed; requirements/fuzz.txt says how")
    from tests.fuzz.targets import Targets

    with tempfile.TemporaryDirectory() as folder:
        names = list(Targets(Path(folder)).all)
    found, executions = 0, 0
    for name in options.targets or names:
        corpus = KEPT / name
        corpus.mkdir(parents=True, exist_ok=True)
        limits = [f"-max_total_time={options.seconds}", "-timeout=20", "-rss_limit_mb=4096", "-max_len=64"]
        command = [sys.executable, "-m", "tests.fuzz", "--one", name, *limits, f"-artifact_prefix={KEPT}/{name}-"]
        log = KEPT / f"{name}.log"
        with log.open("wb") as output:
            done = subprocess.run([*command, str(corpus)], stdout=output, stderr=output, cwd=ROOT, check=False)
        runs = re.findall(r"#(\d+)", log.read_text(errors="replace"))
        executions += int(runs[-1]) if runs else 0
        found += done.returncode != 0
        verdict = "nothing found" if done.returncode == 0 else f"FOUND something, see {log}"
        print(f"{name:8} {int(runs[-1]) if runs else 0:8} executions  {verdict}", flush=True)
    print(f"all      {executions:8} executions  {found} targets with findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
