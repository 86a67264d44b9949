"""A stage whose code changes is looked at: its results in the caches of users are taken as long as its version stays.

`tests/golden/stages.json` holds each stage's version with a sum of its code: of the functions that the table names, and
of every module of the engine that these import or start as a process, comments and docstrings left out. Where a sum
changes, decide whether what the stage writes can have changed as well; if so raise its version in
`engine/pipeline/stages.py`. Then write the file anew: `python tests/engine/test_stage_versions.py`.
"""

import ast
import hashlib
import json
import re
import sys
from functools import cache
from pathlib import Path
from types import CodeType

from engine.pipeline import stages
from engine.pipeline.stages import KINDS

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "stages.json"
# Decide nothing about what a stage writes: how it is told, refused, watched and split over threads.
BESIDE = ("engine", "engine.errors", "engine.parallel", "engine.progress", "engine.request", "engine.clip.preview",
          "engine.solve_folder", "engine.workspace", "engine.output", "engine.pipeline")  # fmt: skip


def test_versions_are_raised_with_care() -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    changed = [name for name, entry in current().items() if entry != golden.get(name)]
    assert not changed, f"the code of {', '.join(changed)} has changed: see the head of {Path(__file__).name}"


def test_the_solver_counts_although_it_is_a_process_of_its_own() -> None:
    assert {"engine.poses.worker", "engine.poses.adjust", "engine.poses.place_worker"} <= modules_of("poses")


def test_a_stage_that_others_build_on_is_not_touched_by_their_code() -> None:
    assert "engine.export.stage" in modules_of("export")
    assert "engine.export.stage" not in modules_of("depth")
    assert "engine.depth.cvd" not in modules_of("poses") | modules_of("evidence")
    assert "engine.clip.work" in modules_of("evidence")


def test_comments_and_docstrings_are_no_code() -> None:
    assert code_sum("a = 1  # one") == code_sum("a = 1") != code_sum("a = 2")
    assert code_sum('def f():\n    """One."""\n    return 1') == code_sum("def f():\n    return 1")


def current() -> dict[str, dict[str, int | str]]:
    """What the golden file is to hold."""
    found: dict[str, dict[str, int | str]] = {}
    for kind in KINDS:
        text = "".join(code_sum(path_of(name).read_text(encoding="utf-8")) for name in sorted(modules_of(kind.name)))
        own = "".join(code_sum(source) for source in table_functions(kind.name))
        found[kind.name] = {"version": kind.version, "code": hashlib.sha256((text + own).encode()).hexdigest()[:16]}
    return found


def code_sum(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def table_functions(name: str) -> list[str]:
    """Source of the functions of the table that belong to a stage."""
    tree = ast.parse(Path(stages.__file__).read_text(encoding="utf-8"))
    wanted = {f"_{name}", f"_{name}_settings"}
    return [ast.unparse(node) for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in wanted]


def modules_of(name: str) -> set[str]:
    """Every module of the engine that a stage's function reaches by imports."""
    kind = next(kind for kind in KINDS if kind.name == name)
    found: set[str] = set()
    for used in names_in(kind.work.__code__):
        value = kind.work.__globals__.get(used)
        module = getattr(value, "__module__", None) or getattr(value, "__name__", "")
        assert isinstance(module, str)
        if module.startswith("engine."):
            found |= reached(module)
    return found


def names_in(code: CodeType) -> set[str]:
    inner = [names_in(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*inner)


def reached(module: str) -> set[str]:
    found, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name not in found and name not in BESIDE:
            found.add(name)
            waiting += imported_by(name)
    return found


@cache
def imported_by(module: str) -> tuple[str, ...]:
    found = []
    for node in ast.walk(ast.parse(path_of(module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "engine":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.append(inner if path_of(inner).is_file() else str(node.module))
        elif isinstance(node, ast.Constant) and re.fullmatch(r"engine\.[\w.]+", str(node.value)):
            started = str(node.value)  # by `run_worker`
            found += [started] if path_of(started).is_file() else []
    return tuple(found)


def path_of(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(current(), indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"written: {GOLDEN}\n")
