from datetime import UTC, datetime

import pytest

from launch.registry import Registry, RunEntry, check_run_id, default_run_id
from runtime.errors import FuncpipeError, UserInputError


def entry(run: str) -> RunEntry:
    return RunEntry(
        run=run,
        kind="local",
        artifacts_url="file:///somewhere",
        manifest_path="manifest.json",
        manifest_sha256="a" * 64,
        started_at=1.0,
    )


def test_an_entry_comes_back_as_it_was(tmp_path):
    Registry(tmp_path).add(entry("first"))
    assert Registry(tmp_path).get("first") == entry("first")


def test_an_unknown_run_is_answered_with_the_known_ones(tmp_path):
    runs = Registry(tmp_path)
    runs.add(entry("second"))
    runs.add(entry("first"))
    with pytest.raises(UserInputError, match=r"no run 'third' .*known: first, second"):
        runs.get("third")


def test_without_any_run_the_message_says_how_to_make_one(tmp_path):
    with pytest.raises(UserInputError, match=r"none yet.*funcpipe run"):
        Registry(tmp_path).get("first")


def test_an_id_is_used_once(tmp_path):
    runs = Registry(tmp_path)
    runs.check_unused("first")
    runs.add(entry("first"))
    with pytest.raises(UserInputError, match=r"'first' has been used"):
        runs.check_unused("first")
    with pytest.raises(UserInputError, match=r"'first' has been used"):
        runs.add(entry("first"))


def test_a_removed_run_frees_its_id(tmp_path):
    runs = Registry(tmp_path)
    runs.add(entry("first"))
    runs.remove("first")
    assert runs.known() == []
    runs.add(entry("first"))


@pytest.mark.parametrize("bad", ["", "Upper", "../escape", "a/b", "-a", "a-", "x" * 49, "a b", "ü"])
def test_what_is_no_run_id_is_refused_before_it_names_a_file(tmp_path, bad):
    with pytest.raises(UserInputError, match="run id"):
        Registry(tmp_path).get(bad)


def test_a_damaged_entry_is_named(tmp_path):
    runs = Registry(tmp_path)
    runs.add(entry("first"))
    path = tmp_path / ".funcpipe" / "runs" / "first.json"
    path.write_text('{"run": "first"}')
    with pytest.raises(FuncpipeError, match=r"first\.json: kind"):
        runs.get("first")


@pytest.mark.parametrize("name", ["a", "digits", "a" * 32, "a" * 26 + "-bcde"])
def test_default_ids_are_run_ids_and_differ(name):
    now = datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)
    ids = {default_run_id(name, now) for _ in range(20)}
    assert len(ids) > 15
    for run in ids:
        assert check_run_id(run) == run
        assert "-20270102-030405-" in run and "--" not in run


def test_a_run_is_held_for_as_long_as_its_owner_says(tmp_path):
    runs = Registry(tmp_path)
    runs.add(entry("first"))
    assert not runs.is_held("first")
    with runs.held("first"):
        assert Registry(tmp_path).is_held("first")
    assert not runs.is_held("first")
