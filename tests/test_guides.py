"""What the README and the guides link, name and run is there."""

import ast
import inspect
import re
import shlex
import subprocess
import tomllib
from collections import Counter
from pathlib import Path

import pytest
import yaml

import tfvae
from tfvae.cli import app

REPOSITORY = Path(__file__).parents[1]
FOLDERS = ["tfvae", "tests", "tuning", "saved_models"]
PAGES = [REPOSITORY / "README.md"]
PAGES += sorted(page for folder in FOLDERS for page in (REPOSITORY / folder).rglob("README.md"))
GUIDES = [
    "README.md",
    "saved_models/README.md",
    "tests/README.md",
    "tests/benchmarks/README.md",
    "tfvae/fitting/README.md",
    "tfvae/training/recipes/README.md",
    "tuning/README.md",
]

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OPTION = re.compile(r"(?<!\S)--[a-z-]+(?=\s|$)")

each_page = pytest.mark.parametrize(
    "page", PAGES, ids=[str(page.relative_to(REPOSITORY)) for page in PAGES]
)


def blocks(page, *languages):
    """The code of a page in these languages."""
    found = BLOCK.findall(page.read_text("utf-8"))
    return [code for language, code in found if language in languages]


def prose(page):
    """What stands outside of the blocks."""
    return BLOCK.sub("", page.read_text("utf-8"))


def spans(page):
    """The code within sentences and tables."""
    return [span.replace("\n", " ") for span in re.findall(r"`([^`]+)`", prose(page))]


def test_the_guides_are_where_people_look_for_them():
    assert {REPOSITORY / guide for guide in GUIDES} <= set(PAGES)


def test_the_readme_is_short():
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    assert len(readme.encode()) < 10_240
    assert len(readme.split()) < 1_300


def test_the_readme_leads_to_every_guide():
    links = re.findall(r"\]\(([^)#]+)", (REPOSITORY / "README.md").read_text("utf-8"))
    assert set(GUIDES) - set(links) == {"README.md"}


def anchors(page):
    """What the headings of a page are linked by."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    names = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    assert Counter(names).most_common(1)[0][1] == 1, names
    return names


@each_page
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert target.is_relative_to(REPOSITORY), link
        assert not anchor or anchor in anchors(target), link


@each_page
def test_every_block_names_its_language_and_can_be_parsed(page):
    for code in blocks(page, "python"):
        compile(code, str(page), "exec")
    for code in blocks(page, "sh", "bash"):
        subprocess.run(["bash", "-n", "-c", code], check=True)
    for code in blocks(page, "yaml"):
        assert all(manifest["kind"] for manifest in yaml.safe_load_all(code))
    for code in blocks(page, ""):
        # What a command prints, and lines of a configuration file.
        assert "tfvae " not in code, code
        assert "import " not in code, code


# Programs.


@pytest.fixture(scope="module")
def vae():
    vae = tfvae.VAE(image_shape=(4, 4, 1), latent_dim=2)
    vae.compile()
    return vae


def resolve(node, names):
    """The object of an expression such as `tfvae.objectives.ELBO`; None if it is of others."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    owner = resolve(node.value, names) if isinstance(node, ast.Attribute) else None
    return None if owner is None else getattr(owner, node.attr)


def check_names(code, vae):
    """Whether there is all of the package that Python code uses, with the arguments it gives."""
    tree = ast.parse(code)
    names = {"tfvae": tfvae, "vae": vae}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "tfvae":
            owner = resolve(ast.parse(node.module, mode="eval").body, names)
            names |= {alias.name: getattr(owner, alias.name) for alias in node.names}
    for node in ast.walk(tree):
        resolve(node, names)
        if isinstance(node, ast.Call) and (function := resolve(node.func, names)) is not None:
            keywords = {keyword.arg: None for keyword in node.keywords}
            inspect.signature(function).bind(*node.args, **keywords)


