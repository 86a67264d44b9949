# SPDX-License-Identifier: GPL-3.0-or-later
"""CG over the plate, hidden where the solved depth is nearer.

Depth is compared as disparity, 1/z: no value (0) is then infinitely far by itself. Two things keep edges soft. A
rendered depth is one sample per pixel, so on CG's own antialiased rim it may say "nothing here": there the depth of the
neighbours is used. And the yes-or-no result along an occluder's edge is antialiased before it multiplies CG, and may
be made softer. Fog and light on what is real go by the same depths: see `effects`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy

from .. import compat
from ..present import present
from ..solve_reader import Solve
from . import depth_mesh, effects, owned, plate
from .camera import assign_action, find_camera, find_root, set_keys
from .layers import background_layer, foreground_layer, without_cg_layer
from .nodes import TreeBuilder, ensure_socket, tangential
from .occlusion import COMPOSITOR
from .plate import Report

# Wider than any pixel filter reaches, so that the whole soft rim of CG finds a depth.
RIM_PX = 2
# How far a blur reaches beyond its size, rounded up.
SOFT_REACH = 2.0
# A rendered depth beyond this is the sky.
SKY = 1e9
# Of Cycles: what is real with CG over what is real without it.
FACTOR = "Shadow Catcher"
# A shorter focus distance means the camera's.
LEAST_FOCUS = 1e-6
NO_HIT = 1e-8
# Over the picture where a file is missing that should be there: as Blender shows a missing texture.
WARNING_COLOUR = (1.0, 0.0, 1.0, 1.0)
COLOUR, FLOAT, VECTOR = "NodeSocketColor", "NodeSocketFloat", "NodeSocketVector"
CLEAR, WHITE = (0.0, 0.0, 0.0, 0.0), (1.0, 1.0, 1.0, 1.0)
INPUTS = (
    ("CG", COLOUR, CLEAR, "What is to be laid over the plate, premultiplied: the view layer Foreground"),
    ("CG Depth", FLOAT, effects.FAR, "Depth pass of the same view layer"),
    ("Shadows", COLOUR, CLEAR, "What CG does to the plate: the view layer Background"),
    (
        "Without CG",
        COLOUR,
        CLEAR,
        "Clear: Shadows lies over the plate. Else the plate is multiplied by Shadows / this",
    ),
    ("Depth Compare", FLOAT, 1.0, "1: hide CG where the solved depth is nearer. 0: the held-out mesh has done it"),
    ("Softness", FLOAT, 0.0, "Pixels by which the edge of what hides CG is softer than antialiased"),
    ("Fog Density", FLOAT, 0.0, "Share of light lost per unit of depth; 0: no fog"),
    ("Fog Start", FLOAT, 0.0, "Depth at which fog begins, in scene units"),
    ("Fog Colour", COLOUR, (0.5, 0.5, 0.5, 1.0), "Colour of what is lost in the fog"),
    ("Light Strength", FLOAT, 0.0, "Light added to the plate by a far lamp; 0: the plate as it is"),
    ("Light Colour", COLOUR, WHITE, "Colour of that lamp"),
    ("Light Direction", VECTOR, (0.0, 0.0, 1.0), "Direction from the scene to that lamp, in the world"),
    ("Normal Smoothing", FLOAT, 2.0, "Blur of depth before normals are made of it, pixels"),
    ("Defocus", FLOAT, 0.0, "Radius, plate pixels, to which the infinitely far is blurred; 0: no depth of field"),
    ("Focus Distance", FLOAT, 0.0, "Depth that is sharp, in scene units; 0: that of the camera's Depth of Field"),
)
OUTPUTS = (
    ("Image", COLOUR, "CG over the plate; magenta where plate, depth or matte of a solved frame are missing"),
    ("Matte", FLOAT, "Visible share of CG; 0 where plate, depth or matte of a solved frame are missing"),
    ("Plate", COLOUR, "The plate as the render camera sees it, without distortion"),
    ("Dynamic Matte", FLOAT, "What moves by itself"),
    ("Depth", FLOAT, "Depth of what is seen, plate or CG, in scene units; 1e10 where there is none"),
    ("Normal", VECTOR, "Normals of what is real, in the world; 0 where there is no depth"),
)


def find_group_node(scene: bpy.types.Scene, solve: Solve) -> Any | None:
    """The group's node in the scene's compositor, if it has been built."""
    tree = compat.compositor_tree(scene)
    group = owned.find(bpy.data.node_groups, solve.key, "compositor")
    if tree is None or group is None:
        return None
    return next((node for node in tree.nodes if getattr(node, "node_tree", None) == group), None)


def build(scene: bpy.types.Scene, solve: Solve, mode: str, report: Report) -> Any | None:
    """Make or update the group and put it into the scene's compositor, which otherwise is left as it is.

    Args:
        mode: COMPOSITOR compares depths; else the cutting is left to the held-out mesh.

    Returns:
        The group's node (see INPUTS and OUTPUTS); None without a plate.
    """
    clip = plate.ensure_clip(solve)
    if clip is None:
        report("WARNING", f"No compositor group: the plate {solve.source.path} is missing")
        return None
    group = _group(scene, solve, clip)
    scene.render.film_transparent = True
    foreground_layer(scene).use_pass_z = True
    node = find_group_node(scene, solve)
    if node is None:
        node = _place(scene, solve, group, report)
    update(scene, solve, mode)
    if not compat.compositor_is_on(scene):
        report("WARNING", "The scene's compositor is switched off: the composite will not be rendered")
    return node


def update(scene: bpy.types.Scene, solve: Solve, mode: str) -> None:
    """Let the group, if it has been built, go by what the occlusion step renders.

    Args:
        mode: COMPOSITOR compares depths; else the held-out mesh has cut CG.
    """
    node, tree = find_group_node(scene, solve), compat.compositor_tree(scene)
    if node is None or tree is None:
        return
    node.inputs["Depth Compare"].default_value = float(mode == COMPOSITOR)
    background, without = background_layer(scene), without_cg_layer(scene)
    # Cycles gives the factor itself, EEVEE what is real with and without CG.
    factor = compat.uses_cycles(scene) and compat.of_cycles(background).use_pass_shadow_catcher
    _connect(tree, node.inputs["Shadows"], scene, background, FACTOR if factor else "Image")
    node.inputs["Without CG"].default_value = WHITE if factor else CLEAR
    if without is not None:
        _connect(tree, node.inputs["Without CG"], scene, without, "Image")


def _connect(
    tree: bpy.types.NodeTree, socket: Any, scene: bpy.types.Scene, layer: bpy.types.ViewLayer, render_pass: str
) -> None:
    """Feed an input of the group from a view layer that renders; what the user has put there stays."""
    if socket.is_linked and socket.links[0].from_node.type != "R_LAYERS":
        return
    for link in list(socket.links):
        tree.links.remove(link)
    if not layer.use:
        return
    layer.update_render_passes()  # else there is no socket for a new pass
    sources = (node for node in tree.nodes if isinstance(node, bpy.types.CompositorNodeRLayers) and node.scene == scene)
    source: Any = next((node for node in sources if node.layer == layer.name), None)
    if source is None:
        source = TreeBuilder(tree).node("CompositorNodeRLayers", layer.name)
        source.scene, source.layer = scene, layer.name
        source.location = (socket.node.location.x - 350, socket.node.location.y - 800)
    tree.links.new(source.outputs[render_pass], socket)


def write_matte(scene: bpy.types.Scene, solve: Solve, folder: Path) -> None:
    """Let every render also write the matte (visible share of CG, 0..1, linear) to `folder/matte_0001.png`, 16 bit.

    Raises:
        ValueError: the compositor group has not been built.
    """
    node = find_group_node(scene, solve)
    tree = compat.compositor_tree(scene)
    if node is None or tree is None:
        raise ValueError("build the compositor group first")
    for other in [other for other in tree.nodes if other.get(owned.ROLE) == "matte"]:
        tree.nodes.remove(other)
    output, socket = compat.add_grey_output(tree, folder, "matte", bits=16)
    owned.mark(output, solve.key, "matte")
    output.location = (node.location.x + 300, node.location.y - 300)
    tree.links.new(node.outputs["Matte"], socket)


def _place(scene: bpy.types.Scene, solve: Solve, group: bpy.types.NodeTree, report: Report) -> Any:
    """Put the group into the scene's tree, or into a new tree that ends in it."""
    tree = compat.compositor_tree(scene)
    final = None
    if tree is None:
        tree, final = compat.new_compositor_tree(scene, "CVD Compositing")
        scene.render.use_compositing = True
    build = TreeBuilder(tree)
    node = build.node("CompositorNodeGroup", node_tree=group)
    node.width = 200
    layers = []
    for layer in (foreground_layer(scene), background_layer(scene)):
        source = build.node("CompositorNodeRLayers", layer.name)
        source.scene, source.layer = scene, layer.name
        layers.append(source)
    build.put(layers[0].outputs["Image"], node.inputs["CG"])
    build.put(layers[0].outputs["Depth"], node.inputs["CG Depth"])
    if final is not None:
        build.put(node.outputs["Image"], final)
        build.arrange()
        return node
    left = min(other.location.x for other in tree.nodes)
    bottom = min(other.location.y for other in tree.nodes) - 500
    for new, x, y in ((layers[0], left, bottom), (layers[1], left, bottom - 400), (node, left + 350, bottom)):
        new.location = (x, y)
    report("INFO", f"The compositor has nodes already: connect Image of the node {group.name} where you want it")
    return node


