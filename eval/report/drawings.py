"""SVG drawings as parts of a page: without styles, scripts and links, with ids of their own."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

SVG = "http://www.w3.org/2000/svg"
_HREF = "{http://www.w3.org/1999/xlink}href"
NARROW = 576.0  # pixels; wider drawings keep at least this width on a phone, where they can be moved
_LEFT_OUT = {"metadata", "script", "style", "foreignObject", "image", "a", "animate", "set", "title", "desc"}
_FONT = re.compile(r"^(?:(?P<style>italic|oblique)\s+)?(?:(?P<weight>\w+)\s+)?(?P<size>[\d.]+(?:px|pt)?)\s")
# Properties that are attributes of SVG too. The page's own style chooses the family of fonts.
_ATTRIBUTES = {
    "fill", "fill-opacity", "fill-rule", "stroke", "stroke-width", "stroke-opacity", "stroke-linecap",
    "stroke-linejoin", "stroke-miterlimit", "stroke-dasharray", "stroke-dashoffset", "opacity", "font-size",
    "font-weight", "font-style", "text-anchor", "dominant-baseline", "stop-color", "stop-opacity", "clip-path",
    "clip-rule", "mask", "display", "visibility",
}  # fmt: skip


def inline_svg(svg: str, name: str, description: str) -> str:
    """The drawing as an ``<svg>`` element that may stand in a page beside others.

    The page allows no style that it does not know, so the ``style`` attributes that matplotlib writes become
    attributes of their own, which look the same. Ids get ``name`` in front.

    Args:
        svg: a whole SVG document.
        name: unique among the drawings of a page.
        description: what there is to see, for readers who do not see it.

    Raises:
        ValueError: when ``svg`` is not an SVG document.
    """
    try:
        root = ET.fromstring(svg)
    except ET.ParseError as problem:
        raise ValueError(f"the drawing {name} is not SVG: {problem}") from None
    if root.tag != f"{{{SVG}}}svg":
        raise ValueError(f"the drawing {name} is not SVG: its root is {root.tag}")
    _clean(root, name)
    # matplotlib says these two for all elements in a style.
    root.set("stroke-linejoin", root.get("stroke-linejoin", "round"))
    root.set("stroke-linecap", root.get("stroke-linecap", "butt"))
    root.set("role", "img")
    root.set("aria-label", description)
    width = _pixels(root.get("width", ""))
    root.set("width", f"{width:.0f}")
    if width > NARROW:
        root.set("class", "wide")
    root.attrib.pop("height", None)  # follows from the width and the box
    return ET.tostring(root, encoding="unicode")


def _clean(element: ET.Element, name: str) -> None:
    element.tag = element.tag.rpartition("}")[2]  # in HTML the namespace follows from the <svg> around it
    for child in list(element):
        if child.tag.rpartition("}")[2] in _LEFT_OUT:
            element.remove(child)
            continue
        _clean(child, name)
    attributes: dict[str, str] = {}
    for key, value in element.attrib.items():
        local = key.rpartition("}")[2].lower()
        if local == "style":
            attributes |= _attributes(value)
        elif local == "href":
            if value.startswith("#"):
                attributes["href"] = f"#{name}-{value[1:]}"
        elif local == "id":
            attributes["id"] = f"{name}-{value}"
        elif "}" not in key and not local.startswith("on"):
            attributes[key] = value
    element.attrib.clear()
    element.attrib.update(
        {
            key: re.sub(r"url\(\s*['\"]?#([^)'\"]+)['\"]?\s*\)", rf"url(#{name}-\1)", value)
            for key, value in attributes.items()
        }
    )


def _attributes(style: str) -> dict[str, str]:
    found = {}
    for part in style.split(";"):
        key, _, value = (text.strip() for text in part.partition(":"))
        if key in _ATTRIBUTES:
            found[key] = value
        elif key == "font" and (font := _FONT.match(value)):
            found["font-size"] = font["size"]
            found |= {f"font-{key}": font[key] for key in ("style", "weight") if font[key]}
    return found


def _pixels(length: str) -> float:
    match = re.fullmatch(r"([\d.]+)(pt|px)?", length.strip())
    if not match:
        return NARROW
    return float(match[1]) * (4 / 3 if match[2] == "pt" else 1)
