"""A segment through the Lambda runtime client, on this very Python and on code laid out as the image's."""

import sys
from pathlib import Path

import pytest

from infra.image_context import write_image_context
from rehearsal.gang import Code, train_segment
from runtime.errors import FuncpipeError
from runtime.manifest import Manifest, load_manifest
from tests.cli.project import write_training_project


def project(folder: Path, **options: object) -> tuple[Manifest, Path, Code]:
    manifest = load_manifest(write_training_project(folder / "project", **options))
    source = folder / "project" / "source"
    write_image_context(folder / "task", manifest.package.requirements, source)
    return manifest, source, Code(Path(sys.executable), folder / "task", "runtime.handler.handler")


def test_every_worker_trains_the_whole_segment(tmp_path: Path) -> None:
    manifest, source, code = project(tmp_path, segment_iterations=3, replicas=[1, 2])
    workers = train_segment(manifest, source, code, tmp_path / "run")
    assert [(worker.event.stage, worker.event.replica) for worker in workers] == [(0, 0), (1, 0), (1, 1)]
    for worker in workers:
        assert (worker.first_iteration, worker.end_iteration) == (0, 3)
    assert all(len(worker.losses) == 3 for worker in workers[1:])


def test_a_workers_failure_is_told_and_not_its_peers_end(tmp_path: Path) -> None:
    manifest, source, code = project(tmp_path, model_args={"fail": True})
    with pytest.raises(FuncpipeError, match=r"of 2 workers failed: stage 1, replica 0.*RuntimeError: layer on"):
        train_segment(manifest, source, code, tmp_path / "run")


def test_a_handler_that_cannot_be_imported_is_told(tmp_path: Path) -> None:
    manifest, source, code = project(tmp_path)
    (code.task_root / "runtime" / "handler.py").write_text("import no_such_module\n")
    with pytest.raises(FuncpipeError, match=r"2 of 2 workers failed: .*no_such_module"):
        train_segment(manifest, source, code, tmp_path / "run")
