"""Solve footage as people have it, and say for each clip whether what its note asks for came out: one table.

usage: python -m bench.footage VARIANTS [--out DIR] [--only TEXT] [--preset P]

Reads `../shared/data/cases` in place, and the variants of the bundled clip from VARIANTS, where
`../shared/tools/make_variants.py` has made them. Each clip is solved once in a process of its own; what is in `--out`
already is not solved again. Writes `footage.md` and `footage.json` there, and prints the table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.footage.movies import MOVIE_SUFFIXES

ROOT = Path(__file__).resolve().parent.parent
CASES = ROOT.parent / "shared" / "data" / "cases"
SAMPLE = ROOT / "sample"
UNTYPED = ("engine.defect", "poses.crashed")
LIMIT_S = 1800.0
FIGURES = {"ate_pct": "ATE %", "rot_max_deg": "rotation deg", "focal_err_pct": "focal %", "absrel": "AbsRel"}


@dataclass(frozen=True)
class Outcome:
    """What became of a clip.

    Attributes:
        error: `status.json`'s, or empty: a code, and all its words.
        solve: `solve.json`, or empty.
        figures: against the truth, where there is one.
        baseline: those of the bundled clip itself, its first 40 frames.
        wall_s: of the solve.
    """

    error: dict[str, str]
    solve: dict[str, Any]
    figures: dict[str, float]
    baseline: dict[str, float]
    wall_s: float

    @property
    def frames(self) -> int:
        """How many there are."""
        return len(self.solve.get("frames", ()))

    @property
    def placed(self) -> int:
        """How many of them have a camera."""
        return sum(frame["registered"] for frame in self.solve.get("frames", ()))

    @property
    def warnings(self) -> list[str]:
        """What degrades the result."""
        return list(self.solve.get("quality", {}).get("warnings", ()))

    @property
    def said(self) -> str:
        """All that the user is told, in small letters."""
        return " ".join(
            [*self.error.values(), *self.warnings, self.solve.get("quality", {}).get("verdict", "")]
        ).lower()


Check = Callable[[Outcome], bool]


def solved(at_least: float = 1.0) -> Check:
    """A result, in which this share of the frames has a camera."""
    return lambda o: bool(o.solve) and o.placed >= at_least * o.frames


def counts(first: int, last: int) -> Check:
    """The result, or the words of the refusal, are about these frames."""
    return lambda o: bool(o.solve) and (o.solve["source"]["first"], o.solve["source"]["last"]) == (first, last)


def size(width: int, height: int) -> Check:
    """The plate is so large."""
    return lambda o: bool(o.solve) and (o.solve["source"]["width"], o.solve["source"]["height"]) == (width, height)


def near(ate: float, focal: float) -> Check:
    """ATE and error of the focal length are at most so many times the baseline's (and .05 and .2 % are good anyway)."""

    def check(o: Outcome) -> bool:
        limits = {"ate_pct": (ate, 0.05), "focal_err_pct": (focal, 0.2)}
        known = {name: o.figures.get(name) for name in limits}
        return all(
            value is not None and value <= max(times * o.baseline.get(name, 0.0), good)
            for (name, (times, good)), value in zip(limits.items(), known.values(), strict=True)
        )

    return check


def below(name: str, most: float) -> Check:
    """A figure against the truth."""
    return lambda o: o.figures.get(name, float("inf")) <= most


def range_holds_the_truth(o: Outcome) -> bool:
    """The range that is stated of the focal length is not beside the true one."""
    stated, found = o.solve["lens"]["focal_range_px"], o.solve["lens"]["fx"]
    off = o.figures.get("focal_err_pct", float("inf")) / 100.0
    return stated is None or any(stated[0] <= found / (1.0 + side * off) <= stated[1] for side in (-1, 1))


def refused(*codes: str) -> Check:
    """A typed refusal; of one of these kinds, where some are named."""
    return lambda o: bool(o.error) and o.error["code"] not in UNTYPED and (not codes or o.error["code"] in codes)


def says(*words: str) -> Check:
    """One of these words is among what the user is told."""
    return lambda o: any(word in o.said for word in words)


def doubted(o: Outcome) -> bool:
    """There is a result, and a warning about it."""
    return bool(o.solve) and bool(o.warnings)


def still(o: Outcome) -> bool:
    """The camera is said to turn only, or not to move."""
    return bool(o.solve) and o.solve["quality"]["motion"] != "travels"


def both(*checks: Check) -> Check:
    """All of them."""
    return lambda o: all(check(o) for check in checks)


def one_of(*checks: Check) -> Check:
    """Any of them."""
    return lambda o: any(check(o) for check in checks)