def _group(scene: bpy.types.Scene, solve: Solve, clip: bpy.types.MovieClip) -> bpy.types.NodeTree:
    tree = owned.find(bpy.data.node_groups, solve.key, "compositor")
    if tree is None:
        tree = bpy.data.node_groups.new(f"CVD Composite {solve.name}", "CompositorNodeTree")
        owned.mark(tree, solve.key, "compositor")
    if tree.animation_data:
        tree.animation_data_clear()
    action = owned.find(bpy.data.actions, solve.key, "compositor")
    if action is not None:
        compat.clear_fcurves(action)  # they are made anew
    tree.nodes.clear()
    for item in compat.sockets(tree, "INPUT"):
        if item.name not in {name for name, *_ in INPUTS}:
            present(tree.interface, "interface").remove(item)  # of an older version
    for name, kind, default, description in INPUTS:
        ensure_socket(tree, "INPUT", kind, name, default, description)
    for name, kind, description in OUTPUTS:
        ensure_socket(tree, "OUTPUT", kind, name, None, description)
    build = TreeBuilder(tree)
    inputs = build.node("NodeGroupInput").outputs
    outputs = build.node("NodeGroupOutput").inputs

    source = build.node("CompositorNodeMovieClip", "Plate", clip=clip).outputs["Image"]
    focals = _focals(build, solve)
    distortion = _distortion(build, solve, source, focals) if solve.lens.distorted else None
    plate_image = _to_render(build, distortion, source, compat.LINEAR_FILTER)
    # Nearest: between two surfaces there is no depth that would be right.
    real = _scene_disparity(build, scene, solve, distortion, compat.NEAREST_FILTER)
    own = _cg_disparity(build, inputs["CG Depth"], inputs["Softness"])
    visible = _visible(build, own, real, inputs["Softness"])
    kept = build.math("MAXIMUM", visible, build.math("SUBTRACT", 1.0, inputs["Depth Compare"]), label="Kept")
    cut = compat.add_multiply_alpha(tree)
    build.put(inputs["CG"], cut.inputs["Image"])
    build.put(kept, cut.inputs["Alpha"])
    matte = effects.alpha_of(build, cut.outputs[0])
    is_cg = build.math("MULTIPLY", build.math("GREATER_THAN", matte, 0.5), build.math("GREATER_THAN", own, NO_HIT))
    seen = build.math("MULTIPLY_ADD", is_cg, build.math("SUBTRACT", own, real), real, label="Seen")

    normal = _world_normals(build, scene, solve, distortion, focals, plate_image, inputs["Normal Smoothing"])
    light = (inputs[f"Light {name}"] for name in ("Direction", "Colour", "Strength"))
    lit = effects.relight(build, plate_image, normal, *light)
    fog = [inputs[f"Fog {name}"] for name in ("Density", "Start", "Colour")]
    shadowed = effects.fog(build, effects.shadows(build, lit, inputs["Shadows"], inputs["Without CG"]), real, *fog)
    over = effects.over(build, shadowed, effects.fog(build, cut.outputs[0], own, *fog))
    through_lens = effects.defocus(build, over, seen, *_lens(build, scene, solve, plate_image, inputs))

    build.put(_dynamic_matte(build, solve, distortion) if solve.dynamic_frames else 0.0, outputs["Dynamic Matte"])
    lost = _lost(build, solve)
    warning = compat.add_multiply_alpha(tree)
    build.put(WARNING_COLOUR, warning.inputs["Image"])
    build.put(lost, warning.inputs["Alpha"])
    build.put(effects.over(build, through_lens, warning.outputs[0]), outputs["Image"])
    build.put(build.math("MULTIPLY", matte, build.math("SUBTRACT", 1.0, lost)), outputs["Matte"])
    build.put(plate_image, outputs["Plate"])
    build.put(effects.distance(build, seen), outputs["Depth"])
    build.put(normal, outputs["Normal"])
    build.arrange()
    return tree


