"""Runs PyMongo's runner of the unified tests on the bench's deployments, and judges tests/spec/server_cannot.txt.

    referee.py BENCH SPEC_TESTS_DIR LIST [--suite NAME]... [--deployment 'TOPOLOGY VERSION']... [--results FILE]

BENCH is the program mongotls-testbench. A case may be in LIST only if PyMongo fails it on the same deployment: then
the server is the reason, not the driver. The exit status is 1 if PyMongo passes or does not run a listed case, or if an
entry matches no case. FILE gets a JSON line for each case and deployment.

`make referee` calls it with the Python of get-referee.sh, in the folder `source` there.
"""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import unittest
import warnings

DEPLOYMENTS = [
    "single 8.2",
    "replicaset 8.2",
    "sharded 8.2",
    "load-balanced 8.2",
    "single 4.2",
    "replicaset 4.2",
    "sharded 4.2",
]
# PyMongo finds its own skips by these names.
NAMES = {"client-side-operations-timeout": "csot"}
# Files that test a runner, or need what no deployment has.
EXCLUDED = ("client-side-encryption/", "unified-test-format/tests/invalid", "unified-test-format/tests/valid-fail")
CASE_LIMIT = 90  # seconds
# Failures of PyMongo's runner itself. They prove nothing about the server.
OWN_LIMITS = (
    "object is not callable",
    "Unsupported operation",
    "Unknown topologies",
    "is not an instance of",
    "got an unexpected keyword argument",
    "raw_data",
)


def case_files(folder, suites):
    """The files of the unified format below `folder`, with their content."""
    for path in sorted(folder.rglob("*.json")):
        name = path.relative_to(folder).as_posix()
        if name.startswith(EXCLUDED) or (suites and name.split("/")[0] not in suites):
            continue
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            continue
        if isinstance(content, dict) and "schemaVersion" in content and isinstance(content.get("tests"), list):
            yield name, path


def run_cases(folder, suites, others):
    """Runs all cases on the deployment that the environment names; prints a JSON line for each."""
    import pymongo.common
    from bson import json_util

    # PyMongo refuses MongoDB 4.2, but nothing that the cases use depends on that.
    pymongo.common.MIN_SUPPORTED_WIRE_VERSION = 8
    from test import client_context
    from test.unified_format import UnifiedSpecTestMeta, UnifiedSpecTestMixinV1

    warnings.simplefilter("ignore")
    # The lines are the only output: the runner prints, too.
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    client_context.init()
    if not client_context.connected:
        sys.exit(f"PyMongo cannot connect: {client_context.connection_attempt_info()}")
    if client_context.is_mongos and others:
        # PyMongo expects the second router on the next port.
        client_context.mongoses = [(host, int(port)) for host, port in (other.split(":") for other in others)]

    def too_long(*_):
        raise TimeoutError(f"the case took more than {CASE_LIMIT} s")

    signal.signal(signal.SIGALRM, too_long)
    for name, path in case_files(folder, suites):
        options = json_util.JSONOptions(tz_aware=False)
        spec = json_util.loads(path.read_text(encoding="utf-8"), json_options=options)
        suite, *_, stem = name.removesuffix(".json").split("/")
        title = "".join(part.title() for part in f"{NAMES.get(suite, suite)}-{stem}".replace(".", "-").split("-"))
        base = UnifiedSpecTestMeta("Base", (), {"TEST_SPEC": spec, "EXPECTED_FAILURES": []})
        members = {"TEST_PATH": str(path.parent), "__module__": f"test.test_{NAMES.get(suite, suite)}"}
        cases = type(f"Test{title}", (UnifiedSpecTestMixinV1, base), members)
        descriptions = {}
        for case in spec["tests"]:
            text = case["description"]
            descriptions["test_" + text.strip(". ").replace(" ", "_").replace(".", "_")] = text
        for method, description in descriptions.items():
            # A result for each: otherwise `unittest` sets the class up only once, and an error in it hides the others.
            result = Result()
            start = time.monotonic()
            signal.alarm(CASE_LIMIT)
            unittest.TestSuite([cases(method)]).run(result)
            signal.alarm(0)
            outcome, why = result.outcome
            line = {"file": name, "description": description, "outcome": outcome, "why": why}
            line["seconds"] = round(time.monotonic() - start, 3)
            lines.write(json.dumps(line) + "\n")


class Result(unittest.TestResult):
    """The outcome of one case."""

    outcome = ("passed", "")

    def _failed(self, _, error):
        why = f"{error[0].__name__}: {str(error[1])[:300]}"
        is_own = any(limit in why for limit in OWN_LIMITS)
        self.outcome = ("skipped", f"PyMongo's runner cannot: {why}") if is_own else ("failed", why)

    addError = addFailure = _failed

    def addSubTest(self, test, subtest, error):
        if error is not None:
            self._failed(test, error)

    def addSkip(self, _, reason):
        self.outcome = ("skipped", reason)


