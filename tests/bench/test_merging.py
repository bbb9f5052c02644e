from bench.merging import Setting, run


def test_a_small_chain_is_merged_and_its_loss_is_bounded():
    told: list[str] = []
    report = run(Setting(layers=12, groups=5, micro_batches=8), told.append)
    figures = report.figures
    assert len(told) == 3, "a line for each price of a second"
    assert figures["merged_12_groups"] == 5 and figures["merged_12_gap"] == 0
    assert 0 < figures["merged_12_loss"] < 0.2
    assert figures["merged_12_least_gain"] >= 0
