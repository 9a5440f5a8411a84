"""The command line as people and scripts meet it: exit codes, one line with what to do, JSON with stable keys."""

import json

import pytest

from lib.processes import run
from lib.sluice import Cli, program, watch_events


def one_line(refused):
    lines = refused.stderr.strip().splitlines()
    assert len(lines) == 1, refused.stderr
    return lines[0]


@pytest.mark.parametrize(
    "args",
    [
        ("volume", "show", "nobody"),
        ("volume", "switch-path", "nobody", "--from", "a", "--to", "b"),
        ("lu", "add", "x", "--file", "/nonexistent/file"),
        ("lu", "add", "x", "--nbd", "nbd+unix:///?socket=/nonexistent/socket"),
        ("lu", "add", "x", "--nbd", "http://nonsense"),
        ("interface", "remove", "nobody"),
        ("export", "add", "nobody", "--nbd", "unix:/tmp/never-made"),
        ("export", "remove", "999"),
        ("change", "show", "999"),
        ("volume", "create", "v", "--size", "1M", "--on", "nobody"),
        ("path", "add", "nobody", "--via", "nothing", "--file", "/tmp/x"),
    ],
    ids=" ".join,
)
def test_refusals_are_one_line_and_status_1(daemon, args):
    refused = daemon.cli.refused(*args)
    assert refused.status == 1
    assert len(one_line(refused)) > 10
    assert refused.stdout == ""


@pytest.mark.parametrize(
    "args",
    [
        ("nonsense",),
        ("volume", "nonsense"),
        ("volume", "show"),
        ("volume", "create", "v", "--nonsense"),
        ("volume", "create", "v", "--size", "ten", "--on", "lu"),
        ("volume", "create", "v", "--size"),
        ("volume", "switch-path", "v", "--from", "a"),
        ("lu", "add", "x"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_status_2(daemon, args):
    refused = daemon.cli.refused(*args)
    assert refused.status == 2
    assert refused.stderr and refused.stdout == ""


def test_no_daemon_is_status_1_and_says_what_to_do(workdir):
    refused = Cli(f"unix:{workdir / 'nobody.api'}").refused("status")
    assert refused.status == 1
    assert "sluiced" in one_line(refused)


def test_status_tells_the_whole_picture(two_paths, verify):
    load = verify(two_paths.uri)
    load.report()
    text = two_paths.cli.text("status")
    for word in ("v", "lu", "a", "b"):
        assert word in text.split() or f" {word}" in text
    document = two_paths.cli("status")
    assert isinstance(document, dict)
    two_paths.servers["b"].kill()
    load.report()
    load.finish()


def test_lists_have_stable_keys(two_paths):
    expected = {
        "interface": {"name", "kind", "network_id", "policy", "state", "stats"},
        "lu": {"name", "uuid", "kind", "size", "identity", "state", "paths", "volumes", "in_doubt"},
        "path": {"lu", "via", "kind", "address", "state", "reason", "stats"},
        "volume": {"name", "size", "generation", "via", "active", "exports", "in_flight", "held_requests", "change"},
        "export": {"id", "volume", "protocol", "address", "name", "uri", "connections", "stats"},
    }
    for noun, keys in expected.items():
        (items,) = two_paths.cli(noun, "list").values()
        assert items
        for item in items:
            assert keys <= item.keys(), (noun, keys - item.keys())


def test_shape_of_a_map(two_paths):
    answer = two_paths.cli("volume", "map", "v")
    (extent,) = answer["extents"]
    assert answer["generation"] >= 1
    assert (extent["offset"], extent["length"]) == (0, two_paths.cli("volume", "show", "v")["size"])
    assert extent["read"] == {"lu": "lu", "offset": 0} and extent["write"] == [{"lu": "lu", "offset": 0}]


def test_volume_over_several_lus(daemon, image, verify):
    daemon.cli("lu", "add", "one", "--file", image("one.img"))
    daemon.cli("lu", "add", "two", "--file", image("two.img"))
    uri = daemon.volume("both", "128M", "one,two")
    extents = daemon.cli("volume", "map", "both")["extents"]
    assert [(e["offset"], e["read"]["lu"]) for e in extents] == [(0, "one"), (64 << 20, "two")]
    # Across the border, where requests are split.
    verify(uri, seconds=1, extra=["--range", f"{60 << 20}+{8 << 20}"]).finish()


def test_sizes_are_binary(daemon):
    daemon.cli("lu", "add", "m", "--mem", "3M")
    assert daemon.cli("lu", "show", "m")["size"] == 3 << 20


def test_what_is_in_use_is_not_removed(two_paths):
    for args in (
        ("interface", "remove", "a"),
        ("lu", "remove", "lu"),
        ("volume", "delete", "v"),
    ):
        assert two_paths.cli.refused(*args).status == 1
    assert two_paths.cli("volume", "show", "v")["name"] == "v"


def test_last_path_of_a_used_lu_is_not_removed(two_paths):
    two_paths.cli("path", "remove", "lu", "--via", "b")
    assert two_paths.cli.refused("path", "remove", "lu", "--via", "a").status == 1


def test_same_name_twice_is_refused(two_paths):
    assert two_paths.cli.refused("interface", "add", "a", "--kind", "nbd").status == 1
    assert two_paths.cli.refused("volume", "create", "v", "--size", "1M", "--on", "lu").status == 1


def test_volumes_must_not_overlap(two_paths):
    refused = two_paths.cli.refused("volume", "create", "w", "--size", "1M", "--on", "lu:1M")
    assert refused.status == 1


def test_volume_beyond_its_lu_is_refused(two_paths, daemon, image):
    daemon.cli("lu", "add", "small", "--file", image("small.img", 1 << 20))
    assert daemon.cli.refused("volume", "create", "w", "--size", "2M", "--on", "small").status == 1


def test_event_watch_follows_and_resumes(two_paths):
    watch = watch_events(two_paths.cli)
    try:
        two_paths.switch("a", "b")
        while True:
            event = json.loads(watch.stdout.readline())
            if event["type"] == "change.done":
                break
        assert event["seq"] > 0 and event["level"] == "info"
    finally:
        watch.kill()
        watch.wait()
    stream = two_paths.daemon.events(since=event["seq"] - 1)
    assert stream.wait(lambda e: True)["seq"] == event["seq"]
    stream.end()


@pytest.mark.parametrize(
    "listen", ["tcp:0.0.0.0:0", "tcp:[::]:0"], ids=["any-v4", "any-v6"]
)
def test_daemon_does_not_listen_beyond_loopback(workdir, listen):
    result = run([program("sluiced"), "--data", workdir / "data", "--listen", listen], check=False)
    assert result.returncode != 0
    assert "loopback" in result.stderr or "authentication" in result.stderr


def test_export_beyond_loopback_is_refused(two_paths):
    for address in ("tcp:0.0.0.0:0", "tcp:[::]:0"):
        refused = two_paths.cli.refused("export", "add", "v", "--nbd", address, "--name", "open")
        assert refused.status == 1
        assert "loopback" in refused.stderr or "authentication" in refused.stderr


def test_help_and_version_need_no_daemon():
    for argv in (("--help",), ("volume", "--help"), ("volume", "switch-path", "--help"), ("version",)):
        result = run([program("sluice"), *argv])
        assert result.stdout.strip() and not result.stderr