def _lens(build: TreeBuilder, scene: bpy.types.Scene, solve: Solve, plate_image: Any, inputs: Any) -> tuple[Any, Any]:
    """Radius of defocus in pixels of the render, and the distance in focus."""
    width = build.node("ShaderNodeSeparateXYZ")
    build.put(effects.size_of(build, plate_image), width.inputs[0])
    radius = build.math("MULTIPLY", inputs["Defocus"], build.math("DIVIDE", width.outputs[0], solve.source.width))
    default = build.math("LESS_THAN", inputs["Focus Distance"], LEAST_FOCUS)
    return radius, build.math("MULTIPLY_ADD", default, _focus(build, scene, solve), inputs["Focus Distance"])


def _focals(build: TreeBuilder, solve: Solve) -> tuple[Any, Any]:
    """The focal lengths across and up, plate pixels, of the current frame."""
    focal = build.node("ShaderNodeValue", "Focal length, pixels")
    focal.name = "Focal"
    focal.outputs[0].default_value = solve.lens.fx
    if solve.lens.focal_varies:
        _key(build.tree, solve, "Focal", {frame.number: frame.focal_px or solve.lens.fx for frame in solve.registered})
    return focal.outputs[0], build.math("MULTIPLY", focal.outputs[0], solve.lens.fy / solve.lens.fx)


