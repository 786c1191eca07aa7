import pytest

import tfvae
from tfvae.common.errors import InputError
from tfvae.training.model_card import write_model_card


def test_a_card_says_what_the_model_is_and_how_good(vae, tmp_path):
    folder = tmp_path / "digits"
    (folder / "card").mkdir(parents=True)
    (folder / "card" / "training_curves.png").write_bytes(b"")
    arguments = {
        "data": "1,797 handwritten digits.",
        "numbers": {"elbo": -20.25, "log_likelihood": -19.5, "log_likelihood_stderr": 0.125},
        "command": "tfvae train --dataset digits",
    }
    path = write_model_card(vae, folder, **arguments)
    assert path == folder / "card" / "README.md"
    text = path.read_text()
    for expected in (
        "# digits\n",
        "28 x 28 x 1 images with 5 latent dimensions",
        f"{vae.encoder.count_params():,} parameters in the encoder",
        "1,797 handwritten digits.",
        "| elbo | -20.25 |",
        "| log_likelihood | -19.50 ± 0.12 |",
        "```bash\ntfvae train --dataset digits\n```",
        f"tfvae {tfvae.__version__}, Python 3.",
        "tensorflow 2.",
        "![training curves](training_curves.png)",
    ):
        assert expected in text
    assert "stderr" not in text
    with pytest.raises(InputError, match="is there already"):
        write_model_card(vae, folder, **arguments)
    write_model_card(vae, folder, **{**arguments, "data": "Others."}, overwrite=True)
    assert "Others." in path.read_text()
