"""SIGTERM at a bad moment: the daemon ends in order, and what it left is whole."""

import threading

from lib.processes import wait_until
from lib.sluice import Refused


def in_progress(daemon):
    return bool(daemon.cli("status")["changes"])


def test_sigterm_in_the_middle_of_a_switch_away_from_a_frozen_server(two_paths, daemon):
    """The switch looks at the old path first, which does not answer: it is under way when the signal comes."""
    two_paths.servers["a"].freeze()

    def switch():
        try:
            daemon.switch("v", "a", "b")
        except Refused:
            pass

    switching = threading.Thread(target=switch)
    switching.start()
    try:
        wait_until(lambda: in_progress(daemon), what="the switch being under way")
        assert daemon.stop(timeout=60) == 0
    finally:
        two_paths.servers["a"].thaw()
        switching.join()
    daemon.start()
    two_paths.wait_up()
    last = daemon.cli("change", "list")["changes"][0]
    assert last["state"] in ("done", "aborted"), last
    assert daemon.cli("volume", "show", "v")["change"] is None
    source = two_paths.active()
    assert two_paths.switch(source, "b" if source == "a" else "a")["state"] == "done"
