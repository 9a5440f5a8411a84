"""iSCSI LUs over tgt: paths by initiator name, moving it along, CHAP, targets that die and come back."""

import pytest

from lib.iscsi import Tgt
from lib.processes import wait_until
from lib.scene import SIZE

HOST = "iqn.2026-01.org.example:host"
OTHER = "iqn.2026-01.org.example:other"


class IscsiScene:
    """Interfaces a and b, the LU `lu` on a, the volume v."""

    def __init__(self, daemon, targets, ids):
        self.daemon = daemon
        self.cli = daemon.cli
        self.targets = targets
        for name, network_id in ids.items():
            self.cli("interface", "add", name, "--kind", "iscsi", "--network-id", network_id)
        self.cli("lu", "add", "lu", "--iscsi", targets["a"].url, "--via", "a")
        self.uri = daemon.volume("v", SIZE, "lu")

    def path(self, interface):
        return self.cli("path", "show", "lu", "--via", interface)

    def wait_up(self, interface):
        wait_until(lambda: self.path(interface)["state"] in ("up", "damped"), 60, f"the path over {interface}")

    def network_id(self, interface):
        return self.cli("interface", "show", interface)["network_id"]


@pytest.fixture
def two_targets(daemon, image, workdir, start):
    """Two targets on one file, each lets everybody in."""
    path = image()
    targets = {name: start(Tgt(workdir, f"tgt-{name}", path)) for name in ("a", "b")}
    scene = IscsiScene(daemon, targets, {"a": HOST, "b": OTHER})
    scene.cli("path", "add", "lu", "--via", "b", "--iscsi", targets["b"].url)
    scene.backing = path
    return scene


def test_session_carries_the_interfaces_initiator_name(two_targets):
    assert two_targets.targets["a"].sessions() and set(two_targets.targets["a"].sessions()) == {HOST}
    assert set(two_targets.targets["b"].sessions()) == {OTHER}


def test_identity_is_the_vpd_page(two_targets):
    lu = two_targets.cli("lu", "show", "lu")
    assert lu["identity"].startswith("scsi:")
    assert lu["size"] == SIZE


def test_switches_under_load(two_targets, verify):
    load = verify(two_targets.uri)
    for source, destination in (("a", "b"), ("b", "a")) * 5:
        assert two_targets.daemon.switch("v", source, destination)["state"] == "done"
    load.finish()


def test_another_lun_is_refused_as_a_path(two_targets, workdir, start, image, daemon):
    stranger = start(Tgt(workdir, "tgt-c", image("other.img"), serial="sluice0002"))
    daemon.cli("interface", "add", "c", "--kind", "iscsi", "--network-id", "iqn.2026-01.org.example:third")
    refused = daemon.cli.refused("path", "add", "lu", "--via", "c", "--iscsi", stranger.url)
    assert refused.status == 1


def test_network_id_moves_with_the_volume(daemon, image, workdir, start, verify):
    """The target of b lets only the name of a in: the switch works only if the name moves, which its access list proves."""
    path = image()
    targets = {
        "a": start(Tgt(workdir, "tgt-a", path)),
        "b": start(Tgt(workdir, "tgt-b", path, initiators=[HOST])),
    }
    scene = IscsiScene(daemon, targets, {"a": HOST, "b": OTHER})
    refused = scene.cli.refused("path", "add", "lu", "--via", "b", "--iscsi", targets["b"].url)
    assert "--no-wait" in refused.stderr
    scene.cli("path", "add", "lu", "--via", "b", "--iscsi", targets["b"].url, "--no-wait")
    load = verify(scene.uri)
    load.report()
    change = daemon.switch("v", "a", "b", "--take-network-id")
    assert change["state"] == "done"
    assert scene.network_id("b") == HOST
    assert scene.network_id("a") != HOST
    assert set(targets["b"].sessions()) == {HOST}
    assert HOST not in targets["a"].sessions()
    assert daemon.active("v") == "b"
    load.finish()


def test_network_id_goes_back_when_the_target_does_not_let_it_in(daemon, image, workdir, start, verify):
    path = image()
    targets = {
        "a": start(Tgt(workdir, "tgt-a", path, initiators=[HOST])),
        "b": start(Tgt(workdir, "tgt-b", path, initiators=[OTHER])),
    }
    scene = IscsiScene(daemon, targets, {"a": HOST, "b": OTHER})
    scene.cli("path", "add", "lu", "--via", "b", "--iscsi", targets["b"].url)
    load = verify(scene.uri)
    load.report()
    refused = daemon.cli.refused("volume", "switch-path", "v", "--from", "a", "--to", "b", "--take-network-id")
    change = scene.cli("change", "list")["changes"][0]
    assert refused.status == 1 and change["state"] in ("rolled-back", "aborted"), change
    assert (scene.network_id("a"), scene.network_id("b")) == (HOST, OTHER)
    scene.wait_up("a")
    scene.wait_up("b")
    assert daemon.active("v") == "a"
    load.finish()


def test_chap(daemon, image, workdir, start, verify):
    target = start(Tgt(workdir, "tgt-a", image(), chap=("sluice", "secretsecret12")))
    daemon.cli("interface", "add", "a", "--kind", "iscsi", "--network-id", HOST)
    refused = daemon.cli.refused(
        "lu", "add", "lu", "--iscsi", target.url_with("sluice", "wrongwrong1234"), "--via", "a"
    )
    assert refused.status == 1 and "wrongwrong1234" not in refused.stderr
    refused = daemon.cli.refused("lu", "add", "lu", "--iscsi", target.url, "--via", "a")
    assert refused.status == 1
    daemon.cli("lu", "add", "lu", "--iscsi", target.url_with("sluice", "secretsecret12"), "--via", "a")
    verify(daemon.volume("v", SIZE, "lu"), seconds=1).finish()
    shown = daemon.cli.text("path", "list", "--json") + daemon.cli.text("lu", "show", "lu") + daemon.cli.text("status")
    assert "secretsecret12" not in shown + daemon.log_path.read_text()


def test_target_is_killed_and_comes_back(two_targets, verify):
    load = verify(two_targets.uri)
    load.report()
    for name, left in (("a", "b"), ("b", "a")):
        two_targets.targets[name].kill()
        wait_until(lambda left=left: two_targets.daemon.active("v") == left, 40, f"the fail-over to {left}")
        two_targets.targets[name].start()
        two_targets.wait_up(name)
    load.finish()


def test_frozen_target_is_left(two_targets, verify):
    load = verify(two_targets.uri)
    load.report()
    two_targets.targets["a"].freeze()
    wait_until(lambda: two_targets.daemon.active("v") == "b", 40, "the fail-over to b")
    two_targets.targets["a"].thaw()
    two_targets.wait_up("a")
    load.finish()


def test_restart_logs_in_again(two_targets, verify):
    load = verify(two_targets.uri, reconnect_s=60)
    load.report()
    two_targets.daemon.kill()
    two_targets.daemon.start()
    two_targets.wait_up("a")
    two_targets.wait_up("b")
    load.finish()
