"""``python -m benchmarks COMMAND``: what a makefile would hold. Each command prints the asv commands that it runs."""

import argparse
import sys


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks", description="The benchmarks of fastcnn.")
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("smoke", help="run each benchmark once in this environment; fails where one fails")
    run = commands.add_parser("run", help="measure commits in an environment of their own, and keep the results")
    run.add_argument(
        "commits",
        nargs="?",
        default="HEAD^!",
        help="a range as git has it, NEW for those since the newest with results, or HASHFILE:path; default: HEAD^!",
    )
    run.add_argument("--steps", type=int, metavar="N", help="no more than N commits of the range, evenly spread")
    compare = commands.add_parser(
        "compare", help="measure two commits in turn; exit status 1 where the second is slower"
    )
    compare.add_argument("base", nargs="?", default="HEAD^", help="default: HEAD^")
    compare.add_argument("head", nargs="?", default="HEAD", help="default: HEAD")
    compare.add_argument("--report", metavar="FILE", help="write the table to a Markdown file too")
    dashboard = commands.add_parser("dashboard", help="make the site in .asv/html from the results")
    dashboard.add_argument("--serve", action="store_true", help="and serve it at http://127.0.0.1:8080")
    trial = commands.add_parser("trial", help="plant a regression, and see that `compare` finds it and nothing else")
    trial.add_argument("--no-change", type=int, default=5, metavar="N", help="commits without a change; default: 5")
    scaling = commands.add_parser("scaling", help="measure this machine, and say how long a step takes on 1 to 1,024")
    scaling.add_argument("networks", nargs="*", metavar="NETWORK", help="default: lenet vgg_small")
    shaped = commands.add_parser("shaped", help="check what `scaling` says, on links of some speeds; needs root, Linux")
    shaped.add_argument("--buckets", action="store_true", help="instead: the waiting with buckets of other sizes")
    for command in (run, compare, trial):
        command.add_argument(
            "--machine", metavar="NAME", help="the name that the results go by; default: processor, cores"
        )
    return made


def main(arguments: list[str] | None = None) -> int:
    given = parser().parse_args(arguments)
    from benchmarks.tools import commands

    try:
        return commands.COMMANDS[given.command](given)
    except commands.CommandError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
