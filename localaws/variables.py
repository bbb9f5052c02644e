"""What AWS clients and the CDK command need in their environment to reach the emulator, and nothing else."""

import os
from collections.abc import Mapping
from pathlib import Path

REGION = "us-east-1"
ACCOUNT = "0" * 12
"""MiniStack's account for any access key that is no account number."""

UNSET = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_CA_BUNDLE", "AWS_SESSION_TOKEN", "AWS_ROLE_ARN")
"""Settings of a real account that would win over ours, or break a plain connection."""


def aws_variables(endpoint: str, cdk_home: Path, jsii_cache: Path) -> dict[str, str]:
    """Variables to set.

    Args:
        cdk_home: one emulator's own: the CDK command remembers account numbers there.
        jsii_cache: where CDK unpacks its libraries, by default in the user's home; worth keeping.
    """
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ENDPOINT_URL_S3": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "CDK_HOME": str(cdk_home),
        "JSII_RUNTIME_PACKAGE_CACHE_ROOT": str(jsii_cache),
        "CDK_DISABLE_CLI_TELEMETRY": "true",
        "CDK_DISABLE_VERSION_CHECK": "1",
        "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "20",
        "JSII_SILENCE_WARNING_DEPRECATED_NODE_VERSION": "1",
        "JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION": "1",
        "NODE_NO_WARNINGS": "1",
    }


def with_emulator(base: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    """``base`` with the emulator's variables set and those that get in their way removed."""
    kept = {
        name: value for name, value in base.items() if name not in UNSET and not name.startswith("AWS_ENDPOINT_URL")
    }
    return {**kept, **variables}
