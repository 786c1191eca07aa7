import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from command_line import assert_refused, tfvae
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from tfvae.common.errors import InputError
from tfvae.serving.configuration import write_server_configuration

FILES = ["README.md", "batching.config", "compose.yaml", "models.config", "monitoring.config"]


def add_versions(folder, *versions):
    for version in versions:
        (folder / version).mkdir(parents=True)
        (folder / version / "saved_model.pb").write_text("graph")


@pytest.fixture
def folder(tmp_path):
    add_versions(tmp_path, "digits/1", "digits/2", "faces/10", ".hidden/1")
    (tmp_path / "digits" / "card").mkdir()
    return tmp_path


def models(folder):
    """What the server reads."""
    text = (folder / "models.config").read_text()
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    return {model.name: model for model in config.model_config_list.config}


def versions_and_labels(folder):
    """Of the digits."""
    model = models(folder)["digits"]
    return list(model.model_version_policy.specific.versions), dict(model.version_labels)


def test_every_model_is_served(folder):
    written = write_server_configuration(folder)
    assert sorted(path.name for path in written.files) == FILES
    served = models(folder)
    assert list(served) == ["digits", "faces"]
    for name, model in served.items():
        assert model.base_path == f"/models/{name}"
        assert model.model_platform == "tensorflow"
        # The newest version, which is the default of the server.
        assert not model.HasField("model_version_policy")


def test_labels_choose_the_versions_and_stay(folder):
    write_server_configuration(folder, labels={"digits": {"stable": 1, "canary": 2}})
    assert versions_and_labels(folder) == ([1, 2], {"stable": 1, "canary": 2})
    assert not models(folder)["faces"].HasField("model_version_policy")
    add_versions(folder, "cars/1")
    write_server_configuration(folder, labels={"faces": {"stable": 10}})
    assert list(models(folder)) == ["cars", "digits", "faces"]
    assert versions_and_labels(folder) == ([1, 2], {"stable": 1, "canary": 2})
    write_server_configuration(folder, labels={"digits": {}})
    assert not models(folder)["digits"].HasField("model_version_policy")
    assert not models(folder)["digits"].version_labels


class Server:
    """The rule of TensorFlow Serving: a label in use moves only to a version that is loaded."""

    def __init__(self):
        self.loaded, self.labels = set(), {}

    def read(self, folder):
        wanted, labels = versions_and_labels(folder)
        for label, number in labels.items():
            moves = label in self.labels and self.labels[label] != number
            assert not moves or number in self.loaded, f"{label} moves to {number}, not loaded"
            assert number in wanted
        self.loaded, self.labels = set(wanted), labels


def test_going_over_and_back_and_the_next_canaries_are_never_refused_by_the_server(folder):
    add_versions(folder, "digits/3", "digits/4")
    server, steps = Server(), 0
    for labels in (
        {"stable": 1, "canary": 2},
        {"stable": 2},
        {"stable": 1},
        {"stable": 2},
        {"stable": 2},  # The same again lets nothing go.
        {"stable": 1},
        {"stable": 1, "canary": 3},
        {"stable": 1, "canary": 4},
        {"stable": 4},
        {"stable": 1},
        {"stable": 3, "canary": 4},
    ):
        waiting = True
        while waiting:
            waiting = write_server_configuration(folder, labels={"digits": labels}).waiting
            server.read(folder)
            steps += 1
        assert server.labels == labels
    # Two of the eleven need a version that was not loaded.
    assert steps == 13


def test_a_label_that_must_wait_is_named(folder):
    write_server_configuration(folder, labels={"digits": {"stable": 1}})
    first = write_server_configuration(folder, labels={"digits": {"stable": 2}})
    assert first.waiting == {"digits": {"stable": 2}}
    assert versions_and_labels(folder) == ([1, 2], {"stable": 1})
    assert write_server_configuration(folder, labels={"digits": {"stable": 2}}).waiting == {}
    assert versions_and_labels(folder) == ([1, 2], {"stable": 2})
    # What was deleted is not asked for.
    shutil.rmtree(folder / "digits" / "1")
    add_versions(folder, "digits/3")
    write_server_configuration(folder, labels={"digits": {"stable": 2, "canary": 3}})
    assert versions_and_labels(folder) == ([2, 3], {"stable": 2, "canary": 3})