def _centres(solve: Solve) -> tuple[float, float]:
    """The principal point in plate pixels, measured from the bottom as UVs are."""
    return solve.lens.cx, solve.source.height - solve.lens.cy


def _distortion(build: TreeBuilder, solve: Solve, source: Any, focals: tuple[Any, Any]) -> Any:
    """Where on the distorted plate each pixel of a pinhole's image lies, as an image of UVs.

    Not the Movie Distortion node: measured in 4.5 to 5.2, it shifts an image by up to half a pixel.
    """
    lens, sides, centres = solve.lens, (solve.source.width, solve.source.height), _centres(solve)
    rays = effects.rays(build, source, sides, centres, focals)
    ideal = (rays.x, rays.y)
    r2 = build.math("MULTIPLY_ADD", ideal[0], ideal[0], build.math("MULTIPLY", ideal[1], ideal[1]))
    radial = build.math("MULTIPLY_ADD", r2, build.math("MULTIPLY_ADD", r2, lens.k2, lens.k1), 1.0, label="Distortion")
    bent = [build.math("MULTIPLY", value, radial) for value in ideal]
    if lens.tangential:
        # UVs run upwards: y and p1 change sign.
        shifts = tangential(build, ideal[0], ideal[1], r2, -lens.p1, lens.p2)
        bent = [build.math("ADD", value, shift) for value, shift in zip(bent, shifts, strict=True)]
    uv = build.node("ShaderNodeCombineXYZ")
    uv.inputs["Z"].default_value = 1.0  # Map UV takes it for alpha
    for socket, value, side, centre, focal_length in zip(uv.inputs, bent, sides, centres, focals, strict=False):
        pixels = build.math("MULTIPLY_ADD", value, focal_length, centre)
        build.put(build.math("DIVIDE", pixels, float(side)), socket)
    return uv.outputs[0]


def _key(tree: bpy.types.NodeTree, solve: Solve, name: str, values: dict[int, float]) -> None:
    """Animate the node Value of that name by its values on frames."""
    action = owned.find(bpy.data.actions, solve.key, "compositor")
    if action is None:
        action = bpy.data.actions.new(f"CVD Distortion {solve.name}")
        owned.mark(action, solve.key, "compositor")
    assign_action(tree, action)
    path = f'nodes["{name}"].outputs[0].default_value'
    set_keys(action, tree, path, 0, [float(number) for number in values], list(values.values()))


