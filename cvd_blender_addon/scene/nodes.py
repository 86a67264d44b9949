# SPDX-License-Identifier: GPL-3.0-or-later
"""Small helpers to write node trees as expressions."""

from __future__ import annotations

from typing import Any

import bpy

from .. import compat

COLUMN, ROW = 220, 170


def set_value(socket: Any, value: Any) -> None:
    """Set what a socket has while nothing is linked to it. Only the classes of the single types know of one."""
    socket.default_value = value


class TreeBuilder:
    """Adds nodes to a tree; values may be numbers or output sockets."""

    def __init__(self, tree: bpy.types.NodeTree) -> None:
        self.tree = tree

    def node(self, idname: str, label: str = "", **properties: Any) -> Any:
        """Add a node and set its properties."""
        node = self.tree.nodes.new(idname)
        node.label = label
        for name, value in properties.items():
            setattr(node, name, value)
        return node

    def put(self, value: Any, socket: bpy.types.NodeSocket) -> None:
        """Feed a number or an output socket into `socket`."""
        if isinstance(value, bpy.types.NodeSocket):
            self.tree.links.new(value, socket)
        else:
            set_value(socket, value)

    def math(self, operation: str, *values: Any, label: str = "") -> Any:
        """One Math node (the shader's, which serves geometry and compositor trees too); returns its output."""
        node = self.node("ShaderNodeMath", label, operation=operation)
        for value, socket in zip(values, node.inputs, strict=False):
            self.put(value, socket)
        return node.outputs[0]

    def vector(self, *values: Any) -> Any:
        """A vector of numbers or outputs."""
        node = self.node("ShaderNodeCombineXYZ")
        for value, socket in zip(values, node.inputs, strict=True):
            self.put(value, socket)
        return node.outputs[0]

    def vector_math(self, operation: str, first: Any, second: Any = None) -> Any:
        """One Vector Math node; `second` is the number of a SCALE. Returns its vector, or the value of a product."""
        node = self.node("ShaderNodeVectorMath", operation=operation)
        self.put(first, node.inputs[0])
        if second is not None:
            self.put(second, node.inputs["Scale"] if operation == "SCALE" else node.inputs[1])
        return node.outputs["Value"] if operation == "DOT_PRODUCT" else node.outputs["Vector"]

    def mix(self, blend: str, factor: Any, below: Any, above: Any) -> Any:
        """One Mix node for colours; alpha is that of `below`."""
        node = self.node("ShaderNodeMix", data_type="RGBA", blend_type=blend)
        colours = [socket for socket in node.inputs if socket.type == "RGBA"]
        for value, socket in zip((factor, below, above), (node.inputs[0], *colours), strict=True):
            self.put(value, socket)
        return next(socket for socket in node.outputs if socket.type == "RGBA")

    def arrange(self) -> None:
        """Place every node to the right of what it depends on."""
        columns: dict[Any, int] = {}
        sources: dict[Any, list[Any]] = {}
        for link in self.tree.links:  # once: to ask a socket for its links goes through all of the tree's
            sources.setdefault(link.to_node, []).append(link.from_node)

        def column(node: Any) -> int:
            if node not in columns:
                columns[node] = 1 + max((column(source) for source in sources.get(node, [])), default=-1)
            return columns[node]

        rows: dict[int, int] = {}
        for node in self.tree.nodes:
            x = column(node)
            node.location = (x * COLUMN, -rows.get(x, 0) * ROW)
            rows[x] = rows.get(x, 0) + 1


def tangential(build: TreeBuilder, x: Any, y: Any, r2: Any, p1: Any, p2: Any) -> tuple[Any, Any]:
    """The tangential part of Brown's distortion at ideal normalised coordinates: (x, y) to be added."""
    xy = build.math("MULTIPLY", build.math("MULTIPLY", x, y), 2.0)

    def along(value: Any, own: Any, other: Any) -> Any:
        square = build.math("MULTIPLY_ADD", build.math("MULTIPLY", value, value), 2.0, r2)
        return build.math("MULTIPLY_ADD", other, square, build.math("MULTIPLY", own, xy))

    return along(x, p1, p2), along(y, p2, p1)


def ensure_socket(
    tree: bpy.types.NodeTree, in_out: str, socket_type: str, name: str, default: Any = None, description: str = ""
) -> Any:
    """The interface socket of a node group, made unless it has it: links to it from outside stay."""
    for item in compat.sockets(tree, in_out):
        if item.name == name:
            return item
    interface: Any = tree.interface  # `new_socket` gives the class of the socket's type
    socket = interface.new_socket(name, in_out=in_out, socket_type=socket_type, description=description)
    if default is not None:
        socket.default_value = default
    return socket
