"""Shapes of arrays, checked where they come in: an array of the wrong shape often computes, and something wrong."""

from __future__ import annotations

from functools import cache
from typing import Protocol


class Shaped(Protocol):
    """An array of numpy or a tensor of torch."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""


def check_shapes(form: str, *arrays: Shaped) -> None:
    """Refuse arrays that do not have the shapes that are asked for.

    Args:
        form: such as "depth B 1 H W, lens_matrix B 3 3": a name, then its sizes. A letter stands for any size, the
            same wherever it stands; `B`, the batch, also for 1, which counts for all of the others.
        arrays: in the order of `form`.

    Raises:
        ValueError: says which array, and both shapes.
    """
    sizes: dict[str, int] = {}
    for (name, wanted), array in zip(_parsed(form), arrays, strict=True):
        shape = tuple(array.shape)
        fits = len(shape) == len(wanted)
        for have, want in zip(shape, wanted, strict=True) if fits else ():
            if isinstance(want, int):
                fits = fits and have == want
            elif want == "B" and (have == 1 or sizes.get("B", 1) == 1):
                sizes["B"] = max(have, sizes.get("B", 1))
            else:
                fits = fits and sizes.setdefault(want, have) == have
        if not fits:
            known = [sizes.get(str(want), want) for want in wanted]
            raise ValueError(f"{name} has shape {shape}; wanted: ({', '.join(map(str, known))}), of {form!r}")


@cache
def _parsed(form: str) -> tuple[tuple[str, tuple[int | str, ...]], ...]:
    words = [part.split() for part in form.split(",")]
    return tuple((name, tuple(int(s) if s.isdigit() else s for s in sizes)) for name, *sizes in words)
