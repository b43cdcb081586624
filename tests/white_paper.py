"""Pictures that stay white, for tests of what stands around them; what is on them is tested in `test_pictures.py`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg


@contextmanager
def white_paper() -> Iterator[None]:
    """Do everything for a picture but lay out and draw what is on it, which takes most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FigureCanvasAgg, "draw", FigureCanvasAgg.get_renderer)
        yield
