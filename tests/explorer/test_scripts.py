"""The scripts of the page, which stand in one scope once they are in it."""

import re
from collections import Counter

from test_layout import PACKAGE

from tfvae.explorer import page

SCRIPTS = PACKAGE / "explorer" / "page"


def test_every_module_is_in_the_page():
    found = {str(file.relative_to(SCRIPTS)) for file in SCRIPTS.rglob("*.js")}
    assert found == set(page.modules("main.js")) | set(page.modules("engine/engine.js"))


def test_no_name_stands_twice_at_the_top():
    sources = [file.read_text("utf-8") for file in SCRIPTS.rglob("*.js")]
    pattern = re.compile(
        r"^(?:export )?(?:async )?(?:function|class|const|let) (\w+)", re.MULTILINE
    )
    counts = Counter(name for source in sources for name in pattern.findall(source))
    assert {name for name, count in counts.items() if count > 1} == set()


def test_what_is_imported_is_exported():
    for file in SCRIPTS.rglob("*.js"):
        for names, path in re.findall(
            r'^import \{([^}]*)\} from "([^"]+)";', file.read_text(), re.M
        ):
            source = (file.parent / path).read_text()
            for name in filter(None, map(str.strip, names.split(","))):
                assert re.search(rf"^export .*\b{name}\b", source, re.MULTILINE), (file, name)


def test_no_module_is_long():
    lengths = {file.name: len(file.read_text().splitlines()) for file in SCRIPTS.rglob("*.js")}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_nothing_ends_the_element_that_a_script_stands_in():
    for file in [*SCRIPTS.rglob("*.js"), SCRIPTS / "style.css"]:
        assert not re.search(r"</|<!--", file.read_text()), file
