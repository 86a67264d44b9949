"""All that a .blend would hold, as plain values: for tests that something leaves a file exactly as it was."""

from __future__ import annotations

from typing import Any

import bpy

WINDOWS = ("window_managers", "workspaces", "screens")
# What is not kept in a file, or follows from the rest.
PASSING = {
    *("rna_type", "session_uid", "users", "is_updated", "is_updated_data", "is_evaluated", "original", "name_full"),
    *("as_pointer", "depsgraph", "is_dirty", "has_data", "bindcode", "pixels", "is_runtime_data", "id_root", "tag"),
    *("execution_time", "is_embedded_data", "stats", "cache_point_density", "display_device", "frame_float"),
    *("loops", "edges", "vertices", "polygons", "loop_triangles", "corner_normals", "vertex_normals"),
    *("polygon_normals", "loop_triangle_polygons", "uv_layers", "vertex_colors", "color_attributes"),
    *("attributes", "file_format"),  # of a picture only once it has been shown
}
Plain = dict[str, Any]


def snapshot() -> Plain:
    """Everything in `bpy.data`, windows aside, by data-block and path."""
    found: Plain = {}
    seen = _Seen()
    for prop in bpy.data.bl_rna.properties:
        if prop.type == "COLLECTION" and prop.identifier not in WINDOWS:
            for block in getattr(bpy.data, prop.identifier):
                _add(found, f"{prop.identifier}[{block.name}]", block, seen)
    return found


def changes(before: Plain, after: Plain) -> list[str]:
    """What differs, in words."""
    gone, new = before.keys() - after.keys(), after.keys() - before.keys()
    different = {path for path in before.keys() & after.keys() if before[path] != after[path]}
    return sorted(
        [f"- {path}" for path in gone]
        + [f"+ {path}" for path in new]
        + [f"{path}: {before[path]} -> {after[path]}" for path in different]
    )


class _Seen:
    """What a snapshot has met: structs, and the properties of their types, which are asked for thousands of times."""

    def __init__(self) -> None:
        self.structs: set[tuple[type, int]] = set()
        self._properties: dict[type, list[tuple[str, str]]] = {}

    def properties(self, struct: Any) -> list[tuple[str, str]]:
        """(name, type) of all that is kept in a file."""
        if type(struct) not in self._properties:
            known = [(prop.identifier, prop.type) for prop in struct.bl_rna.properties]
            self._properties[type(struct)] = [prop for prop in known if prop[0] not in PASSING]
        return self._properties[type(struct)]


def _add(found: Plain, path: str, struct: Any, seen: _Seen) -> None:
    found[path] = type(struct).__name__
    identity = type(struct), struct.as_pointer()
    if identity in seen.structs:  # such as a link, of both of its sockets
        return
    seen.structs.add(identity)
    if isinstance(struct, bpy.types.Mesh):
        _add_mesh(found, path, struct)
    if isinstance(struct, bpy.types.ID):
        for name, value in struct.items():
            if name.startswith("cvd_"):
                found[f"{path}[{name}]"] = value
    for name, kind in seen.properties(struct):
        value = getattr(struct, name)
        if name == "outputs" and isinstance(struct, bpy.types.CompositorNodeRLayers):
            # In any order, and those of passes that are not rendered come and go.
            found[f"{path}.outputs"] = sorted(socket.identifier for socket in value if socket.enabled)
        elif kind == "COLLECTION":
            for number, item in enumerate(value):
                if isinstance(item, bpy.types.ID):
                    found[f"{path}.{name}[{number}]"] = _name(item)
                else:
                    _add(found, f"{path}.{name}[{number}]", item, seen)
        elif isinstance(value, bpy.types.ID):
            found[f"{path}.{name}"] = _name(value)
            if value.is_embedded_data and not isinstance(value, bpy.types.Key):
                _add(found, f"{path}.{name}", value, seen)
        elif kind == "POINTER" and value is not None:
            _add(found, f"{path}.{name}", value, seen)
        elif hasattr(value, "__len__") and not isinstance(value, str | set | bytes):
            found[f"{path}.{name}"] = str([_plain(item) for item in value])
        else:
            found[f"{path}.{name}"] = _plain(value)


def _plain(value: Any) -> Any:
    if hasattr(value, "__len__") and not isinstance(value, str | set | bytes):
        return tuple(value)
    return f"{value:.6g}" if isinstance(value, float) else value


def _add_mesh(found: Plain, path: str, mesh: bpy.types.Mesh) -> None:
    found[f"{path} attributes"] = [(attribute.name, attribute.data_type) for attribute in mesh.attributes]
    found[f"{path} points"] = [tuple(vertex.co[:]) for vertex in mesh.vertices]
    found[f"{path} faces"] = [tuple(face.vertices) for face in mesh.polygons]


def _name(block: bpy.types.ID) -> str:
    return f"{type(block).__name__} {block.name}"
