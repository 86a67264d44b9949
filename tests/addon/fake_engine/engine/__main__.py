"""`python -m engine solve REQUEST` and `deliver SOLVE --out DELIVERY ...` of the stand-in."""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

if sys.argv[1] == "deliver":
    folder = Path(sys.argv[4]) / ".deliver"
    (folder / "asked.json").write_text(json.dumps(sys.argv[1:]))
else:
    folder = Path(json.loads(Path(sys.argv[2]).read_text())["output"])
mode = os.environ["FAKE_ENGINE"]


def say(state, fraction=0.0, message="", error=None, eta=None):
    status = {
        "schema": "cvd.status/1",
        "state": state,
        "stage": "poses",
        "fraction": fraction,
        "eta_s": eta,
        "message": message,
        "pid": os.getpid(),
        "started": time.time(),
        "updated": time.time(),
        "stages": [
            {"name": "footage", "state": "done", "fraction": 1.0},
            {"name": "poses", "state": "running", "fraction": 0.6},
            {"name": "depth", "state": "waiting", "fraction": 0.0},
        ],
        "error": error,
    }
    temporary = folder / "status.tmp"
    temporary.write_text(json.dumps(status))
    temporary.replace(folder / "status.json")


if "PYTHONPATH" in os.environ or "PYTHONHOME" in os.environ or os.environ.get("PYTHONDONTWRITEBYTECODE") != "1":
    sys.exit("the environment of Blender's Python leaks into the engine")

if mode == "succeed":
    say("running", 0.5, "poses: 3 of 6 frames", eta=12.0)
    if "FAKE_SOLVE" in os.environ:
        shutil.copytree(os.environ["FAKE_SOLVE"], folder, dirs_exist_ok=True)
    say("done", 1.0, "done")
elif mode == "fail":
    print("about to fail")
    say("failed", error={"code": "poses.none", "what": "No camera.", "why": "A tripod shot.", "fix": "Move it."})
    sys.exit(1)
elif mode == "crash":
    say("running", 0.2, "poses")
    print("Segmentation fault of the stand-in")
    os._exit(139)
elif mode == "refuse":
    print("error: The request is wrong.")
    sys.exit(2)
elif mode == "garbage":
    (folder / "status.json").write_text('{"state": "running", "fraction": "much"')
    print("garbage written")
elif mode == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say("running", 0.3, "not listening")
    while True:
        signal.pause()
elif mode == "obedient":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # else it may come before there is anyone to wait for it
    say("running", 0.3, "working")
    signal.sigwait({signal.SIGTERM})
    say("cancelled", 0.3, "stopped" if (folder / "cancel").exists() else "no cancel file")
    sys.exit(130)
elif mode == "flood":
    say("running", 0.3, "talking")
    line = b"nothing to say " * 4000 + b"\n"
    while not (folder / "cancel").exists():
        os.write(1, line)
    say("cancelled", 0.3, "stopped")
    sys.exit(130)
elif mode == "rubbish":
    os.write(1, bytes(range(256)) * 200 + b"\x1b[31m\nlast words\x00\x07\n")
    (folder / "status.json").write_bytes(bytes(range(256)))
elif mode == "locking":
    import fcntl

    lock = (folder / "lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    lock.write(json.dumps({"pid": os.getpid(), "host": os.uname().nodename, "started": time.time()}))
    lock.flush()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say("running", 0.3, "working")
    while True:
        signal.pause()
elif mode == "steady":  # at work, with the folder's lock, until it is cancelled or there is a file `finish`
    import fcntl

    lock = (folder / "lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    lock.write(json.dumps({"pid": os.getpid(), "host": os.uname().nodename, "started": time.time()}))
    lock.flush()
    asked: list[bool] = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
    end = time.monotonic() + 900.0  # nothing is left behind, whatever becomes of the test
    while not asked and not (folder / "finish").exists() and time.monotonic() < end:
        say("running", 0.3, "working", eta=40.0)
        time.sleep(0.2)
    if asked or time.monotonic() > end:
        say("cancelled", 0.3, "stopped")
        sys.exit(130)
    shutil.copytree(os.environ["FAKE_SOLVE"], folder, dirs_exist_ok=True)
    say("done", 1.0, "done")