@dataclass(frozen=True)
class Case:
    """A clip, how it is solved, what its note asks for in short, and how that is told.

    Attributes:
        path: below the cases, or below the variants where it begins with "v/".
        asked: for the table.
        met: what has to hold.
        options: of the command line.
        truth: folder with a `truth.json`, below the variants.
    """

    path: str
    asked: str
    met: Check
    options: Sequence[str] = ()
    truth: str | None = None


LAST_60 = ("--last", "60")
CUT_SHORT = ("cut short", "damaged")
BASE = both(solved(), near(1.5, 1.5))
REAL = (
    Case("aerial_crosshair_interlaced/clip.mts", "flat and interlaced: refused or doubted", one_of(refused(), doubted)),
    Case("aerial_crosshair_interlaced/clip.ts", "as .mts, or named as not read", one_of(refused(), doubted)),
    Case("broken_rate_upside_down/clip.mp4", "25 frames, refused or doubted", one_of(refused(), doubted)),
    Case(
        "children_on_bed/frames",
        "frame 0 exists; hardly moves, said so",
        one_of(refused(), both(counts(0, 59), one_of(doubted, still))),
        ("--last", "59"),
    ),
    Case("dashcam_motorway/clip.mp4", "placed", solved(0.95), LAST_60),
    Case("dog_fills_frame/clip.mp4", "more than 80 % placed", solved(0.8), LAST_60),
    Case(
        "euroc_grey_nanoseconds/frames",
        "a message that helps, at once",
        refused("footage.gaps", "footage.timestamps", "footage.numbers"),
    ),
    Case("few_frames_scannet/frames", "solved, or refused as too little", one_of(refused(), doubted, solved())),
    Case("gopro_karma_drone/clip.mp4", "more than 90 % placed", solved(0.9), LAST_60),
    Case(
        "interlaced_handheld_desk/clip.mp4",
        "flagged interlaced, its pictures are not (FFmpeg's idet: 0 of 126): placed > 80 % or doubted",
        one_of(solved(0.8), doubted),
        LAST_60,
    ),
    Case(
        "iphone4_white_wall_portrait/clip.mov",
        "upright 272x480; never all placed and good",
        one_of(refused(), both(size(272, 480), doubted)),
    ),
    Case(
        "iphone_dolby_vision_portrait/IMG_dv84.mov",
        "upright, HDR told, no confident world",
        one_of(refused(), both(size(1080, 1920), doubted)),
        ("--last", "40"),
    ),
    Case(
        "street_portrait_hevc/clip.mp4",
        "more than 80 % placed; the rate that varies is told",
        both(solved(0.8), doubted),
        LAST_60,
    ),
    Case(
        "two_sizes_cuts_dissolve/clip.mp4",
        "one shot only, and which",
        one_of(refused(), both(says("shot falls apart", "cut"), lambda o: o.placed < 0.9 * o.frames)),
    ),
    Case(
        "../lady_running/frames",
        "solved with masks, all frames",
        solved(),
        ("--last", "35", "--masks", str(CASES / "lady_running_masks" / "masks")),
    ),
)
MADE = (
    Case(
        "v/anamorphic_sar/anamorphic_2x_sar.mov",
        "pixel aspect from the file: base",
        both(solved(), below("focal_err_pct", 2.0)),
        truth="anamorphic_sar",
    ),
    Case("v/anamorphic_sar/anamorphic_2x_nosar.mov", "nothing given: doubted or warned", one_of(refused(), doubted)),
    Case("v/animated_gif_webp/room.gif", "named as an animation or not read", refused()),
    Case("v/animated_gif_webp/room_0001.webp", "named as an animation", both(refused(), says("animat"))),
    Case("v/burnin_overlay/light_logo_timecode.mp4", "base, not static", BASE, truth="burnin_overlay"),
    Case(
        "v/burnin_overlay/heavy_hud_watermark.mp4",
        "within 3x, refused or doubted",
        one_of(refused(), doubted, near(3.0, 3.0)),
        truth="burnin_overlay",
    ),
    Case(
        "v/cut_and_dissolve/hard_cut_before_17.mp4",
        "17-40 placed, the others not",
        both(says("cut"), lambda o: 20 <= o.placed <= 24),
    ),
    Case(
        "v/cut_and_dissolve/dissolve_13_to_16.mp4",
        "never both shots in one track",
        one_of(refused(), lambda o: 0 < o.placed <= 26),
    ),
    Case(
        "v/cut_and_dissolve/fade_in_from_black.mp4",
        "3-40 placed, no cut",
        lambda o: o.placed >= 38 and "cut before" not in o.said,
    ),
    Case("v/dpx_log10", "86400-86439, base, log told", both(BASE, counts(86400, 86439)), truth="dpx_log10"),
    Case(
        "v/editlist_trimmed/trimmed_in_phone_editlist.mp4",
        "no false alarm",
        both(solved(), lambda o: not any(w in o.said for w in CUT_SHORT)),
    ),
    Case("v/editlist_trimmed/recorder_cut_no_keyframe.mts", "as in Blender, or refused", one_of(refused(), solved())),
    Case(
        "v/editlist_trimmed/starts_late_1s_empty_edit.mp4",
        "48 frames from room's first",
        both(solved(), counts(1, 48)),
        ("--last", "48"),
    ),
    Case(
        "v/eis_moving_crop/stabilised_by_the_phone.mp4",
        "ATE < 3 %, focal < 5 % or its range says so",
        both(solved(), below("ate_pct", 3.0), one_of(below("focal_err_pct", 5.0), range_holds_the_truth)),
        truth="eis_moving_crop",
    ),
    Case(
        "v/exr_acescg",
        "1001-1040, 640x360, base",
        one_of(refused(), both(BASE, counts(1001, 1040), size(640, 360))),
        truth="exr_acescg",
    ),
    Case("v/ghosted_retime/slowed_to_60_percent_frame_blend.mp4", "solved", solved()),
    Case(
        "v/ghosted_retime/speed_ramp_nearest.mp4", "repeats listed, all placed", solved(), truth="ghosted_retime/ramp"
    ),
    Case(
        "v/greenscreen_markers/markers_many",
        "ATE < 1 %, rotation < .3 deg, focal < 3 %",
        both(solved(), below("ate_pct", 1.0), below("rot_max_deg", 0.3), below("focal_err_pct", 3.0)),
        truth="greenscreen_markers/markers_many",
    ),
    Case(
        "v/greenscreen_markers/markers_7",
        "ATE < 3 % or doubted or refused",
        one_of(refused(), doubted, below("ate_pct", 3.0)),
        truth="greenscreen_markers/markers_7",
    ),
    Case("v/greenscreen_markers/no_markers", "refused or doubted", one_of(refused(), doubted)),
    Case("v/hevc10_hlg_pq/room_hdr_hlg.mov", "base, HDR told", both(BASE, says("hdr")), truth="hevc10_hlg_pq"),
    Case("v/hevc10_hlg_pq/room_hdr_pq.mov", "base, HDR told", both(BASE, says("hdr")), truth="hevc10_hlg_pq"),
    Case(
        "v/interlaced/room_25i_tff.mp4", "said to be interlaced, with the cure", says("interlaced"), truth="interlaced"
    ),
    Case(
        "v/interlaced/room_25i_bff.mpg", "said to be interlaced, with the cure", says("interlaced"), truth="interlaced"
    ),
    Case("v/letterbox_pillarbox/letterbox", "base", BASE, truth="letterbox_pillarbox/letterbox"),
    Case("v/letterbox_pillarbox/pillarbox", "base", BASE, truth="letterbox_pillarbox/pillarbox"),
    Case("v/mirrored_selfie/mirrored.mp4", "base (1.2x)", both(solved(), near(1.2, 1.2)), truth="mirrored_selfie"),
    Case("v/mixed_sizes", "stops at frame 17 with both sizes", both(refused("footage.size_changes"), says("frame 17"))),
    Case("v/mxf_and_avi/dnxhr_hqx.mxf", "40 frames, base", both(BASE, counts(1, 40)), truth="mxf_and_avi"),
    Case("v/mxf_and_avi/xdcam_like.mxf", "40 frames, base", both(BASE, counts(1, 40)), truth="mxf_and_avi"),
    Case("v/mxf_and_avi/mjpeg.avi", "40 frames, base", both(BASE, counts(1, 40)), truth="mxf_and_avi"),
    Case(
        "v/night_noise/night_high_iso.mp4",
        "ATE < 2 %, focal < 5 %, matte < .5 %",
        both(below("ate_pct", 2.0), below("focal_err_pct", 5.0), lambda o: o.solve["quality"]["dynamic_share"] < 0.005),
        truth="night_noise",
    ),
    Case(
        "v/odd_size/odd_853x477.mp4",
        "853x477, focal < 2 %",
        both(solved(), size(853, 477), below("focal_err_pct", 2.0)),
        truth="odd_size",
    ),
    Case(
        "v/odd_size/odd_853x477.mkv",
        "853x477, focal < 2 %",
        both(solved(), size(853, 477), below("focal_err_pct", 2.0)),
        truth="odd_size",
    ),
    Case("v/prores4444_alpha/plate_straight_alpha.mov", "base", BASE, truth="prores4444_alpha"),
    Case(
        "v/prores4444_alpha/plate_premultiplied_alpha.mov",
        "40 placed, alpha told or no depth there",
        both(solved(), says("alpha")),
        truth="prores4444_alpha",
    ),
    Case(
        "v/rotated_portrait_phone/IMG_0001_turn_90_clockwise.mov",
        "480x720, base",
        both(BASE, size(480, 720)),
        truth="rotated_portrait_phone",
    ),
    Case("v/rotated_portrait_phone/IMG_0002_rotate180.mov", "640x360", both(solved(), size(640, 360))),
    Case(
        "v/rotated_portrait_phone/IMG_0003_turn_90_counterclockwise.mov",
        "480x720, base",
        both(BASE, size(480, 720)),
        truth="rotated_portrait_phone",
    ),
    Case("v/sequence_names/glued_digits", "1001-1024", counts(1001, 1024)),
    Case("v/sequence_names/cross_padding", "9988-10011", counts(9988, 10011)),
    Case("v/sequence_names/unpadded", "1-24", counts(1, 24)),
    Case("v/sequence_names/negative", "24 frames or refused", one_of(refused(), lambda o: o.frames == 24)),
    Case("v/sequence_names/timestamps_ns", "a message that helps", refused()),
    Case("v/sequence_names/timestamps_s", "a message that helps", refused()),
    Case("v/sequence_names/from_zero", "0-23", counts(0, 23)),
    Case(
        "v/sequence_names/every_fifth",
        "gaps are no cut; step 5 is offered",
        both(says("step to 5"), lambda o: "cut before" not in o.said),
    ),
    Case("v/sequence_names/upper_and_lower", "24 frames, or said", one_of(refused(), lambda o: o.frames == 24)),
    Case("v/sequence_names/with_sidecars", "24 frames", lambda o: o.frames == 24),
    Case("v/sequence_names/windows_copies", "24 frames", lambda o: o.frames == 24),
    Case(
        "v/strobe_flare/strobe_and_flare.mp4",
        "36 placed, no cut, ATE < 1.5 %",
        both(lambda o: o.placed >= 36, below("ate_pct", 1.5), lambda o: "cut before" not in o.said),
        truth="strobe_flare",
    ),
    Case(
        "v/telecine_duplicates/room_24in30_duplicates.mp4",
        "8 of 40 listed, all placed, base",
        both(BASE, says("repeat", "duplicate")),
        truth="telecine_duplicates",
    ),
    Case("v/telecine_duplicates/room_32_pulldown_2997i.mp4", "said to be interlaced", says("interlaced", "telecine")),
    Case("v/tiff16_linear", "base", both(solved(), near(1.2, 1.2)), ("--colourspace", "linear"), truth="tiff16_linear"),
    Case("v/truncated_jpeg", "names frame 17", both(refused("footage.unreadable_frame"), says("frame 17"))),
    Case(
        "v/two_streams_audio_first/audio_then_proxy_then_full.mov",
        "640x360, or that the stream that Blender shows is another is told",
        one_of(both(BASE, size(640, 360)), refused(), both(doubted, says("stream"))),
        truth="two_streams_audio_first",
    ),
    Case(
        "v/two_streams_audio_first/cover_art.mp4",
        "640x360, 40 frames, base",
        both(BASE, size(640, 360)),
        truth="two_streams_audio_first",
    ),
    Case(
        "v/uhd_memory/uhd_3840x2160.mp4",
        "below 4 GB, focal as the baseline",
        both(solved(), lambda o: max(s["peak_memory_mb"] for s in o.solve["engine"]["stages"].values()) < 4096),
        truth="uhd_memory",
    ),
    Case(
        "v/vfr_phone/IMG_0003_vfr.mov",
        "as in Blender, rate told",
        one_of(refused(), both(solved(), says("rate"))),
        truth="vfr_phone",
    ),
    Case(
        "v/zoom_while_moving/phone_zoom_533_to_907px.mp4",
        "zoom found (ATE < 1.5 %), or doubted",
        one_of(refused(), both(below("ate_pct", 1.5), lambda o: o.solve["lens"]["focal_varies"]), doubted),
        truth="zoom_while_moving",
    ),
)


