from gradmeter.research.study.report.weights import Weight, weight_map


def test_layers_keep_their_order_and_metrics_take_theirs():
    records = [
        {"layer": "conv1", "metric": "max", "mean": "0.5", "sd": "0.1"},
        {"layer": "dense", "metric": "l1", "mean": "-2", "sd": ""},
        {"layer": "dense", "metric": "max", "mean": "0", "sd": "0"},
        {"layer": "", "metric": "entropy", "mean": "1", "sd": "0.25"},
    ]
    weights = weight_map(records)
    assert weights.metrics == ("Absolute norm", "Maximum")
    dropped = Weight("–")  # noqa: RUF001
    assert weights.layers == (
        ("conv1", (dropped, Weight("+0.50", "± 0.10", "rgb(213 94 0 / 0.15)"))),
        ("dense", (Weight("-2.00", "", "rgb(0 114 178 / 0.60)"), Weight("0", "± 0.00", "rgb(0 114 178 / 0.00)"))),
    )
    assert weights.others == (("Entropy", Weight("+1.00", "± 0.25", "rgb(213 94 0 / 0.30)")),)


def test_all_weights_zero_is_no_division_by_zero():
    weights = weight_map([{"layer": "dense", "metric": "l1", "mean": "0", "sd": "0"}])
    assert weights.layers[0][1][0].background.endswith("/ 0.00)")


def test_no_weights_make_an_empty_map():
    assert weight_map([]).layers == ()
