"""The usual scene: a daemon, servers on one backing file, an interface per server, a volume over all."""

from .nbdservers import nbdkit_file
from .processes import wait_until

SIZE = 64 << 20


class Scene:
    """servers: {interface: NbdServer}, started. The volume `v` is on the LU `lu`, exported under its name."""

    def __init__(self, daemon, servers, size=SIZE):
        self.daemon = daemon
        self.servers = servers
        self.interfaces = list(servers)
        daemon.nbd_interfaces(*self.interfaces)
        daemon.nbd_lu("lu", servers)
        self.uri = daemon.volume("v", size, "lu")

    @property
    def cli(self):
        return self.daemon.cli

    def active(self):
        return self.daemon.active("v")

    def switch(self, source, destination, *args):
        return self.daemon.switch("v", source, destination, *args)

    def switch_away(self, rng):
        """To another interface, from whichever is in use; the change."""
        source = self.active()
        destination = rng.choice([i for i in self.interfaces if i != source])
        return self.switch(source, destination)

    def path(self, interface):
        return self.cli("path", "show", "lu", "--via", interface)

    def path_up(self, interface):
        return self.path(interface)["state"] in ("up", "damped")

    def wait_up(self, *interfaces, timeout=60):
        for interface in interfaces or self.interfaces:
            wait_until(lambda i=interface: self.path_up(i), timeout, f"the path over {interface} coming up")

    def last_change(self):
        changes = self.cli("change", "list")["changes"]
        return changes[0] if changes else None

    def failed_switch(self, source, destination, *args):
        """A switch that must not succeed: (what the command said, the change)."""
        refused = self.cli.refused("volume", "switch-path", "v", "--from", source, "--to", destination, *args)
        return refused, self.last_change()


def file_servers(workdir, start, path, names, make=nbdkit_file):
    return {name: start(make(workdir, f"server-{name}", path)) for name in names}


