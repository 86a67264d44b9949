"""A small parser of Nuke scripts, as far as ours go: nodes with their knobs, and who is connected to whom.

It is strict: anything that Tcl would not read as we mean it is an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

INPUTS = {"Read": 0, "ReadGeo2": 0, "Camera2": 0, "Sphere": 0, "Constant": 0, "StickyNote": 0, "Root": 0}


@dataclass
class Node:
    kind: str
    knobs: dict[str, str]
    inputs: list[Node]

    @property
    def name(self) -> str:
        return self.knobs.get("name", self.kind)


def words(text: str) -> list[str]:
    """The words of one Tcl command: bare, quoted with escapes, or in balanced braces (returned without them)."""
    found, at = [], 0
    while at < len(text):
        if text[at].isspace():
            at += 1
        elif text[at] == '"':
            match = re.compile(r'"((?:[^"\\\[\]${}]|\\.|[\]])*)"(?=\s|$)', re.DOTALL).match(text, at)
            assert match, f"bad string: {text[at : at + 80]}"
            found.append(re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], match[1]))
            at = match.end()
        elif text[at] == "{":
            depth, start = 0, at
            while True:
                assert at < len(text), "a brace is not closed"
                depth += {"{": 1, "}": -1}.get(text[at], 0)
                at += 1
                if depth == 0:
                    break
            found.append(text[start + 1 : at - 1])
            assert at == len(text) or text[at].isspace(), f"text right behind a brace: {text[at : at + 20]}"
        else:
            match = re.compile(r"[^\s{}\"\[\]$]+").match(text, at)
            assert match, f"bad word: {text[at : at + 80]}"
            found.append(match[0])
            at = match.end()
    return found


def parse(text: str) -> dict[str, Node]:
    """Nodes by their names."""
    nodes: dict[str, Node] = {}
    stack: list[Node | None] = []
    variables: dict[str, Node | None] = {}
    lines = iter(text.splitlines())
    for line in lines:
        if match := re.fullmatch(r"set (\w+) \[stack 0\]", line):
            variables[match[1]] = stack[-1]
        elif match := re.fullmatch(r"push \$(\w+)", line):
            stack.append(variables[match[1]])
        elif re.fullmatch(r"add_layer \{\w+( \w+\.\w+)+\}", line):
            pass
        else:
            match = re.fullmatch(r"(\w+) \{", line)
            assert match, f"not a command: {line}"
            knobs = {}
            for line in lines:  # noqa: PLW2901
                if line == "}":
                    break
                assert line.startswith(" "), f"not a knob: {line}"
                name, *value = words(line)
                assert len(value) >= 1, f"a knob without a value: {line}"
                assert name not in knobs, f"a knob twice: {name}"
                knobs[name] = " ".join(value)
            else:
                raise AssertionError("a node is not closed")
            count = int(knobs.get("inputs", 1))
            assert (match[1] in INPUTS) == (count == 0), match[1]
            assert count <= len(stack), f"{match[1]} finds nothing to be connected to"
            node = Node(match[1], knobs, [])
            for _ in range(count):
                below = stack.pop()
                assert below is not None
                node.inputs.append(below)
            if node.kind != "Root":
                stack.append(node)
            assert node.name not in nodes, f"two nodes are called {node.name}"
            nodes[node.name] = node
    return nodes


def curve(text: str) -> dict[int, float]:
    """`curve x1 0.5 x2 0.7` by frame."""
    kind, *rest = text.split()
    assert kind == "curve"
    assert all(re.fullmatch(r"x-?\d+", key) for key in rest[::2])
    return {int(key[1:]): float(value) for key, value in zip(rest[::2], rest[1::2], strict=True)}
