from tfvae.training import report


def results(**others):
    names = ("elbo", "reconstruction", "kl", "log_likelihood", "posterior_gap", "bits_per_dim")
    numbers = {name: float(place) for place, name in enumerate(names)}
    numbers |= {f"{name}_stderr": 0.125 for name in names}
    return numbers | {
        "num_images": 10_000,
        "num_importance_samples": 5000,
        "effective_sample_size_median": 81.4,
        "active_units": 7,
        "kl_per_dimension": [0.0] * 32,
        "settings": {"dataset": "mnist", "split": "test"},
        **others,
    }


def test_every_number_has_its_error():
    lines = report.lines(results())
    assert "10,000 images of mnist's test split" in lines[0]
    assert lines[1].split() == ["ELBO", "0.00", "±", "0.12"]
    assert lines[4].split()[-3:] == ["3.00", "±", "0.12"]
    assert lines[7].split()[-3:] == ["7", "of", "32"]
    assert "5,000 importance samples" in lines[8]
    assert len({line.index("±") for line in lines[1:6]}) == 1
    assert max(map(len, lines)) <= 100


def test_one_image_has_no_error():
    assert report.lines(results(elbo_stderr=None))[1].endswith("± ?")
