"""Pictures by ``matplotlib``, in files; none is shared with a program that draws its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xtrkit.errors import InputError, missing_extra

FORMATS = (".svg", ".png", ".pdf")


def check_picture(path: Path) -> Path:
    """Refuse a file that is no picture, before work is done for it.

    Raises:
        InputError: its suffix is none of :data:`FORMATS`.
        MissingExtraError: matplotlib isn't installed.
    """
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path} is no picture: use a name that ends in {', '.join(FORMATS)}.")
    figure_and_axis((1, 1))
    return path


def figure_and_axis(size: tuple[float, float]) -> tuple[Any, Any]:
    """An empty picture, apart from any that a program of the user's has open.

    Raises:
        MissingExtraError: matplotlib isn't installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise missing_extra("Drawing pictures", "plots") from error
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots()


def save(figure: Any, path: Path) -> None:
    """Write a picture, in the format that its suffix names."""
    figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
