"""What was measured, as medians and ratios, and as a table for people."""

import statistics

# Aims of the project, in requests per second of server processor time against the better peer
AIMS_PER_CPU = {"4K d1": 1.0, "4K d32": 2.0, "4K d128": 2.0, "128K": 1.5}
AIM_PER_SECOND = 1.0
BUSY = 0.95
NOISY = 0.05


def per_cpu(run):
    """Requests per second of server processor time."""
    return run["requests"] / max(run["server_cpu_s"], 1e-9)


def median(runs, key):
    return statistics.median(run[key] for run in runs)


def others_share(run, processors):
    """The part of the machine that neither server nor load used."""
    rest = run["machine_cpu_s"] - run["server_cpu_s"] - run["client_cpu_s"]
    return max(rest, 0.0) / (run["seconds"] * processors)


def summarize(runs, processors):
    """The medians of one server's runs of one workload."""
    server = statistics.median(run["server_cpu_s"] / run["seconds"] for run in runs)
    client = statistics.median(run["client_cpu_s"] / run["seconds"] for run in runs)
    return {
        "per_second": median(runs, "per_second"),
        "per_cpu_second": statistics.median(per_cpu(run) for run in runs),
        "mib_per_second": median(runs, "mib_per_second"),
        "p50_us": median(runs, "p50_us"),
        "p99_us": median(runs, "p99_us"),
        "max_us": max(run["max_us"] for run in runs),
        "gap_us": median(runs, "gap_us"),
        "server_busy": server,
        "client_busy": client,
        "others": statistics.median(others_share(run, processors) for run in runs),
        "client_is_the_limit": client >= BUSY and server < BUSY,
        "errors": sum(run["errors"] for run in runs),
    }


def ratios(runs, peers):
    """Sluice against the better peer, per repetition (they alternate), then the median."""
    if not runs.get("sluice") or not peers:
        return None
    out = {}
    for key, value in (("per_second", lambda run: run["per_second"]), ("per_cpu_second", per_cpu)):
        better = max(peers, key=lambda peer, value=value: statistics.median(map(value, runs[peer])))
        pairs = zip(runs["sluice"], runs[better])
        out[key] = {"against": better, "ratio": statistics.median(value(ours) / value(theirs) for ours, theirs in pairs)}
    return out


def row(backing, workload, runs, compared, processors):
    """One workload on one backing, all servers."""
    peers = [name for name in compared if name != "sluice" and runs.get(name)]
    return {
        "backing": backing.name,
        "workload": workload.name,
        "servers": {name: summarize(of_server, processors) for name, of_server in runs.items()},
        "not_compared": [name for name in runs if name not in compared],
        "ratios": ratios(runs, peers),
        "aim_per_cpu_second": AIMS_PER_CPU[workload.aim],
        "runs": runs,
    }


def notes_of(name, result, figures):
    notes = []
    if name in result["not_compared"]:
        notes.append("page cache: not compared")
    if figures["client_is_the_limit"]:
        notes.append("the client is the limit")
    if figures["errors"]:
        notes.append(f"{figures['errors']} ERRORS")
    return ", ".join(notes)


def verdict(ratio, aim):
    return f"{ratio:.2f} (aim {aim:g}: {'met' if ratio >= aim else 'MISSED'})"


def row_lines(result):
    yield f"{result['backing']}, {result['workload']}"
    for name, f in result["servers"].items():
        yield (
            f"  {name:8}{f['per_second'] / 1e3:9.1f}{f['per_cpu_second'] / 1e3:11.1f}{f['mib_per_second']:9.0f}"
            f"{f['p50_us']:9.1f}{f['p99_us']:9.1f}{f['gap_us'] / 1e3:9.2f}"
            f"{f['server_busy'] * 100:8.0f}{f['client_busy'] * 100:6.0f}{f['others'] * 100:8.1f}  {notes_of(name, result, f)}"
        ).rstrip()
    if result["ratios"]:
        cpu, second = result["ratios"]["per_cpu_second"], result["ratios"]["per_second"]
        yield (
            f"  sluice : better peer   per CPU-second {verdict(cpu['ratio'], result['aim_per_cpu_second'])} to {cpu['against']},"
            f" per second {verdict(second['ratio'], AIM_PER_SECOND)} to {second['against']}"
        )


HEADER = (
    f"  {'':8}{'k req/s':>9}{'k req/cpu-s':>11}{'MiB/s':>9}{'p50 us':>9}{'p99 us':>9}{'gap ms':>9}"
    f"{'server%':>8}{'load%':>6}{'others%':>8}"
)


def mib(size):
    return f"{size / (1 << 20):.2f} MiB"


def memory_lines(memory):
    yield "memory of sluiced (resident)"
    yield f"  idle                           {mib(memory['idle'])}  (aim: below 24 MiB)"
    for name, of_connection in memory["per_connection"].items():
        yield f"  a connection, {name:17}{mib(of_connection)}  (aim: below 1 MiB beside its buffers in use)"
    yield (
        f"  after {memory['reconnects']:5} reconnects         {mib(memory['after_reconnects'])},"
        f" grown by {mib(memory['reconnect_growth'])}  (aim: nothing; the kept events were full before)"
    )
    yield f"  grown over {memory['load_seconds']:4.0f} s of load      {mib(memory['load_growth'])}  (aim: nothing over an hour)"
    others = ", ".join(f"{name} {mib(size)}" for name, size in memory["idle_of_others"].items())
    yield f"  idle, for comparison           {others}"


def figure(result, name, key):
    figures = result["servers"].get(name)
    if figures is None:
        return "-"
    mark = " (page cache)" if name in result["not_compared"] else ""
    return f"{figures[key] / 1e3:.0f}{mark}"


def markdown(document):
    """The table of docs/performance.md."""
    names = document["servers"]
    columns = ["load", *names, "ratio per CPU-second", "aim", "ratio per second", "others"]
    lines = [f"{document['machine']}. Thousands of requests per second of server processor time:", ""]
    lines += ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    for result in document["results"]:
        ratio = result["ratios"] or {}
        cells = [f"{result['backing']}, {result['workload']}"]
        cells += [figure(result, name, "per_cpu_second") for name in names]
        cells += [f"{ratio[k]['ratio']:.2f}" if ratio else "-" for k in ("per_cpu_second", "per_second")]
        cells.insert(-1, f"{result['aim_per_cpu_second']:g}")
        cells.append(f"{max(f['others'] for f in result['servers'].values()) * 100:.0f} %")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def text(document):
    """The whole account."""
    lines = [
        f"{document['machine']}; servers on processor {document['server_cpu']}, load on {document['load_cpu']};"
        f" {document['repetitions']} x {document['seconds']} s each, alternating; medians",
        f"servers: {', '.join(document['servers'])}; variants: {document['variants']}",
        HEADER,
    ]
    for result in document["results"]:
        lines.extend(row_lines(result))
    if document["memory"]:
        lines.extend(memory_lines(document["memory"]))
    noise = max((f["others"] for r in document["results"] for f in r["servers"].values()), default=0.0)
    lines.append(f"others used up to {noise * 100:.1f} % of the machine" + (": figures are noisy" if noise > NOISY else ""))
    if not any("sluice" in r["servers"] for r in document["results"]):
        lines.append("without Sluice: this only compared the peers")
    return "\n".join(lines)
