"""Plots as SVG inside a page: small, with ids of their own, in colours that follow the page."""

from __future__ import annotations

import io
import re
import warnings
from collections import defaultdict
from html import escape
from itertools import groupby
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np

from mixedmodels.errors import clean
from mixedmodels.plot.theme import drawing

Element = ET.Element

SPACE = re.compile(r"\{[^}]*\}")
NUMBER = re.compile(r"-?\d+\.\d+")
GREY = re.compile(r"#(?P<g>[0-9a-f]{2})(?P=g)(?P=g)\b")
COLOUR = re.compile(r"#(?!(?P<g>[0-9a-f]{2})(?P=g)(?P=g)\b)(?P<c>[0-9a-f]{6})\b")
FONT = re.compile(r"font-family:[^;]*;?")
SHORT_FONT = re.compile(r"font:\s*(?P<rest>(?:[\w.]+ )*?)(?P<size>[\d.]+px)[^;]*")
REFERENCE = re.compile(r"url\(#(?P<id>[^)]+)\)")
# characters that XML cannot hold, and those that turn the direction of the text around them
UNREADABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufffe\uffff]"
)
# a font without some letter is no trouble: the reader's browser has others
MISSING_LETTER = r"Glyph \d+ .* missing from font|Matplotlib currently does not support"
SHAPES = ("path", "circle", "use", "text")
# styles that act on a group as a whole, not on each of its shapes
WHOLE = re.compile(r"(^|;)(opacity|filter|mask)\s*:")

# colours of the plots on dark paper: as far apart as on white, and lighter
DARK = {
    "0072b2": "#56aee8",
    "d55e00": "#ff8b45",
    "009e73": "#35c99b",
    "cc79a7": "#e9a3ca",
    "e69f00": "#ffc247",
    "56b4e9": "#b5e0ff",
}
DARK_INK, DARK_PAPER = 0xEC, 0x17


def picture(plot: Any, name: str, alt: str, *, fixed: bool = False) -> str:
    """A plot as an SVG element.

    Parameters
    ----------
    plot : plotnine.ggplot
    name : str
        Starts the ids of the picture; unique in the page.
    alt : str
        What it shows, for those who do not see it.
    fixed : bool, default False
        Keep the colours in dark pages too: a scale of colours cannot be turned over.

    Returns
    -------
    str
        No network address is in it.
    """
    root = ET.fromstring(_drawn(plot, name))  # noqa: S314 - as above
    _tidy(root, name, fixed=fixed)
    box = root.get("viewBox", "0 0 460 320")
    width = box.split()[2]
    body = "".join(ET.tostring(child, encoding="unicode") for child in root)
    kind = ' class="fixed"' if fixed else ""
    return (
        f'<svg role="img" aria-label="{escape(clean(alt))}" viewBox="{box}"{kind} '
        f'style="width:{float(width) * 1.6:.0f}px">{body}</svg>'
    )


def _drawn(plot: Any, name: str) -> str:
    """The file that matplotlib writes."""
    drawing()
    import matplotlib as mpl
    from matplotlib import pyplot as plt
    from matplotlib.collections import QuadMesh

    file = io.BytesIO()
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": name}
    with warnings.catch_warnings(), mpl.rc_context(settings):
        warnings.filterwarnings("ignore", message=MISSING_LETTER)
        with np.errstate(under="ignore"):  # tails of densities
            figure = plot.draw(show=False)
        try:
            for mesh in figure.findobj(QuadMesh):  # bars of colour: thousands of gradients else
                mesh.set_rasterized(True)
            figure.savefig(file, format="svg", dpi=72, metadata={"Date": None})
        finally:
            plt.close(figure)
    return UNREADABLE.sub("", file.getvalue().decode("utf-8"))


def _tidy(root: Element, name: str, *, fixed: bool) -> None:
    """Make the tree small and its ids unique, in place."""
    for element in root.iter():
        element.tag = SPACE.sub("", element.tag)
        element.attrib = {SPACE.sub("", key): value for key, value in element.attrib.items()}
        element.tail = None
        if element.tag != "text":
            element.text = None
    for parent in list(root.iter()):
        for child in [c for c in parent if c.tag in ("metadata", "style")]:
            parent.remove(child)
    for element in root.iter():
        _circle(element)
        _attributes(element, name, fixed=fixed)
    used = {e.attrib["href"][1:] for e in root.iter() if e.get("href", "").startswith("#")}
    used |= {m["id"] for e in root.iter() for v in e.attrib.values() for m in REFERENCE.finditer(v)}
    for element in root.iter():
        if element.get("id") not in used:
            element.attrib.pop("id", None)
    for element in list(root.iter()):  # the groups that are made need no second look
        _share_styles(element)


