"""make lint: the rules of the house, each tried first on samples that must pass and samples that must fail.

A sample is a small tree: samples/CHECK/good-* give no finding, samples/CHECK/bad-* exactly one each, so a check that
has gone blind, or fails for another reason than it should, is noticed.
"""

import argparse
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import bounds  # noqa: E402
import documents  # noqa: E402
import format  # noqa: E402
import headers  # noqa: E402
import layers  # noqa: E402
import scripts  # noqa: E402
import style  # noqa: E402
import symbols  # noqa: E402
import waivers  # noqa: E402
from tree import Tree, sample_tree  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
CHECKS = [layers, symbols, bounds, headers, style, format, scripts, documents]


def problem_of_sample(check, directory):
    """None when the check does to this sample what it must."""
    findings = list(check.run(sample_tree(directory)))
    name = os.path.relpath(directory, HERE)
    if os.path.basename(directory).startswith("good"):
        return f"{check.NAME} complains about {name}: {findings[0]}" if findings else None
    return None if len(findings) == 1 else f"{check.NAME} finds {len(findings)} things in {name}, where there is one"


def self_test(check):
    """The number of samples tried, and what was wrong with them."""
    folder = os.path.join(HERE, "samples", check.NAME)
    samples = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    kinds = {name.split("-")[0] for name in samples}
    if kinds != {"good", "bad"}:
        return 0, [f"{check.NAME} needs samples named good-... and bad-..., and nothing else"]
    problems = [problem_of_sample(check, os.path.join(folder, name)) for name in samples]
    return len(samples), [problem for problem in problems if problem]


def main():
    parser = argparse.ArgumentParser(description="Checks the rules of the house.")
    parser.add_argument("--results", help="write the counts to this file as JSON")
    parser.add_argument("--only", help="one check alone")
    args = parser.parse_args()
    passed = failed = 0
    list_of_waivers = waivers.Waivers(ROOT)
    tree = Tree(ROOT)
    for check in CHECKS:
        if args.only and check.NAME != args.only:
            continue
        tried, problems = self_test(check)
        problems += [str(finding) for finding in check.run(tree) if not list_of_waivers.covers(finding)]
        for problem in problems:
            print(problem)
        print(f"lint: {check.NAME:<9} {'FAILED, ' + str(len(problems)) if problems else 'ok':<12} ({tried} samples)")
        failed += bool(problems)
        passed += tried + 1 - bool(problems)
    stale = [] if args.only else list_of_waivers.unused()
    for text in stale:
        print(text)
    failed += bool(stale)
    passed += not stale
    if args.results:
        with open(args.results, "w", encoding="utf-8") as file:
            json.dump({"passed": passed, "failed": failed}, file)
    if not args.results:
        print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