def run_deployment(deployment, arguments):
    """The results of all cases on a deployment, by file and description."""
    topology, version = deployment.split()
    command = [arguments.bench, "deploy", "--topology", topology, "--version", version]
    bench = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        one = bench.stdout.readline().removeprefix("one ").strip()
        all_of_them = bench.stdout.readline().removeprefix("all ").strip()
        if not all_of_them:
            sys.exit(f"referee: {deployment} does not start")
        hosts = [uri.removeprefix("mongodb://").split("/")[0].split(",") for uri in (one, all_of_them)]
        host, port = hosts[0][0].split(":")
        environment = dict(os.environ, DB_IP=host, DB_PORT=port, DISABLE_FLAKY="1")
        if topology == "load-balanced":
            environment.update(TEST_LOAD_BALANCER="1", SINGLE_MONGOS_LB_URI=one, MULTI_MONGOS_LB_URI=all_of_them)
        command = [sys.executable, __file__, "--cases", str(arguments.folder), ",".join(arguments.suite)]
        others = hosts[1] if topology == "sharded" else []
        child = subprocess.run([*command, *others], env=environment, stdout=subprocess.PIPE, text=True, check=False)
        results = {}
        for line in child.stdout.splitlines():
            case = json.loads(line)
            results[case["file"], case["description"]] = case
        if child.returncode != 0:
            sys.exit(f"referee: PyMongo's runner ended with {child.returncode} on {deployment}")
        return results
    finally:
        bench.stdin.close()
        bench.wait()


def read_list(path):
    """The entries of the list, with their line numbers."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = [field.strip() for field in line.split(" | ")]
        if len(fields) != 4 or not all(fields):
            sys.exit(f"referee: {path}:{number}: expected four fields separated by ' | '")
        yield number, fields


def judge(entries, results, arguments):
    """Prints the disagreements; returns their number."""
    wrong = 0
    listed = set()
    for number, (file, description, deployment, _) in entries:
        if arguments.suite and file.split("/")[0] not in arguments.suite:
            continue
        asked = results if deployment == "*" else [deployment]
        outcomes = {name: results[name].get((file, description)) for name in asked if name in results}
        listed.update((name, file, description) for name in outcomes)
        known = {name: case["outcome"] for name, case in outcomes.items() if case is not None}
        if outcomes and not known:
            verdict = "there is no such case"
        elif "passed" in known.values():
            verdict = "PyMongo passes it on " + ", ".join(sorted(n for n, o in known.items() if o == "passed"))
        elif known and "failed" not in known.values():
            reasons = {outcomes[name]["why"] for name in known}
            verdict = "PyMongo does not run it: " + "; ".join(sorted(reasons))
        else:
            continue
        wrong += 1
        print(f"WRONG ENTRY, line {number}: {file}: {description} ({deployment}): {verdict}")
    for name, cases in results.items():
        for (file, description), case in cases.items():
            if case["outcome"] == "failed" and (name, file, description) not in listed:
                print(f"not listed, but PyMongo fails: {file}: {description} ({name}): {case['why'].splitlines()[0]}")
    return wrong


def main():
    if sys.argv[1:2] == ["--cases"]:
        # A folder, suites, and the routers.
        sys.path.insert(0, os.getcwd())
        suites = [suite for suite in sys.argv[3].split(",") if suite]
        return run_cases(pathlib.Path(sys.argv[2]), suites, sys.argv[4:])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bench")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("list", type=pathlib.Path)
    parser.add_argument("--suite", action="append", default=[])
    parser.add_argument("--deployment", action="append", choices=DEPLOYMENTS, default=[])
    parser.add_argument("--results", type=pathlib.Path)
    arguments = parser.parse_args()
    entries = list(read_list(arguments.list))
    results = {}
    for deployment in arguments.deployment or DEPLOYMENTS:
        results[deployment] = run_deployment(deployment, arguments)
        outcomes = [case["outcome"] for case in results[deployment].values()]
        counts = ", ".join(f"{outcomes.count(kind)} {kind}" for kind in ("passed", "failed", "skipped"))
        print(f"{deployment}: {counts}", flush=True)
    if arguments.results:
        with arguments.results.open("w", encoding="utf-8") as file:
            for deployment, cases in results.items():
                for case in cases.values():
                    file.write(json.dumps({"deployment": deployment, **case}) + "\n")
    wrong = judge(entries, results, arguments)
    print(f"{len(entries)} entries, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