def _lost(build: TreeBuilder, solve: Solve) -> Any:
    """1 on a frame that was solved and whose plate, depth or matte is missing, else 0.

    Blender reads a missing file as a picture without a size. In a gap of the solve that is as it should be.
    """
    files = {
        "Plate": [frame.number for frame in solve.registered],
        "Depth": [frame.number for frame in solve.depth_frames],
        "Dynamic Matte": [frame.number for frame in solve.dynamic_frames],
    }
    lost: Any = 0.0
    for name, numbers in files.items():
        if not numbers:
            continue
        source = next(node for node in build.tree.nodes if node.label == name)
        width = build.node("ShaderNodeSeparateXYZ")
        build.put(effects.size_of(build, source.outputs["Image"]), width.inputs[0])
        expected = build.node("ShaderNodeValue", f"{name} expected")
        expected.name = f"{name} Expected"
        _key(build.tree, solve, expected.name, _steps(numbers))
        empty = build.math("LESS_THAN", width.outputs[0], 0.5)
        lost = build.math("MAXIMUM", lost, build.math("MULTIPLY", expected.outputs[0], empty))
    return lost


def _steps(numbers: list[int]) -> dict[int, float]:
    """Keys that are 1 on these frames and 0 on all others: straight from one to the next, they change within none."""
    wanted = set(numbers)
    keys: dict[int, float] = {}
    for number in numbers:
        if number - 1 not in wanted:
            keys |= {number - 1: 0.0, number: 1.0}
        if number + 1 not in wanted:
            keys |= {number: 1.0, number + 1: 0.0}
    return dict(sorted(keys.items()))


def _to_render(build: TreeBuilder, distortion: Any | None, image: Any, filtering: str) -> Any:
    """Bring an image on the plate's grid to what the camera sees: no distortion, render size."""
    if distortion is not None:
        mapped = compat.add_map_uv(build.tree, filtering)
        build.put(image, mapped.inputs["Image"])
        build.put(distortion, mapped.inputs["UV"])
        image = mapped.outputs[0]
    scale = compat.add_scale_to_render(build.tree)
    build.put(image, scale.inputs["Image"])
    return scale.outputs[0]


def _scene_disparity(
    build: TreeBuilder, scene: bpy.types.Scene, solve: Solve, distortion: Any | None, filtering: str
) -> Any:
    """Disparity of what is real, in scene units; 0 where depth has no value."""
    depth = _values(build, solve, "Depth", depth_mesh.depth_image(solve))
    disparity = build.math(
        "DIVIDE", build.math("GREATER_THAN", depth, 1e-6), build.math("MAXIMUM", depth, 1e-6), label="Disparity"
    )
    disparity = _to_render(build, distortion, disparity, filtering)
    return build.math("DIVIDE", disparity, _root_scale(build, scene, solve))


def _world_normals(
    build: TreeBuilder,
    scene: bpy.types.Scene,
    solve: Solve,
    distortion: Any | None,
    focals: tuple[Any, Any],
    plate_image: Any,
    smoothing: Any,
) -> Any:
    """Normals of what is real, in the world's axes."""
    # Linear: steps of the nearest pixel would be slopes.
    disparity = _scene_disparity(build, scene, solve, distortion, compat.LINEAR_FILTER)
    sides = (solve.source.width, solve.source.height)
    rays = effects.rays(build, plate_image, sides, _centres(solve), focals)
    normal = effects.normals(build, disparity, rays, smoothing)
    return effects.rotate(build, normal, *_camera_rotation(build, scene, solve))


def _dynamic_matte(build: TreeBuilder, solve: Solve, distortion: Any | None) -> Any:
    """What moves by itself, 0..1; 0 on a frame without a matte."""
    matte = _values(build, solve, "Dynamic Matte", depth_mesh.dynamic_image(solve))
    return _to_render(build, distortion, matte, compat.LINEAR_FILTER)


