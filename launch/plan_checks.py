"""Preflight of a plan: that it can be read, is that of the source beside it, and what it asks for and costs."""

from pathlib import Path

from launch.preflight import Check, failed, passed, skipped
from launch.staging import source_folder
from runtime.errors import UserInputError
from runtime.manifest import Manifest, load_manifest

NO_PLAN = "name a manifest to have it looked at"
_RAISED_NETWORK_PLATFORM = "aws-lambda-scaled"
_LOCAL_PLATFORM = "embedded"


def plan_checks(path: Path | None) -> tuple[Manifest | None, list[Check]]:
    """The manifest at ``path``, None when there is none or it cannot be read, and the checks."""
    names = ("plan", "source", "bandwidth", "price", "budget")
    if path is None:
        return None, [skipped(name, NO_PLAN) for name in names]
    try:
        manifest = load_manifest(path)
    except UserInputError as error:
        checks = [failed("plan", str(error), "Plan again with `funcpipe plan`.")]
        return None, checks + [skipped(name, "needs a plan that can be read") for name in names[1:]]
    stages, workers = len(manifest.stages), manifest.workers
    plan = passed("plan", f"{manifest.name}: {stages} stages, {workers} workers, {manifest.segments} segments")
    return manifest, [plan, _source(manifest, path), _bandwidth(manifest), _price(manifest), _budget(manifest)]


def _source(manifest: Manifest, path: Path) -> Check:
    try:
        folder = source_folder(manifest, path)
    except UserInputError as error:
        return failed("source", str(error), "Name the source planned for, or plan again with `funcpipe plan`.")
    return passed("source", f"{folder} is what was planned for")


def _bandwidth(manifest: Manifest) -> Check:
    """Of the functions' links. AWS tells by no API what a function's is."""
    if manifest.platform == _RAISED_NETWORK_PLATFORM:
        return skipped(
            "bandwidth",
            f"planned for {manifest.platform}: the network quota that AWS raises on request, for functions outside a "
            "VPC, and tells by no API",
            "See to it that it was raised for this account and region, or plan with --platform aws-lambda.",
        )
    if manifest.platform == _LOCAL_PLATFORM:
        return skipped(
            "bandwidth", "planned for the embedded AWS; time and price of the plan are not those of an account"
        )
    return passed("bandwidth", f"planned for {manifest.platform}, which needs no raised quota")


def _price(manifest: Manifest) -> Check:
    predicted = manifest.predicted
    listed = manifest.spending.listed
    priced = f"list prices of {listed.region}" if listed else "list prices"
    found = f"{predicted.usd_total:.4g} USD predicted for {manifest.iterations} iterations, {predicted.total_s:.0f} s"
    return passed("price", f"{found} ({priced}; `funcpipe explain` itemises)")


def _budget(manifest: Manifest) -> Check:
    """Of the run itself, which stops before it would cost more; AWS's own budgets are another matter."""
    spending, predicted = manifest.spending, manifest.predicted.usd_total
    if spending.budget_usd is None:
        return skipped(
            "budget", "none: the run goes on until it is trained", "Set run.budget_usd in the job, and plan."
        )
    worst = f"the run stops before {spending.budget_usd:.4g} USD, or at worst {spending.segment_at_most_usd:.4g} later"
    if predicted > spending.budget_usd:
        return failed(
            "budget",
            f"{worst}; {predicted:.4g} USD are predicted for all of it",
            "Raise run.budget_usd in the job, or train less, and plan again.",
        )
    return passed("budget", worst)
