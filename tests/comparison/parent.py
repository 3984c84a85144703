"""Conducts the small comparison of a folder of data, as a command would; killed by tests.

python parent.py DATA OUT WORKERS
"""

import sys

import small

from sensorium.comparison import conduct
from sensorium.errors import UserError


def main() -> int:
    data, out, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    try:
        conduct.compare(small.plan(data, budget="40-steps"), out, workers=workers)
    except UserError as error:
        print(type(error).__name__, "; ".join(error.lines), flush=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
