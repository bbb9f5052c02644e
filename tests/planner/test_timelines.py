"""The pictures below are those of ``runtime.schedule``'s docstring, drawn."""

import re
from xml.etree import ElementTree

import pytest

import runtime.schedule
from planner.timeline_picture import COLOURS, grid, svg
from planner.timelines import faults, predicted_timeline, unit_timeline
from runtime.errors import UserInputError
from runtime.records import TimelineEvent
from runtime.schedule import Lane
from tests.manifests import make_manifest
from tests.planner.profiles import make_layer, make_profile

SVG = "{http://www.w3.org/2000/svg}"


def plan(schedule, micro_batches=5, replicas=(1, 1, 1), **options):
    return make_manifest(
        layers=[1] * len(replicas),
        replicas=list(replicas),
        schedule=schedule,
        global_batch_size=micro_batches,
        micro_batch_size=1,
        **options,
    )


def drawn(manifest, width=80, rows=40):
    return grid(unit_timeline(manifest), cell_s=1.0, width=width, rows=rows)


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
def test_the_docstring_shows_what_is_drawn(schedule):
    pictures = re.findall(r"    (stage \d   (?:[FBU]\d? ?|\. +)+)", runtime.schedule.__doc__)
    wanted = dict(zip(["gpipe", "1f1b"], [pictures[:3], pictures[3:]], strict=True))[schedule]
    found = drawn(plan(schedule)).splitlines()
    assert [line.rstrip(" .") for line in found] == [line.rstrip(" .") for line in wanted]


def test_replicas_have_rows_and_a_recomputed_backward_two_cells():
    manifest = plan("1f1b", micro_batches=2, replicas=(1, 2), recompute=[True, False])
    assert drawn(manifest).splitlines() == [
        "stage 0     F0 F1 .  B0 B0 B1 B1 U",
        "stage 1.0   .  F0 B0 .  R  U  .  .",
        "stage 1.1   .  .  F1 B1 R  U  .  .",
    ]


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_a_grid_keeps_to_its_width_and_says_what_it_leaves_out(width):
    lines = drawn(plan("eager_1f1b", micro_batches=12, replicas=(1, 3, 1)), width=width, rows=4).splitlines()
    assert all(len(line) <= width for line in lines[:-1])
    assert all(line.endswith("…") for line in lines[:-1]) is (width < 120)
    assert lines[-1] == "… and 1 more workers"


def test_short_passes_show_their_kind_in_proportion():
    def event(instruction, start_s, end_s):
        return TimelineEvent(
            stage=0, replica=0, iteration=0, lane=Lane.COMPUTE, instruction=instruction, start_s=start_s, end_s=end_s
        )

    events = [event("F0", 0.0, 2.0), event("B0", 3.0, 7.0), event("U", 7.0, 7.1)]
    assert grid(events, cell_s=0.5, width=80, rows=9) == "stage 0   FFFF..BBBBBBBB"
    assert grid(events, cell_s=1.0, width=80, rows=9) == "stage 0   FF.BBBB"
    assert grid([*events, event("F1", 7.2, 9.0)], cell_s=1.0, width=80, rows=9) == "stage 0   FF.BBBBFF"


def test_svg_has_a_bar_for_each_instruction():
    events = unit_timeline(plan("1f1b", replicas=(1, 2, 1)))
    root = ElementTree.fromstring(svg(events, title="a < b & c", unit="units"))
    titles = [title.text.split(":")[0] for title in root.iter(f"{SVG}title")]
    assert sorted(titles) == sorted(event.instruction for event in events)
    bars = [rect for rect in root.iter(f"{SVG}rect") if rect.find(f"{SVG}title") is not None]
    assert {bar.get("fill") for bar in bars} == set(COLOURS.values())
    assert "a < b & c" in [text.text for text in root.iter(f"{SVG}text")]
    right = float(root.get("width"))
    assert all(float(bar.get("x")) + float(bar.get("width")) <= right for bar in bars)


def test_a_predicted_timeline_needs_the_plans_own_profile():
    manifest = plan("eager_1f1b", replicas=(1, 2, 1))
    profile = make_profile(
        [make_layer(), make_layer(), make_layer()], micro_batch_size=manifest.training.micro_batch_size
    )
    with pytest.raises(UserInputError, match="not the one that the plan was made from"):
        predicted_timeline(manifest, profile)
    own = manifest.model_copy(update={"hashes": manifest.hashes.model_copy(update={"profile": profile.sha256})})
    events = predicted_timeline(own, profile)
    assert {event.lane for event in events} == set(Lane)
    assert {event.iteration for event in events} == {0}
    assert faults(own) == []
