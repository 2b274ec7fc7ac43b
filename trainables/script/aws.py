"""Names and regions in the form of AWS, which is never called."""

import os
from collections.abc import Mapping
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from contextlib import suppress

REGION = "us-east-1"
"""The region where nobody has configured another."""
ACCOUNT = "000000000000"


def arn(service: str, resource: str, region: str = REGION) -> str:
    """Return the ARN of a resource, such as `training-job/run-001`."""
    return f"arn:aws:{service}:{region}:{ACCOUNT}:{resource}"


def region_of(environment: Mapping[str, str]) -> str:
    """Return the region that AWS's own tools would use in that environment, or the default."""
    named = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    return named or _configured_region(environment) or REGION


def _configured_region(environment: Mapping[str, str]) -> str | None:
    home = environment.get("HOME", "/")
    file = environment.get("AWS_CONFIG_FILE") or os.path.join(home, ".aws/config")  # noqa: PTH118
    profile = environment.get("AWS_PROFILE", "default")
    config = ConfigParser(interpolation=None, strict=False)
    with suppress(OSError, ConfigParserError, UnicodeDecodeError):
        config.read(file, encoding="utf-8")
    section = profile if profile == "default" else f"profile {profile}"
    return config.get(section, "region", fallback=None)