def hostile(variants: Path) -> list[Case]:
    """One case for each of the hostile paths."""
    folder = variants / "hostile_paths"
    clips = sorted(p for p in folder.rglob("*") if p.suffix == ".mp4" or p.name.endswith("_0001.png"))
    return [
        Case(f"v/{clip.relative_to(variants).as_posix()}", "solved, 16 of 16", lambda o: o.placed == 16)
        for clip in clips
    ]


def solve(clip: Path, folder: Path, options: Sequence[str]) -> float:
    """Solve one clip in a process of its own. Returns the wall seconds; of a solve that was there, 0."""
    if (folder / "bench.json").is_file():
        return float(json.loads((folder / "bench.json").read_text(encoding="utf-8"))["wall_s"])
    command = [sys.executable, "-m", "engine", "solve", str(clip), "--out", str(folder / "out.solve"), *options]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "out.solve").mkdir(exist_ok=True)  # so that a refusal of the footage is written there as well
    began = time.monotonic()
    with (folder / "output.txt").open("wb") as output:
        try:
            subprocess.run(command, cwd=ROOT, stdout=output, stderr=output, timeout=LIMIT_S, check=False)
        except subprocess.TimeoutExpired:
            output.write(f"\nstopped after {LIMIT_S:.0f} s".encode())
    wall_s = time.monotonic() - began
    (folder / "bench.json").write_text(json.dumps({"wall_s": wall_s}), encoding="utf-8")
    return wall_s


