"""Platform files: those of the kit, what they say at a memory size, and how wrong ones are refused."""

import json
import math

import pytest

from planner.graph import Delays
from planner.platform_format import parse_platform
from planner.platforms import FOLDER, PLATFORMS, find_platform, platform_of
from planner.price_list import price_list, regions
from runtime.errors import UserInputError
from runtime.limits import LAMBDA_MAX_MEMORY_MB, S3_GETS_PER_S
from runtime.manifest import Architecture
from runtime.synchronisation import Algorithm
from tests.planner.profiles import make_layer
from tests.planner.test_cost_model import model


def document(name="aws-lambda"):
    return json.loads((FOLDER / f"{name}.json").read_text())


def test_every_file_of_the_kit_is_named_as_it_says():
    assert set(PLATFORMS) == {"aws-lambda", "aws-lambda-scaled", "aws-lambda-express", "embedded", "local"}
    assert all(platform.name == name for name, platform in PLATFORMS.items())
    assert all(price_list(region).region == region for region in regions())


def test_limits_are_named_and_not_repeated():
    assert document()["requests"]["gets_per_s"] == "S3_GETS_PER_S"
    assert PLATFORMS["aws-lambda"].gets_per_s == S3_GETS_PER_S
    assert PLATFORMS["aws-lambda"].vcpus(LAMBDA_MAX_MEMORY_MB) == pytest.approx(5.79, abs=0.01)
    assert PLATFORMS["aws-lambda"].vcpus(1769) == 1.0


def test_a_fresh_link_gives_its_burst_first():
    platform = PLATFORMS["aws-lambda"]
    burst = platform.burst
    assert burst is not None
    assert platform.first_download_s(burst.bytes, 1024) == pytest.approx(burst.bytes / burst.bytes_per_s)
    later = platform.first_download_s(burst.bytes + platform.bandwidth(1024), 1024)
    assert later == pytest.approx(burst.bytes / burst.bytes_per_s + 1.0)
    scaled = PLATFORMS["aws-lambda-scaled"]
    assert scaled.first_download_s(scaled.bandwidth(4096), 4096) == pytest.approx(1.0)


def test_a_file_is_a_platform_too(tmp_path):
    own = {**document(), "name": "mine", "links": {**document()["links"], "upload": [[0, 1e7], [4096, 3e7]]}}
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(own))
    platform = find_platform(str(path))
    assert (platform.name, platform.bandwidth(2048), platform.upload_bandwidth(2048)) == ("mine", 75 * 2**20, 2e7)


def test_what_a_machine_adds_is_a_number_or_told_by_the_rest_before():
    changed = document("local")
    changed["machine"] |= {"instruction_s": 0.002, "object_s": [[0.01, 0.001], [0.1, 0.003]]}
    delays = platform_of(parse_platform(json.dumps(changed), "p.json")).delays
    assert delays == Delays(((0.0, 0.002),), ((0.01, 0.001), (0.1, 0.003)))
    changed["machine"]["object_s"] = 0
    assert platform_of(parse_platform(json.dumps(changed), "p.json")).delays.object_s == ()


@pytest.mark.parametrize(
    ("added", "mentions"),
    [
        ([[0.1, 0.001], [0.1, 0.002]], ["object_s: rests must ascend", "0.1 s, then 0.1 s"]),
        ([[0.1, -0.001]], ["object_s", "-0.001"]),
        ([], ["object_s"]),
        ("fast", ["object_s", "fast"]),
    ],
)
def test_what_a_machine_cannot_add_is_refused(added, mentions):
    changed = document("local")
    changed["machine"]["object_s"] = added
    with pytest.raises(UserInputError) as caught:
        parse_platform(json.dumps(changed), "p.json")
    for text in ["p.json", "docs/platform.md", *mentions]:
        assert text in str(caught.value)


def test_storage_that_bills_bytes_is_priced_by_them():
    layers = [make_layer(output_mib=8), make_layer(output_mib=8)]
    standard, express = (
        model(layers, platform=name).stage(0, 1, 1769, 2, Algorithm.PIPELINED)
        for name in ("aws-lambda", "aws-lambda-express")
    )
    assert (express.puts, express.gets) == (standard.puts, standard.gets)
    prices = price_list().express
    assert prices is not None
    requests = express.puts * prices.usd_per_put + express.gets * prices.usd_per_get
    # 8 micro-batches up and their gradients down; 4 MiB of gradients of each of 2 replicas, and as much of the sums.
    up, down = (8 * 8 + 2 * 4) / 1024, (8 * 8 + 2 * 4) / 1024
    assert express.request_usd == pytest.approx(requests + up * prices.usd_per_gb_up + down * prices.usd_per_gb_down)
    assert standard.request_usd == pytest.approx(standard.puts * 5e-6 + standard.gets * 4e-7)


def inline_prices(**changes):
    listed = json.loads(price_list().model_dump_json(by_alias=True))
    return {**listed, **changes}


