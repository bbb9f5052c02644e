import json

import pytest

from bench.__main__ import main


def test_it_times_the_whole_command_and_counts_what_it_made(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["synth", "--stages", "1", "12", "--replicas", "1", "--repeats", "1", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    figures = answer["figures"]
    assert figures["synth_1_stages_s"] > 0 and figures["synth_12_stages_s"] > 0
    assert figures["synth_12_stages_resources"] > figures["synth_1_stages_resources"] > 0
    assert figures["synth_12_stages_template_bytes"] > figures["synth_1_stages_template_bytes"] > 0
    assert answer["bench"] == "synth" and answer["goals"] == {"synth_12_stages_s": 15.0}