def test_files_that_are_there_stay(folder):
    write_server_configuration(folder)
    (folder / "batching.config").write_text("mine")
    (folder / "README.md").unlink()
    written = write_server_configuration(folder).files
    assert sorted(path.name for path in written) == ["README.md", "models.config"]
    assert (folder / "batching.config").read_text() == "mine"
    (folder / "models.config").write_text(
        'model_config_list { config { name: "x" logging_config {} }}'
    )
    with pytest.raises(
        InputError, match=r"models.config has something else in it .*logging_config"
    ):
        write_server_configuration(folder)
    assert "logging_config" in (folder / "models.config").read_text()


def test_any_name_is_a_name_to_the_server(tmp_path):
    names = ['say "x"', "back\\slash", "it's", "número", "a{b}", "#c"]
    add_versions(tmp_path, *(f"{name}/1" for name in names))
    label = 'so "called"'
    for _ in range(2):
        write_server_configuration(tmp_path, labels={names[0]: {label: 1}})
        assert sorted(models(tmp_path)) == sorted(names)
        assert {model.base_path for model in models(tmp_path).values()} == {
            f"/models/{name}" for name in names
        }
        assert dict(models(tmp_path)[names[0]].version_labels) == {label: 1}
    add_versions(tmp_path, "two\nlines/1")
    with pytest.raises(InputError, match=r"named 'two\\nlines': rename it"):
        write_server_configuration(tmp_path)


def test_impossible_configurations_are_refused(folder):
    for labels, message in [
        ({"cars": {"stable": 1}}, "there is no model 'cars'"),
        ({"digits": {"stable": 3}}, "'stable' of 'digits' is for version 3, and there are 1, 2"),
        ({"digits": {"stable": True}}, "the version of a label must be an integer"),
        ({"digits": {"": 1}}, "a label must be a word"),
        ({"digits": {"\ud800": 1}}, "a label must be a word"),
    ]:
        with pytest.raises(InputError, match=message):
            write_server_configuration(folder, labels=labels)
    for empty in (folder / "digits" / "card", folder / "missing"):
        with pytest.raises(InputError, match="there is no exported model in"):
            write_server_configuration(empty)
    with pytest.raises(InputError, match="is a SavedModel itself"):
        write_server_configuration(folder / "digits")
    assert not list(folder.glob("*.config"))


def test_the_command_writes_and_says_what_waits(folder):
    done = tfvae("configure", folder, "--label", "digits:stable=1", "faces:stable=10")
    assert done.status == 0, done.stderr
    assert {folder / name for name in FILES} == set(map(type(folder), done.stdout.split()))
    assert versions_and_labels(folder) == ([1], {"stable": 1})
    assert dict(models(folder)["faces"].version_labels) == {"stable": 10}
    waiting = (
        "The label stable moves to version 2 with the same command, once the server has loaded"
    )
    for is_waiting in (True, False):
        done = tfvae("configure", folder, "--label", "digits:stable=2")
        assert (waiting in done.stdout) == is_waiting
    assert versions_and_labels(folder) == ([1, 2], {"stable": 2})
    for word in ("stable=1", "digits:stable", "digits:=1", "digits:stable=-1", "digits:stable=x"):
        done = tfvae("configure", folder, "--label", word)
        assert_refused(done, "--label must be MODEL:LABEL=VERSION")
    assert_refused(tfvae("configure", folder / "nowhere"), "there is no exported model in")


def test_the_files_of_this_repository_are_those_that_are_written(tmp_path):
    shipped = Path(__file__).parents[2] / "saved_models"
    for model in shipped.glob("*/model.keras"):
        add_versions(tmp_path, f"{model.parent.name}/1")
    write_server_configuration(tmp_path)
    for name in FILES:
        assert (tmp_path / name).read_text() == (shipped / name).read_text()


def test_the_server_is_started_as_the_guide_says(folder):
    write_server_configuration(folder)
    service = yaml.safe_load((folder / "compose.yaml").read_text())["services"]["serving"]
    assert service["volumes"] == [".:/models:ro"]
    files = re.findall(r"/models/(\S+)", " ".join(service["command"]))
    assert sorted(files) == ["batching.config", "models.config", "monitoring.config"]
    for file in files:
        assert (folder / file).is_file()
    # The options are those of the command without Docker.
    blocks = re.findall(r"```bash\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    (block,) = [block for block in blocks if "tensorflow_model_server" in block]
    words = shlex.split(block[block.index("tensorflow_model_server") :].replace("\\\n", " "))
    without_paths = [re.sub(r"=/\S+/|=/", "=", word) for word in service["command"]]
    expected = {re.sub("=/models/|=/tmp/", "=", word) for word in words[1:]}
    assert set(without_paths) == {x for x in expected if "port=" not in x}