def look(folder: Path, wall_s: float, truth: Path | None, baseline: dict[str, float]) -> Outcome:
    """Read what became of a solve."""
    root = folder / "out.solve"

    def read(name: str) -> dict[str, Any]:
        path = root / name
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}

    done, status = read("solve.json"), read("status.json")
    figures: dict[str, float] = {}
    if done and truth is not None:
        command = [sys.executable, "-m", "engine", "evaluate", str(root), "--truth", str(truth), "--json"]
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        figures = json.loads(found.stdout) if found.returncode == 0 else {}
    error = status.get("error") or {}
    if not done and not error:
        error = {"code": "engine.defect", "what": (folder / "output.txt").read_text(errors="replace")[-300:]}
    return Outcome(error, done, figures, baseline, wall_s)


def line(name: str, case: Case, outcome: Outcome) -> str:
    """A row of the table."""
    try:
        met = "met" if case.met(outcome) else "**not met**"
    except KeyError as missing:
        met = f"**not met** (no {missing})"
    verdict = (
        outcome.solve["quality"]["verdict"].split(";")[0]
        if outcome.solve
        else f"{outcome.error['code']}: {outcome.error['what']}"
    )
    warned = f" Warnings: {' '.join(outcome.warnings)}" if outcome.warnings else ""
    shown = [f"{label} {outcome.figures[key]:.3g}" for key, label in FIGURES.items() if key in outcome.figures]
    figures = ", ".join(shown)
    frames = f"{outcome.placed} of {outcome.frames}" if outcome.solve else "-"
    words = " ".join(f"{verdict}{warned}".split()).replace("|", "/")
    return f"| {name} | {case.asked} | {met} | {frames} | {figures or '-'} | {words[:420]} | {outcome.wall_s:.0f} |"


