"""Roll out a built archive: `python upload_model.py`. The version before serves until the new one is ready."""

import sys

import commands
import settings
from delivery.publish import built_archive
from delivery.rollout import roll_out
from errors import MarinaError

USAGE = """\
usage: python upload_model.py served_model=NAME [hydra overrides]

  roll out model_mars/NAME.mar; the version before serves until the new one is ready
"""


def main(overrides: list[str]) -> int:
    """Roll out `model_mars/NAME.mar` of the chosen model; return the exit status."""
    try:
        loaded = settings.load(overrides, registering=True)
        outcome = roll_out(built_archive(loaded, overrides), loaded)
    except MarinaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if outcome.plan:
        print("\n".join(f"would {step}" for step in outcome.plan))
        print(f"{outcome.model}: dry run, nothing was changed")
        return 0
    if outcome.observed is not None:
        print(f"{outcome.model} {outcome.observed} was tried out only; {outcome.version} serves as before")
        return 0
    how = "serves now" if outcome.changed else "serves already, with these settings"
    print(f"{outcome.model} {outcome.version} {how}{outcome.remarks}")
    return 0


if __name__ == "__main__":
    sys.exit(commands.run(main, USAGE, registering=True))
