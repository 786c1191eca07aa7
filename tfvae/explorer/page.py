"""The page itself: modules, style and model in one HTML file that loads nothing."""

import base64
import gzip
import hashlib
import html
import json
import math
import os
import posixpath
import re
from collections.abc import Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tfvae import __version__
from tfvae.common.errors import InputError
from tfvae.common.files import atomic_write
from tfvae.common.images import check_image_array
from tfvae.explorer import packing, precomputing
from tfvae.vae import VAE

MOST_VALUES = 128 * 128 * 3
"""The most values that an image of a page may have."""
MOST_PARAMETERS = 20_000_000
"""The most parameters that a model of a page may have: some 50 MB of text."""
MOST_IMAGES = 400
_MOST_VALUES_OF_IMAGES = 600_000
_IMAGES_TO_COMPARE = 64

_PAGE = resources.files(__package__) / "page"
_IMPORT = re.compile(r"^import [^;]*?from \"([^\"]+)\";\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const) (\w+))", re.MULTILINE)


def write_page(
    vae: VAE,
    path: str | os.PathLike,
    images: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    *,
    class_names: Sequence[str] | None = None,
    name: str = "model",
) -> None:
    """Writes a page in which a model is explored, one HTML file that needs nothing else.

    Args:
        vae: The model. One of layers that the page cannot run is shown in precomputed pictures.
        path: The `.html` file.
        images: Held-out images `[n, height, width, channels]` in [0, 1], of which the first 400 (or
            as many as have 600,000 values) are in the page; None for a page without.
        labels: Their classes, integers `[n]`.
        class_names: The names of the classes 0, 1, ...
        name: What the page calls the model.

    Raises:
        InputError: If the images or the model are too large for a page.
        OSError: If the file cannot be written.
    """
    values = math.prod(vae.image_shape)
    if values > MOST_VALUES:
        size = " x ".join(map(str, vae.image_shape))
        raise InputError(
            f"a page shows images of at most {MOST_VALUES:,} values (128 x 128 x 3); these are "
            f"{size}, {values:,} values: train a model of smaller images, or draw this one with "
            "`tfvae plot`"
        )
    if vae.count_params() > MOST_PARAMETERS:
        raise InputError(
            f"a page holds at most {MOST_PARAMETERS:,} parameters; the model has "
            f"{vae.count_params():,}: train a smaller one, or draw this one with `tfvae plot`"
        )
    count = min(MOST_IMAGES, max(_MOST_VALUES_OF_IMAGES // values, 20))
    description, data = describe(
        vae,
        None
        if images is None
        else check_image_array(images, vae.image_shape, nonempty=True)[:count],
        None if images is None or labels is None else np.asarray(labels, np.int32)[:count],
    )
    description |= {"name": name, "class_names": class_names and list(class_names)}
    with atomic_write(path) as beside:
        beside.write_text(fill_page(description, data), encoding="utf-8", newline="\n")


def describe(
    vae: VAE, images: np.ndarray | None, labels: np.ndarray | None
) -> tuple[dict[str, Any], bytes]:
    """What the page knows of a model: a description for JSON, and the bytes of its arrays."""
    arrays = packing.Arrays()
    description: dict[str, Any] = {
        "version": __version__,
        "image_shape": vae.image_shape,
        "latent_dim": vae.latent_dim,
        "likelihood": {"name": "Bernoulli"},
        "posterior": {"name": "FactorialNormal"},
        "prior": {"name": "StandardNormal"},
    }
    if images is not None:
        description["images"] = packing.pack_images(vae, images, labels, arrays)
    compared = images if images is not None else np.asarray(vae.sample(_IMAGES_TO_COMPARE, seed=0))
    try:
        for part in ("encoder", "decoder"):
            description[part] = packing.pack_network(getattr(vae, part), arrays)
        error = packing.rounding_error(vae, compared[:_IMAGES_TO_COMPARE])
        description["rounding_error"] = error
    except packing.UnknownLayerError as error:
        description["reason"] = str(error)
        description["precomputed"] = precomputing.precompute(vae, images, arrays)
    return description | {"arrays": arrays.entries}, b"".join(arrays.parts)


def fill_page(description: dict[str, Any], data: bytes) -> str:
    """The text of the page of a description and its data."""
    engine, exported = bundle("engine/engine.js")
    page, _ = bundle("main.js", leave_out=modules("engine/engine.js"))
    names = ", ".join(exported)
    engine = f'const engine = (() => {{\n"use strict";\n{engine}return {{ {names} }};\n}})();\n'
    page = f'(() => {{\n"use strict";\nconst {{ {names} }} = engine;\n{page}}})();\n'
    style = (_PAGE / "style.css").read_text("utf-8")
    # No `<` can end the element that the JSON stands in.
    model = json.dumps(description, separators=(",", ":")).replace("<", "\\u003c")
    parts = {
        "policy": _policy(scripts=[engine, page], styles=[style]),
        "title": html.escape(description["name"]),
        "style": style,
        "model": model,
        "data": base64.b64encode(gzip.compress(data, 9, mtime=0)).decode("ascii"),
        "engine": engine,
        "page": page,
    }
    template = (_PAGE / "explorer.html").read_text("utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def bundle(entry: str, leave_out: Sequence[str] = ()) -> tuple[str, list[str]]:
    """The modules that a module imports, and itself, as one text without `import` and `export`.

    Returns:
        The text, and the names that the modules export.
    """
    text, names = "", []
    for module in modules(entry):
        if module in leave_out:
            continue
        source = _read(module)
        names += _EXPORT.findall(source)
        text += f"// {module}\n{_EXPORT.sub('', _IMPORT.sub('', source))}\n"
    return text, names


def modules(entry: str) -> list[str]:
    """The modules that a module imports, directly or through others, each after its own; itself."""
    found: list[str] = []

    def visit(module: str) -> None:
        for imported in _IMPORT.findall(_read(module)):
            place = posixpath.normpath(posixpath.join(posixpath.dirname(module), imported))
            if place not in found:
                visit(place)
        found.append(module)

    visit(entry)
    return found


def _read(module: str) -> str:
    file: Traversable = _PAGE
    for part in module.split("/"):
        file = file / part
    return file.read_text("utf-8")


def _policy(scripts: Sequence[str], styles: Sequence[str]) -> str:
    """A Content-Security-Policy that runs these scripts and styles alone, and forbids requests."""

    def hashes(texts: Sequence[str]) -> str:
        digests = [hashlib.sha256(text.encode()).digest() for text in texts]
        return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)

    return (
        f"default-src 'none'; script-src {hashes(scripts)}; style-src {hashes(styles)}; "
        "img-src data: blob:; worker-src blob:; base-uri 'none'; form-action 'none'"
    )
