"""``funcpipe schedule``: who does what when, as a picture."""

import argparse
import shutil
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cli.screen import Screen
    from runtime.manifest import Manifest

ROWS = 40
"""Workers of the text grid; the SVG has all."""

EXAMPLE = """\
example:
  funcpipe schedule build/digits/manifest.json
  funcpipe schedule build/digits/manifest.json --profile build/digits/profile.json --svg schedule.svg
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "schedule",
        help="draw the order of forward and backward passes of a plan",
        description="Checks that a plan's workers cannot wait for each other without end, and draws one iteration: "
        "each pass as one unit of time, or with --profile as it is predicted, transfers included.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("manifest", type=Path, metavar="MANIFEST", help="as `funcpipe plan` wrote it")
    parser.add_argument("--profile", type=Path, help="that the plan was made from: draw predicted seconds")
    parser.add_argument("--platform", metavar="FILE", help="the plan's platform, where that is a file")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="also write the picture as SVG, with all lanes")
    parser.set_defaults(handler=schedule)


def schedule(args: argparse.Namespace, screen: "Screen") -> int:
    from cli.files import check_output, write_text
    from planner.platforms import find_platform
    from planner.profile_format import load_profile
    from planner.timeline_picture import grid, svg
    from planner.timelines import faults, full_batch, predicted_timeline, unit_timeline
    from runtime.errors import FuncpipeError
    from runtime.manifest import load_manifest
    from runtime.schedule import kept_at_once

    manifest = load_manifest(args.manifest)
    if found := faults(manifest):
        raise FuncpipeError("the workers' programs do not fit together:\n" + "\n".join(found))
    if args.profile:
        platform = None if args.platform is None else find_platform(args.platform)
        events = predicted_timeline(manifest, load_profile(args.profile), platform)
    else:
        events = unit_timeline(manifest)
    micro_batches = full_batch(manifest)
    replicas = [stage.replicas for stage in manifest.stages]
    kept = [kept_at_once(manifest.schedule, stage, replicas, micro_batches) for stage in range(len(replicas))]
    head = f"{manifest.name}: {manifest.schedule.value}, {len(replicas)} stages, {micro_batches} micro-batches"
    unit = "s" if args.profile else "units"
    if args.svg:
        check_output(args.svg, args.manifest.parent / manifest.package.source, "--svg")
        write_text(args.svg, svg(events, title=head, unit=unit), "--svg")
        screen.info(f"wrote {args.svg}")
    width = max(40, shutil.get_terminal_size((80, 24)).columns)
    cell_s = max(event.end_s for event in events) / (width - 16) if args.profile else 1.0
    legend = "F forward, B backward, R average over replicas, U optimiser step, . nothing to compute; "
    legend += f"one character is {cell_s:.3g} s" if args.profile else "one cell is one pass"
    notes = [line for text in (legend, _kept(manifest, kept)) for line in wrap(text, width)]
    picture = [head, "", grid(events, cell_s=cell_s, width=width, rows=ROWS), "", *notes]
    document = {
        "schedule": manifest.schedule.value,
        "micro_batches": micro_batches,
        "unit": unit,
        "stages": [
            {"replicas": stage.replicas, "kept_micro_batches": count, "recompute": stage.recompute}
            for stage, count in zip(manifest.stages, kept, strict=True)
        ],
        "timeline": [event.model_dump(mode="json") for event in events],
    }
    screen.result(document, "\n".join(picture))
    return 0


def _kept(manifest: "Manifest", kept: list[int]) -> str:
    counts = ", ".join(
        f"{count} (inputs only)" if stage.recompute else str(count)
        for stage, count in zip(manifest.stages, kept, strict=True)
    )
    return f"micro-batches that a worker keeps from forward to backward, by stage: {counts}"
