"""The README and the guides: what they link, name, show and run is there."""

import ast
import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[1]
PAGES = sorted(
    str(page.relative_to(REPOSITORY))
    for folder in ("", "tfvae", "tests", "tuning", "saved_models")
    for page in (REPOSITORY / folder).glob("*.md" if folder == "" else "**/README.md")
    if page.parent.name != "card"
)


def text_of(page):
    return (REPOSITORY / page).read_text(encoding="utf-8")


def blocks(page, *languages):
    found = re.findall(r"^```(\w+)\n(.*?)^```", text_of(page), re.MULTILINE | re.DOTALL)
    return [code for language, code in found if language in languages]


def prose_of(page):
    return re.sub(r"^```.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)


def commands(page):
    """The command lines of the shell blocks, lines that end in a backslash joined."""
    for code in blocks(page, "sh", "bash"):
        for line in code.replace("\\\n", " ").splitlines():
            if line.strip().startswith(("tfvae ", "python ")):
                yield shlex.split(line, comments=True)


def anchors(page):
    titles = re.findall(r"^#+ (.*)$", prose_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_there_is_a_guide_in_every_folder_that_the_design_names():
    assert {"README.md", "tests/README.md", "tests/benchmarks/README.md"} <= set(PAGES)
    assert {"tfvae/fitting/README.md", "tfvae/training/recipes/README.md"} <= set(PAGES)
    assert {"saved_models/README.md", "tuning/README.md"} <= set(PAGES)


def test_the_readme_is_short():
    assert len(text_of("README.md").encode()) < 10_240
    assert len(text_of("README.md").split()) < 1_300


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    place = (REPOSITORY / page).parent
    for link in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
        file, _, anchor = link.partition("#")
        if file.startswith(("http:", "https:")):
            continue
        target = (place / file).resolve() if file else REPOSITORY / page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.relative_to(REPOSITORY)), link


@pytest.mark.parametrize("page", PAGES)
def test_programs_and_manifests_can_be_parsed(page):
    for code in blocks(page, "python"):
        ast.parse(code)
    for code in blocks(page, "sh", "bash"):
        subprocess.run(["bash", "-n", "-c", code], check=True)
    for code in blocks(page, "yaml"):
        assert all(manifest["kind"] for manifest in yaml.safe_load_all(code))


@pytest.mark.parametrize("page", PAGES)
def test_names_of_the_package_exist(page):
    code = "\n".join(blocks(page, "python"))
    quoted = " ".join(re.findall(r"`([^`\n]+)`", prose_of(page)))
    for name in set(re.findall(r"\btfvae(?:\.[A-Za-z_]\w*)+", code + " " + quoted)):
        part = importlib.import_module("tfvae")
        for attribute in name.split(".")[1:]:
            assert hasattr(part, attribute), name
            part = getattr(part, attribute)


@pytest.fixture(scope="module")
def help_of():
    """The help of a command, asked for once."""
    pages = {}

    def ask(*command):
        if command not in pages:
            result = subprocess.run(
                [sys.executable, "-m", "tfvae.cli", *command, "--help"],
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            pages[command] = result.stdout if result.returncode == 0 else ""
        return pages[command]

    return ask


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_options_exist(page, help_of):
    quoted = re.findall(r"`(tfvae [^`]+)`", prose_of(page))
    lines = [*commands(page), *(shlex.split(line) for line in quoted)]
    for program, *words in lines:
        if program == "python":
            script = words[0]
            assert (REPOSITORY / script).is_file(), script
            continue
        if words[0].startswith("-") or words[0].isupper():
            continue
        command = words[0].rstrip(",")
        page_of_help = help_of(command)
        assert page_of_help, command
        for word in words[1:]:
            option = word.partition("=")[0]
            if option.startswith("--") and option != "--help":
                assert re.search(rf"(?<![\w-]){option}(?![\w-])", page_of_help), (command, option)


def test_the_tests_that_the_table_names_are_there():
    names = re.findall(r"`([\w/]*test_\w+\.py)((?:::\w+)*)`", text_of("tests/README.md"))
    assert len(names) > 15
    for file, path in names:
        source = (REPOSITORY / "tests" / file).read_text(encoding="utf-8")
        for name in path.split("::")[1:]:
            assert re.search(rf"(def|class) {name}\b", source), (file, name)


def test_the_programs_of_the_readme_run(digits_data_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(digits_data_dir))
    shorter = {
        "epochs=10)": "epochs=1)",
        "epochs=20,": "epochs=1,",
        "num_samples=1000": "num_samples=5",
    }
    first, second = blocks("README.md", "python")
    for old, new in shorter.items():
        first, second = first.replace(old, new), second.replace(old, new)
    results = {}
    exec(compile(first, "README.md", "exec"), results)
    assert results["samples"].shape == (16, 24, 20, 1)
    assert "nats per image" in capsys.readouterr().out
    exec(compile(second, "README.md", "exec"), results)
    assert results["vae"].latent_dim == 10
