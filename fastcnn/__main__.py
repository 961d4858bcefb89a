"""``python -m fastcnn`` and the console script ``fastcnn``: they import nothing that takes time before `main` runs."""

import sys


def main() -> int:
    """Run one command; the exit status. The imports take a tenth of a second, and Ctrl-C may come during them."""
    try:
        from fastcnn import interrupt, streams

        streams.open_missing()
        interrupt.leave_at_once()
        from fastcnn import cli

        try:
            return cli.main()
        finally:
            interrupt.ignore_from_now_on()
    except KeyboardInterrupt:
        print("fastcnn: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
