"""Install the Debian packages that the tests need, or stop and name them.

`make test` runs this before anything else, with the standard library alone.
"""

import os
import shutil
import subprocess
import sys

NEEDED = {"chromium": ("chromium", "chromium-browser", "google-chrome"), "curl": ("curl",)}
"""Packages, each with the commands of which one must be there."""


def main() -> None:
    missing = [name for name, commands in NEEDED.items() if not any(map(shutil.which, commands))]
    if not missing:
        return
    apt = _apt()
    if apt is None:
        sys.exit(f"The tests need these packages, please install them: {', '.join(missing)}")
    print(f"Installing for the tests: {', '.join(missing)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
        subprocess.run([*apt, *arguments], check=True, env=environment, stdout=subprocess.DEVNULL)


def _apt() -> list[str] | None:
    """Return how to call apt-get, when this user may without being asked."""
    if shutil.which("apt-get") is None:
        return None
    if os.geteuid() == 0:
        return ["apt-get", "--quiet"]
    asking = ["sudo", "--non-interactive", "true"]
    if shutil.which("sudo") and subprocess.run(asking, check=False).returncode == 0:
        return ["sudo", "--non-interactive", "apt-get", "--quiet"]
    return None


if __name__ == "__main__":
    main()
