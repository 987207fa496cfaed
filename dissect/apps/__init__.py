"""Pages to work with, and the engines behind them, in which every gesture is a plain function call."""

from dissect.apps.brushes import Brush, brushes
from dissect.apps.painter import Painter
from dissect.apps.painting import Painting
from dissect.apps.replay import write_replay
from dissect.apps.rewriter import Rewriter, StoppedError
from dissect.apps.rewriting import Rewriting
from dissect.apps.serving import serve
from dissect.apps.session import PaintSession, load_painting
from dissect.apps.showing import show
from dissect.apps.strokes import Mask, Stroke

__all__ = [
    "Brush",
    "Mask",
    "PaintSession",
    "Painter",
    "Painting",
    "Rewriter",
    "Rewriting",
    "StoppedError",
    "Stroke",
    "brushes",
    "load_painting",
    "serve",
    "show",
    "write_replay",
]
