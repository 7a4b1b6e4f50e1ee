"""What the lessons share: photos with their credit, and pictures in one style, each with a text that says what it shows."""

import io
import os
import sys
import tempfile
import warnings
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait do not spin

import matplotlib
import numpy as np
from IPython.display import Image as Shown
from IPython.display import display

warnings.filterwarnings("ignore", message="IProgress not found")
matplotlib.use("agg")
import matplotlib.pyplot as plt

from veduta.images import load

ROOT = Path(__file__).parent.parent.parent
PHOTOS = ROOT / "demo" / "photos"
PAIR = "vismatch 1.4.0 (BSD-3-Clause)"
CREDITS = {
    "china": "danielbuechele, CC BY 2.0, from scikit-learn",
    "flower": "vultilion, CC BY 2.0, from scikit-learn",
    "montmartre_far": PAIR,
    "montmartre_close": PAIR,
    "gcs_far": PAIR,
    "gcs_close": PAIR,
    "notre_dame": PAIR,
    "chartres": PAIR,
    "sist_chapel": PAIR,
    "barbershop": PAIR,
}
BLUE, ORANGE, GREEN, RED, GRAY = "#2f6db3", "#d9822b", "#3a8f5c", "#c0392b", "#8a8f98"
plt.rcParams.update(
    {
        "figure.dpi": 110,
        "figure.facecolor": "white",
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "figure.constrained_layout.use": True,
        "axes.grid": True,
        "grid.color": "#e6e8eb",
        "axes.axisbelow": True,
        "axes.prop_cycle": plt.cycler(color=[BLUE, ORANGE, GREEN, RED, GRAY]),
        "image.interpolation": "nearest",
    }
)


def photo(name, max_side=576):
    """Return one of the photos that may be shown, as `veduta.images.load` gives it."""
    return load(PHOTOS / f"{name}.jpg", max_side=max_side)


def credit(*names):
    """Return a line that says whose photos these are."""
    sources = {}
    for name in names:
        sources.setdefault(CREDITS[name], []).append(name)
    return "Photos: " + "; ".join(f"{', '.join(some)}: {source}" for source, some in sources.items()) + "."


def drawn():
    """Return the drawn world of the tests: facades, views of them with known homographies, and distractors."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support import world

    return world


def picture(figure, alt, photos=()):
    """Show a figure with a text that says what is in it; `photos` are the names of those in it."""
    if photos:
        figure.text(0.995, -0.01, credit(*photos), ha="right", va="top", fontsize=6, color=GRAY)
    data = io.BytesIO()
    figure.savefig(data, format="png", bbox_inches="tight")
    plt.close(figure)
    display(Shown(data.getvalue(), format="png"), metadata={"alt": alt})


def animation(frames, alt, milliseconds=400):
    """Show figures as an animated picture, one after another."""
    import PIL.Image

    pictures = []
    for figure in frames:
        data = io.BytesIO()
        figure.savefig(data, format="png", dpi=90)
        plt.close(figure)
        pictures.append(PIL.Image.open(data).convert("RGB").quantize(64))
    out = io.BytesIO()
    pictures[0].save(out, "GIF", save_all=True, append_images=pictures[1:], duration=milliseconds, loop=0)
    display(Shown(out.getvalue(), format="gif"), metadata={"alt": alt})


def image(axes, pixels, title=""):
    """Show pixels (H, W, 3) or (H, W) in axes without ticks, so that keypoints can be drawn over them."""
    axes.imshow(np.asarray(pixels), cmap="gray" if np.ndim(pixels) == 2 else None)
    axes.set(xticks=[], yticks=[], title=title)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def scratch():
    """Return a new empty folder that goes when the lesson is over."""
    folder = tempfile.TemporaryDirectory()
    _FOLDERS.append(folder)
    return Path(folder.name)


_FOLDERS: list[tempfile.TemporaryDirectory] = []
