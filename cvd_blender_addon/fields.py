# SPDX-License-Identifier: GPL-3.0-or-later
"""Properties of classes that are registered with Blender, so that a type checker knows what they hold.

Blender wants `name: StringProperty(...)`, a call where a type stands. Here it is `name = fields.string(...)`, typed as
the value that it holds, like a field of a dataclass. `declare` hands Blender what it wants.

    class Settings(bpy.types.PropertyGroup):
        name = fields.string(name="Name", description="What it is called")
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypedDict, TypeVar, Unpack

import bpy

G = TypeVar("G", bound=bpy.types.PropertyGroup)
B = TypeVar("B", bound=bpy.types.ID)
Item = tuple[str, str, str]


class _Common(TypedDict, total=False):
    name: str
    description: str
    options: set[str]
    # Of the class that has the property, which has no type yet where the property is declared.
    update: Callable[[Any, bpy.types.Context], None]


class _String(_Common, total=False):
    default: str
    subtype: str


class _Boolean(_Common, total=False):
    default: bool


class _Integer(_Common, total=False):
    default: int
    min: int
    max: int


class _Number(_Common, total=False):
    default: float
    min: float
    max: float
    precision: int
    subtype: str
    unit: str


class _Vector(_Common, total=False):
    default: Sequence[float]
    size: int
    min: float
    max: float


class _Enum(_Common, total=False):
    items: Iterable[Item] | Callable[[Any, Any], Iterable[Item]]
    default: str


class _Named(TypedDict, total=False):
    name: str
    description: str


class _Flags(_Named, total=False):
    items: Iterable[Item]
    default: set[str]


def string(**options: Unpack[_String]) -> str:
    """Text, or a path."""
    value: str = _deferred(bpy.props.StringProperty, options)
    return value


def boolean(**options: Unpack[_Boolean]) -> bool:
    """A switch."""
    value: bool = _deferred(bpy.props.BoolProperty, options)
    return value


def integer(**options: Unpack[_Integer]) -> int:
    """A whole number."""
    value: int = _deferred(bpy.props.IntProperty, options)
    return value


def number(**options: Unpack[_Number]) -> float:
    """A number."""
    value: float = _deferred(bpy.props.FloatProperty, options)
    return value


def vector(**options: Unpack[_Vector]) -> Sequence[float]:
    """`size` numbers."""
    value: Sequence[float] = _deferred(bpy.props.FloatVectorProperty, options)
    return value


def enum(**options: Unpack[_Enum]) -> str:
    """One of several identifiers."""
    value: str = _deferred(bpy.props.EnumProperty, options)
    return value


def flags(**options: Unpack[_Flags]) -> set[str]:
    """Any of several identifiers."""
    value: set[str] = _deferred(bpy.props.EnumProperty, {**options, "options": {"ENUM_FLAG"}})
    return value


def group(type: type[G], **options: Unpack[_Named]) -> G:
    """A group of properties, which is always there."""
    value: G = _deferred(bpy.props.PointerProperty, {**options, "type": type})
    return value


def block(type: type[B], poll: Callable[[Any, B], bool] | None = None, **options: Unpack[_Common]) -> B | None:
    """A data-block that can be chosen, `poll` says which."""
    value: B | None = _deferred(bpy.props.PointerProperty, {**options, "type": type} | ({"poll": poll} if poll else {}))
    return value


def collection(type: type[G], **options: Unpack[_Named]) -> bpy.types.bpy_prop_collection_idprop[G]:
    """Groups of properties, any number of them."""
    value: bpy.types.bpy_prop_collection_idprop[G] = _deferred(bpy.props.CollectionProperty, {**options, "type": type})
    return value


def _deferred(declare_property: Callable[..., object], options: Any) -> Any:
    return declare_property(**options)


_DEFERRED: type = type(string())


def declare(cls: type) -> None:
    """Let Blender find the properties of a class and its bases where it looks for them: in their annotations."""
    for base in cls.__mro__:
        found = {name: value for name, value in vars(base).items() if isinstance(value, _DEFERRED)}
        if found:
            base.__annotations__ = {**vars(base).get("__annotations__", {}), **found}
        for name in found:
            delattr(base, name)
