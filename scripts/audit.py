"""Whether a dependency has a known vulnerability, by pip-audit.

    make audit
    make audit ARGS="--ignore-vuln GHSA-.."

Exit code 1: one has. Exit code 0: none has, or nobody could be asked, which is said.
"""

import json
import subprocess
import sys

SECONDS = 25
"""After which the service counts as one that cannot be reached."""


def say(text: str) -> None:
    """A line to whoever reads the log."""
    sys.stderr.write(f"audit: {text}\n")


def main(words: list[str]) -> int:
    """Ask, and say what was found."""
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off"]
    command += ["--timeout", "5", *words]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        packages = json.loads(found.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        say(f"NOT DONE: the vulnerability service did not answer within {SECONDS} s")
        return 0
    except (ValueError, KeyError):
        told = (found.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]
        say(f"NOT DONE: {told[:300]}")
        return 2 if found.returncode == 2 or "No module named" in found.stderr else 0
    unknown = [each["name"] for each in packages if "vulns" not in each]
    broken = [each for each in packages if each.get("vulns")]
    for each in broken:
        for fault in each["vulns"]:
            fixed = ", ".join(fault["fix_versions"]) or "no version yet"
            say(f"{each['name']} {each['version']}: {fault['id']}, mended in {fixed}")
    if len(unknown) == len(packages):
        say(f"NOT DONE: the vulnerability service knows none of {len(packages)} packages")
    else:
        say(f"{len(packages) - len(unknown)} packages asked for, {len(broken)} vulnerable")
        say(f"not known to the service: {', '.join(unknown) or 'none'}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
