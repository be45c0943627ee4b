"""What `ray job submit` runs from a checkout: `sam2ray run` with the same words.

    ray job submit --submission-id label-2026-11-21 --working-dir . -- python jobs/label.py
        s3://bucket/archive s3://bucket/masks --config jobs/all_masks

A submission id of your own is a lock: a second submission with the same id is refused, for ever.
Where a clock submits, jobs/scheduled.py counts them.
"""

import sys

from sam2ray.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "run")
    main()
