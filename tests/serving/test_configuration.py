import re
import shlex

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from tfvae.common.errors import InputError
from tfvae.serving.configuration import write_server_configuration

FILES = ["README.md", "batching.config", "compose.yaml", "models.config", "monitoring.config"]


@pytest.fixture
def folder(tmp_path):
    for version in ("digits/1", "digits/2", "faces/10", "digits/card", ".hidden/1"):
        (tmp_path / version).mkdir(parents=True)
    return tmp_path


def models(folder):
    text = (folder / "models.config").read_text()
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    return {model.name: model for model in config.model_config_list.config}


def test_every_model_is_served(folder):
    written = write_server_configuration(folder)
    assert sorted(path.name for path in written) == FILES
    served = models(folder)
    assert list(served) == ["digits", "faces"]
    for name, model in served.items():
        assert model.base_path == f"/models/{name}"
        assert model.model_platform == "tensorflow"
        # The newest version, which is the default of the server.
        assert not model.HasField("model_version_policy")


def test_labels_choose_the_versions(folder):
    labels = {"digits": {"stable": 1, "canary": 2}}
    write_server_configuration(folder, labels=labels)
    served = models(folder)
    assert list(served["digits"].model_version_policy.specific.versions) == [1, 2]
    assert dict(served["digits"].version_labels) == {"stable": 1, "canary": 2}
    assert not served["faces"].HasField("model_version_policy")


def test_files_that_are_there_stay_unless_asked(folder):
    write_server_configuration(folder)
    (folder / "batching.config").write_text("mine")
    (folder / "README.md").unlink()
    assert write_server_configuration(folder) == [folder / "README.md"]
    assert (folder / "batching.config").read_text() == "mine"
    assert len(write_server_configuration(folder, overwrite=True)) == len(FILES)
    assert "max_batch_size" in (folder / "batching.config").read_text()


def test_impossible_configurations_are_refused(folder, tmp_path):
    for labels, message in [
        ({"cars": {"stable": 1}}, "there is no model 'cars'"),
        ({"digits": {"stable": 3}}, "'stable' of 'digits' is for version 3, and there are 1, 2"),
    ]:
        with pytest.raises(InputError, match=message):
            write_server_configuration(folder, labels=labels)
    for empty in (folder / "faces", folder / "missing"):
        with pytest.raises(InputError, match="there is no exported model in"):
            write_server_configuration(empty)
    assert not list(folder.glob("*.config"))


def test_the_compose_file_mounts_what_it_names(folder):
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    write_server_configuration(folder)
    service = yaml.safe_load((folder / "compose.yaml").read_text())["services"]["serving"]
    assert service["volumes"] == [".:/models:ro"]
    files = re.findall(r"/models/(\S+)", " ".join(service["command"]))
    assert sorted(files) == ["batching.config", "models.config", "monitoring.config"]
    for file in files:
        assert (folder / file).is_file()


def test_the_python_of_the_readme_is_python(folder):
    write_server_configuration(folder)
    blocks = re.findall(r"```(\w*)\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    languages = [language for language, _ in blocks]
    assert languages.count("python") >= 3
    for language, code in blocks:
        if language == "python":
            compile(code, "README.md", "exec")
        elif language == "bash":
            shlex.split(code, comments=True)