def _attributes(element: Element, name: str, *, fixed: bool) -> None:
    """Ids with the name before them, short numbers, styles that follow the page."""
    for key, value in element.attrib.items():
        new = value
        if key == "id":
            new = f"{name}-{value}"
        elif key == "href" and value.startswith("#"):
            new = f"#{name}-{value[1:]}"
        elif key in ("clip-path", "filter", "mask"):
            new = REFERENCE.sub(lambda m: f"url(#{name}-{m['id']})", value)
        elif key == "d":
            new = " ".join(NUMBER.sub(_rounded, value).split())
        elif key == "style":
            new = _style(value, fixed=fixed)
        elif key in ("x", "y", "transform", "width", "height"):
            new = NUMBER.sub(_rounded, value)
        element.attrib[key] = new


def _rounded(found: re.Match[str]) -> str:
    short = f"{float(found.group()):.1f}".rstrip("0").rstrip(".")
    return "0" if short == "-0" else short


def _style(text: str, *, fixed: bool) -> str:
    text = SHORT_FONT.sub(_font, FONT.sub("", text))
    text = NUMBER.sub(lambda m: f"{float(m.group()):.2f}".rstrip("0").rstrip("."), text)
    if not fixed:
        text = GREY.sub(lambda m: f"var(--g{m['g']},{m.group()})", text)
        text = COLOUR.sub(_named, text)
    parts = (part.strip().replace(": ", ":") for part in text.split(";"))
    return ";".join(part for part in parts if part)


def _font(found: re.Match[str]) -> str:
    words = found["rest"].split()
    weight = [w for w in words if w in ("bold", "bolder") or w.isdigit()]
    slant = ["font-style:italic"] if "italic" in words else []
    return ";".join([f"font-size:{found['size']}", *(f"font-weight:{w}" for w in weight), *slant])


def _named(found: re.Match[str]) -> str:
    return f"var(--c{found['c']},{found.group()})" if found["c"] in DARK else found.group()


def _circle(element: Element) -> None:
    """Points are drawn as eight curves each: say circle."""
    d = element.get("d", "")
    if element.tag != "path" or d.count("C") != 8 or d.count("M") != 1:
        return
    numbers = [float(x) for x in re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", d)]
    xs, ys = numbers[0::2], numbers[1::2]
    x, y = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
    r = (max(xs) - min(xs)) / 2
    on_curve = [(numbers[0], numbers[1]), *zip(xs[3::3], ys[3::3], strict=False)]
    if all(
        abs(((px - x) ** 2 + (py - y) ** 2) ** 0.5 - r) < 0.05 * r + 1e-6 for px, py in on_curve
    ):
        del element.attrib["d"]
        element.tag = "circle"
        # in this order: attributes are looked at one by one when drawn
        element.attrib.update({"cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": f"{r:.2f}"})


def _share_styles(parent: Element) -> None:
    """Neighbours that look alike become a group that says so once."""

    def look(child: Element) -> tuple[str, str] | None:
        style = child.get("style", "")
        if not style or child.tag not in SHAPES or child.get("id") or WHOLE.search(style):
            return None
        return style, child.get("clip-path", "")

    children = list(parent)
    if len(children) < 3:
        return
    new: list[Element] = []
    for key, run in groupby(children, key=look):
        same = list(run)
        if key is None or len(same) < 3:
            new += same
            continue
        group = ET.Element(
            "g", {k: v for k, v in zip(("style", "clip-path"), key, strict=True) if v}
        )
        for child in same:
            child.attrib.pop("style", None)
            child.attrib.pop("clip-path", None)
            group.append(child)
        new.append(group)
    parent[:] = new


def dark_colours(body: str) -> str:
    """Values of the colours that the pictures of a page use, on dark paper: CSS declarations."""
    found: dict[str, str] = defaultdict(str)
    for grey in set(re.findall(r"var\(--g([0-9a-f]{2}),", body)):
        level = round(DARK_INK - int(grey, 16) / 255 * (DARK_INK - DARK_PAPER))
        found[f"--g{grey}"] = f"#{level:02x}{level:02x}{level:02x}"
    for colour in set(re.findall(r"var\(--c([0-9a-f]{6}),", body)):
        found[f"--c{colour}"] = DARK[colour]
    return ";".join(f"{name}:{value}" for name, value in sorted(found.items()))
