"""What holds the house: its size, its names, and what is in the wheel."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import unicodedata
import zipfile
from collections import Counter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "tfvae"
MODULES = sorted(PACKAGE.rglob("*.py"))
TEST_FILE = r"tests/[\w/]*test_\w+\.py"
TESTS = sorted((REPOSITORY / "tests").rglob("*.py"))


def test_the_top_of_the_package_is_seen_at_a_glance():
    entries = {file.name for file in PACKAGE.iterdir()} - {"__pycache__"}
    assert len(entries) <= 16, sorted(entries)


@pytest.mark.parametrize("files", [MODULES, TESTS], ids=["tfvae", "tests"])
def test_no_name_stands_twice(files):
    counts = Counter(file.stem for file in files if file.stem not in ("__init__", "conftest"))
    assert {name for name, count in counts.items() if count > 1} == set()


def test_no_module_is_long():
    lengths = {file: len(file.read_text("utf-8").splitlines()) for file in MODULES}
    assert {str(file): length for file, length in lengths.items() if length > 400} == {}


def test_no_character_looks_like_another():
    """No Greek or Cyrillic letter, no dash or space but ASCII's; authors keep their names."""
    for file in [*MODULES, *TESTS, *PACKAGE.rglob("*.toml")]:
        for character in set(file.read_text("utf-8")):
            is_latin = unicodedata.name(character, "").startswith("LATIN")
            assert character.isascii() or character == "±" or is_latin, (file, character)


def test_the_tests_that_comments_name_are_there():
    sources = {file: file.read_text("utf-8") for file in MODULES}
    named = {(file, name) for file in sources for name in re.findall(TEST_FILE, sources[file])}
    assert len(named) >= 3
    assert [(file, name) for file, name in named if not (REPOSITORY / name).is_file()] == []


def test_names_that_are_imported_when_used_have_types():
    """What stands under TYPE_CHECKING, where type checkers look, is what there is."""
    room = importlib.import_module("tfvae")
    (block,) = [node for node in ast.parse(inspect.getsource(room)).body if type(node) is ast.If]
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    names = {
        alias.asname: f"{line.module}.{alias.name}" for line in block.body for alias in line.names
    }
    assert sorted(names) == sorted(room.__all__)
    for name, path in names.items():
        assert getattr(room, name) is pkgutil.resolve_name(path), path


@pytest.mark.parametrize("stub", sorted(PACKAGE.rglob("*.pyi")), ids=lambda stub: stub.parent.name)
def test_names_of_a_stub_are_imported_when_used(stub):
    room = importlib.import_module(f"tfvae.{stub.parent.name}")
    lines = ast.parse(stub.read_text("utf-8")).body
    assert sorted(alias.asname for line in lines for alias in line.names) == sorted(room.__all__)
    for name in room.__all__:
        getattr(room, name)


def test_the_wheel_holds_what_the_package_reads(tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path]
    subprocess.run(command, cwd=REPOSITORY, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    sources = {str(file.relative_to(REPOSITORY)) for file in PACKAGE.rglob("*") if file.is_file()}
    assert {name for name in sources if "__pycache__" not in name} <= names
    for file in (REPOSITORY / "saved_models").glob("*/model.keras"):
        folder = f"tfvae/saved_models/{file.parent.name}"
        assert {f"{folder}/model.keras", f"{folder}/settings.json"} <= names
        assert {f"{folder}/card/README.md", f"{folder}/card/samples.png"} <= names
    for name in ("README.md", "batching.config", "compose.yaml", "monitoring.config"):
        assert f"tfvae/saved_models/{name}" in names
    rest = {name.split("/")[0] for name in names} - {"tfvae"}
    assert all(name.endswith(".dist-info") for name in rest), rest