@each_page
def test_programs_use_what_there_is(page, vae):
    for code in blocks(page, "python"):
        check_names(code, vae)
    for span in spans(page):
        if re.match(r"(tfvae|vae)\.(?!py$)\w|from tfvae", span):
            check_names(span, vae)


@pytest.mark.parametrize(
    "code",
    [
        "tfvae.inference.no_such_name",
        "tfvae.inference.evaluate(vae)",
        "tfvae.objectives.ELBO(weight=1)",
        "vae.decode(images, no_such_argument=1)",
        "vae.no_such_method()",
        "from tfvae.serving import NoSuchClass",
        "from tfvae.tuning import SearchSpace\nSearchSpace(no_such_argument=1)",
    ],
)
def test_what_there_is_not_is_seen(code, vae):
    with pytest.raises((AttributeError, TypeError)):
        check_names(code, vae)


def test_the_programs_of_the_readme_run(digits_data_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(digits_data_dir))
    yours, networks = (
        re.sub(r"epochs=\d+", "epochs=1", code).replace("num_samples=1000", "num_samples=200")
        for code in blocks(REPOSITORY / "README.md", "python")
    )
    names = {}
    exec(compile(yours, "README.md", "exec"), names)
    assert names["samples"].shape == (16, 24, 20, 1)
    assert re.search(r"^-\d+\.\d+ ± \d\.\d+ nats per image$", capsys.readouterr().out, re.MULTILINE)
    names = {}
    exec(compile(networks, "README.md", "exec"), names)
    assert names["vae"].latent_dim == 10


# Commands.


def options(command):
    """The options of a command."""
    arguments = app[command].assemble_argument_collection()
    return {name for argument in arguments for name in argument.names}


def commands_in(text):
    """The name of each command in a text, and the words behind it."""
    lines = text.replace("\\\n", " ")
    for name, rest in re.findall(r"(?<![\w./-])tfvae ([a-z]+)\b([^\n|;&]*)", lines):
        yield name, shlex.split(rest, comments=True)


@each_page
def test_commands_can_be_given(page):
    for code in blocks(page, "sh", "bash", "yaml"):
        for name, words in commands_in(code):
            app.parse_args([name, *words], print_error=False, exit_on_error=False)


@each_page
def test_options_exist(page):
    """Those in sentences and tables, where what is told of a command is no whole line."""
    commands = [name for name in app if not name.startswith("-")]
    known = set.union(*map(options, commands))
    for script in re.findall(r"\bpython (\S+\.py)", page.read_text("utf-8")):
        known |= set(re.findall(r'"(--[a-z-]+)"', (REPOSITORY / script).read_text("utf-8")))
    for span in spans(page):
        for name, words in commands_in(span):
            assert set(OPTION.findall(" ".join(words))) <= options(name) | {"--help"}, span
        if span.startswith("--"):
            assert set(OPTION.findall(span)) <= known, span


@each_page
def test_scripts_and_extras_exist(page):
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    code = "\n".join([*blocks(page, "sh", "bash"), *spans(page)])
    for script, rest in re.findall(r"\bpython (\S+\.py)([^\n|;&]*)", code):
        source = (REPOSITORY / script).read_text("utf-8")
        for option in OPTION.findall(rest):
            assert f'"{option}"' in source, (script, option)
    for extra in re.findall(r"\bpip install .*\.\[(\w+)\]", code):
        assert extra in project["optional-dependencies"]


def test_the_tests_that_hold_the_formulas_are_there():
    page = REPOSITORY / "tests" / "README.md"
    names = [span.split("::") for span in spans(page) if re.search(r"\.py(::|$)", span)]
    assert len(names) > 15
    for file, *path in names:
        node = ast.parse((page.parent / file).read_text("utf-8"))
        for name in path:
            inner = [part for part in node.body if getattr(part, "name", None) == name]
            assert inner, (file, name)
            (node,) = inner