def _values(build: TreeBuilder, solve: Solve, label: str, image: bpy.types.Image) -> Any:
    """The one channel of a sequence of the solve, on the plate's grid; 0 on a frame without a file."""
    node = build.node("CompositorNodeImage", label, image=image)
    plate.set_image_frames(node, solve)
    channels = build.node("CompositorNodeSeparateColor")
    build.put(node.outputs["Image"], channels.inputs[0])
    return channels.outputs["Red"]


def _root_scale(build: TreeBuilder, scene: bpy.types.Scene, solve: Solve) -> Any:
    """The scale of the root, by a driver: depth is in the units of the solve, CG in those of the scene."""
    return _driven(build, "Root Scale", find_root(scene, solve), "SCALE_AVG", 1.0)


def _camera_rotation(build: TreeBuilder, scene: bpy.types.Scene, solve: Solve) -> tuple[Any, Any]:
    """The camera's rotation in the world as a quaternion, by drivers: (w, xyz)."""
    camera = find_camera(scene, solve)
    w, *xyz = (_driven(build, f"Camera {axis}", camera, f"ROT_{axis}", float(axis == "W")) for axis in "WXYZ")
    return w, build.vector(*xyz)


def _focus(build: TreeBuilder, scene: bpy.types.Scene, solve: Solve) -> Any:
    """The camera's focus distance, by a driver."""
    output, target = _driver(build, "Camera Focus", find_camera(scene, solve), "SINGLE_PROP", 10.0)
    target.data_path = "data.dof.focus_distance"
    return output


def _driven(build: TreeBuilder, name: str, ob: bpy.types.Object | None, kind: str, default: float) -> Any:
    """One value of an object's transform in the world."""
    if name in build.tree.nodes:
        return build.tree.nodes[name].outputs[0]
    output, target = _driver(build, name, ob, "TRANSFORMS", default)
    target.transform_type = kind
    target.transform_space = "WORLD_SPACE"
    target.rotation_mode = "QUATERNION"
    return output


def _driver(build: TreeBuilder, name: str, ob: bpy.types.Object | None, kind: str, default: float) -> tuple[Any, Any]:
    """A value that is driven by something of an object: its output, and the driver's target."""
    node = build.node("ShaderNodeValue", name)
    node.name = name
    node.outputs[0].default_value = default
    curve: Any = build.tree.driver_add(f'nodes["{name}"].outputs[0].default_value')  # one, and not a list of them
    driver = curve.driver
    variable = driver.variables.new()
    variable.name = "value"
    variable.type = kind
    variable.targets[0].id = ob
    driver.expression = "value"  # a lone name needs no permission to run scripts
    return node.outputs[0], variable.targets[0]


def _cg_disparity(build: TreeBuilder, cg_depth: Any, softness: Any) -> Any:
    """Disparity of CG and, around it, of the nearest CG beside; 0 elsewhere."""
    hit = build.math("LESS_THAN", cg_depth, SKY)
    own = build.math("DIVIDE", hit, build.math("MAXIMUM", cg_depth, 1e-6), label="CG disparity")
    dilate = compat.add_dilate(build.tree, RIM_PX)
    build.put(own, dilate.inputs["Mask"])
    # A soft edge must not see beyond the rim, where nothing is hidden.
    build.put(build.math("MULTIPLY_ADD", softness, SOFT_REACH, float(RIM_PX)), dilate.inputs["Size"])
    rim = build.math("MULTIPLY", dilate.outputs[0], build.math("SUBTRACT", 1.0, hit))
    return build.math("ADD", own, rim, label="with rim")


def _visible(build: TreeBuilder, disparity: Any, scene_disparity: Any, softness: Any) -> Any:
    """Share of each pixel, 0..1, in which CG is not hidden; 1 where there is no CG."""
    hidden = build.math(
        "MULTIPLY",
        build.math("GREATER_THAN", scene_disparity, disparity),
        build.math("GREATER_THAN", disparity, NO_HIT),
        label="Hidden",
    )
    smooth = build.node("CompositorNodeAntiAliasing")
    build.put(build.math("SUBTRACT", 1.0, hidden), smooth.inputs["Image"])
    blur = build.node("CompositorNodeBlur")
    build.put(smooth.outputs[0], blur.inputs["Image"])
    build.put(softness, blur.inputs["Size"])
    channels = build.node("CompositorNodeSeparateColor")
    build.put(blur.outputs[0], channels.inputs[0])
    return channels.outputs["Red"]