def test_prices_may_stand_in_the_file():
    cheap = inline_prices()
    cheap["region"], cheap["lambda"]["usd_per_gb_s"] = "eu-central-1", {"x86_64": 2e-5, "arm64": 1e-5}
    platform = platform_of(parse_platform(json.dumps({**document(), "prices": cheap}), "p.json"))
    assert platform.prices.lambda_.usd_per_gb_s.of(Architecture.ARM64) == 1e-5


def without(*path):
    def change(changed):
        at = changed
        for key in path[:-1]:
            at = at[key]
        del at[path[-1]]

    return change


def put(value, *path):
    def change(changed):
        at = changed
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = value

    return change


def priced(change):
    def both(changed):
        changed["prices"] = inline_prices()
        change(changed)

    return both


@pytest.mark.parametrize(
    ("change", "mentions"),
    [
        (without("prices"), ["prices: Field required"]),
        (priced(without("prices", "lambda")), ["prices.lambda"]),
        (priced(without("prices", "lambda", "usd_per_gb_s", "arm64")), ["prices.lambda.usd_per_gb_s.arm64"]),
        (priced(put(-1.0, "prices", "standard", "usd_per_put")), ["prices.standard.usd_per_put", "-1.0"]),
        (priced(put(math.nan, "prices", "standard", "usd_per_get")), ["NaN"]),
        (priced(put(0, "prices", "lambda", "usd_per_gb_s", "x86_64")), ["usd_per_gb_s.x86_64", "given: 0"]),
        (priced(put("today", "prices", "states", "date")), ["prices.states.date", "today"]),
        (put("mars-1", "prices"), ["'mars-1'", "us-east-1"]),
        (put(3, "prices"), ["prices"]),
        (put(2, "schema_version"), ["schema_version is 2", "reads 1"]),
        (put(True, "schema_version"), ["schema_version is True"]),
        (without("schema_version"), ["schema_version is None"]),
        (put([], "links", "download"), ["links.download"]),
        (put([[0, 5e7], [1024, 4e7]], "links", "download"), ["must not fall", "5e+07", "4e+07", "1024 MB"]),
        (put([[1024, 5e7], [1024, 6e7]], "links", "download"), ["must ascend", "1024 MB, then 1024 MB"]),
        (put([[2048, 5e7], [1024, 6e7]], "links", "upload"), ["upload: memory sizes must ascend"]),
        (put([[0, 0]], "links", "download"), ["links.download.0.1", "given: 0"]),
        (put([[0, math.inf]], "links", "download"), ["Infinity"]),
        (put([[0, 1e7, 1]], "links", "download"), ["links.download.0"]),
        (put([["x", 1e7]], "links", "download"), ["links.download.0.0", "'x'"]),
        (put([[20_000, 1e7]], "links", "download"), ["links.download.0.0", "20000"]),
        (put({"bytes": 1e8, "bytes_per_s": 1.0}, "links", "burst"), ["burst.bytes_per_s", "burst: 1"]),
        (put(-0.1, "requests", "get_latency_s"), ["requests.get_latency_s", "-0.1"]),
        (put("27ms", "requests", "get_latency_s"), ["requests.get_latency_s", "27ms"]),
        (put("S3_PUTS_PER_YEAR", "requests", "puts_per_s"), ["requests.puts_per_s", "S3_PUTS_PER_YEAR", "limits.py"]),
        (put(0, "requests", "puts_per_s"), ["requests.puts_per_s", "given: 0"]),
        (put(-1, "compute", "memory_per_vcpu_mb"), ["compute.memory_per_vcpu_mb", "-1"]),
        (without("compute", "source"), ["compute.source"]),
        (put("Not A Name", "name"), ["name", "Not A Name"]),
        (put("glacier", "storage"), ["storage", "glacier"]),
        (put(1, "surprise"), ["surprise"]),
        (without("start_up"), ["start_up"]),
        (put(1e9, "start_up", "seconds"), ["start_up.seconds"]),
    ],
)
def test_wrong_files_are_refused_with_the_key_both_values_and_the_next_step(change, mentions):
    changed = document()
    change(changed)
    with pytest.raises(UserInputError) as caught:
        parse_platform(json.dumps(changed), "p.json")
    for text in ["p.json", *mentions]:
        assert text in str(caught.value)
    assert "docs/platform.md" in str(caught.value) or "Give a number" in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '"x"', "null", "\udcff", "[" * 100_000])
def test_what_is_no_platform_at_all_is_refused(text):
    with pytest.raises(UserInputError, match=r"p\.json"):
        parse_platform(text.encode("utf-8", "surrogateescape"), "p.json")


def test_express_needs_its_prices():
    listed = inline_prices()
    del listed["express"]
    with pytest.raises(UserInputError, match=r"prices has no express \(region: us-east-1\)"):
        parse_platform(json.dumps({**document("aws-lambda-express"), "prices": listed}), "p.json")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserInputError, match="No such file"):
        find_platform(str(tmp_path / "none.json"))
