import ast
import re
import subprocess
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[1]
PAGES = ["README.md", "saved_models/README.md", "tuning/README.md"]


def blocks(page, *languages):
    text = (REPOSITORY / page).read_text()
    found = re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [code for language, code in found if language in languages]


@pytest.mark.parametrize("page", PAGES)
def test_programs_and_manifests_can_be_parsed(page):
    for code in blocks(page, "python"):
        ast.parse(code)
    for code in blocks(page, "sh", "bash"):
        subprocess.run(["bash", "-n", "-c", code], check=True)
    for code in blocks(page, "yaml"):
        assert all(manifest["kind"] for manifest in yaml.safe_load_all(code))


@pytest.mark.parametrize("page", PAGES)
def test_what_is_linked_is_there(page):
    place = (REPOSITORY / page).parent
    links = re.findall(r"\]\(([^)#:]+)\)", (REPOSITORY / page).read_text())
    missing = [link for link in links if not (place / link).exists()]
    assert not missing


def test_the_tests_that_the_table_names_are_there():
    text = (REPOSITORY / "README.md").read_text()
    names = re.findall(r"`(test_\w+\.py)((?:::\w+)+)`", text)
    assert len(names) > 10
    for file, path in names:
        source = (REPOSITORY / "tests" / file).read_text()
        for name in path.split("::")[1:]:
            assert re.search(rf"(def|class) {name}\b", source), (file, name)


def test_the_first_program_runs(capsys):
    (program, *_) = blocks("README.md", "python")
    program = program.replace("epochs=10", "epochs=1").replace("num_samples=1000", "num_samples=5")
    program = program.replace('vae.save("rectangles.keras")', "")
    namespace = {}
    exec(compile(program, "README.md", "exec"), namespace)
    assert namespace["samples"].shape == (16, 24, 20, 1)
    assert "nats per image" in capsys.readouterr().out