def main() -> None:
    """Solve, judge, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench_footage")
    parser.add_argument("--only", default="")
    parser.add_argument("--preset", default="preview")
    options = parser.parse_args()
    preset = ("--preset", options.preset)
    base = options.out / "baseline"
    wall_s = solve(SAMPLE / "room.mp4", base, (*preset, "--last", "40"))
    baseline = look(base, wall_s, SAMPLE, {}).figures
    rows, failed = [], 0
    for case in (*REAL, *MADE, *hostile(options.variants)):
        if options.only not in case.path:
            continue
        made = case.path.startswith("v/")
        clip = options.variants / case.path[2:] if made else CASES / case.path
        if clip.is_dir():  # a variant that is a movie lies there beside its truth
            clip = next((p for p in sorted(clip.iterdir()) if p.suffix in MOVIE_SUFFIXES), clip)
        if not clip.exists():
            print(f"absent: {clip}", file=sys.stderr)
            continue
        name = case.path.replace("../", "")
        folder = options.out / name.replace("/", "_")[:120].strip(" .")
        truth = options.variants / case.truth if case.truth else None
        outcome = look(folder, solve(clip, folder, (*preset, *case.options)), truth, baseline)
        rows.append(line(name, case, outcome))
        failed += "**not met**" in rows[-1]
        print(rows[-1], flush=True)
        heading = [
            "| clip | asked | met | frames with a camera | against the truth | verdict or refusal | wall s |",
            "|---|---|---|---|---|---|---|",
        ]
        (options.out / "footage.md").write_text("\n".join([*heading, *rows]) + "\n", encoding="utf-8")
    print(f"{len(rows)} clips, {failed} not met; baseline: {baseline}")


if __name__ == "__main__":
    main()
