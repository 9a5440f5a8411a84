"""iSCSI targets: tgtd on a loopback port of its own, with its own control socket."""

from .processes import Server, free_port, port_answers, run

TARGET_ID = "1"
LUN = "1"


class Tgt(Server):
    """One target with one LUN on a file. initiators: names on its access list, None lets everybody
    in. chap: (user, password). A restart brings the same target back, on the same port."""

    def __init__(self, workdir, name, path, initiators=None, chap=None, serial="sluice0001"):
        super().__init__(workdir)
        self.name = name
        self.path = path
        self.port = free_port()
        self.iqn = f"iqn.2026-01.org.example:{name}"
        self.initiators = initiators
        self.chap = chap
        self.serial = serial
        self.ipc = workdir / f"{name}.ipc"
        self.env = {"TGT_IPC_SOCKET": str(self.ipc), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}

    @property
    def url(self):
        """As libiscsi takes it, without credentials."""
        return f"iscsi://127.0.0.1:{self.port}/{self.iqn}/{LUN}"

    def url_with(self, user, password):
        return f"iscsi://{user}%{password}@127.0.0.1:{self.port}/{self.iqn}/{LUN}"

    def argv(self):
        return ["tgtd", "-f", "--iscsi", f"portal=127.0.0.1:{self.port}"]

    def prepare(self):
        for leftover in self.workdir.glob(f"{self.name}.ipc*"):
            leftover.unlink()

    def ready(self):
        if not port_answers(self.port):
            return False
        return run(["tgtadm", "--op", "show", "--mode", "sys"], check=False, env=self.env).returncode == 0

    def start(self):
        super().start()
        self._configure()
        return self

    def stop(self, timeout=20):
        """tgtd ignores SIGTERM while it has targets."""
        self.end()

    def admin(self, *args):
        return run(["tgtadm", "--lld", "iscsi", *args], env=self.env).stdout

    def _configure(self):
        self.admin("--op", "new", "--mode", "target", "--tid", TARGET_ID, "-T", self.iqn)
        self.admin(
            "--op", "new", "--mode", "logicalunit", "--tid", TARGET_ID, "--lun", LUN, "-b", str(self.path)
        )
        # The same on every target that leads to the same file: one LU over several targets.
        self.admin(
            "--op", "update", "--mode", "logicalunit", "--tid", TARGET_ID, "--lun", LUN,
            "--params", f"scsi_sn={self.serial},scsi_id={self.serial}",
        )
        if self.chap:
            user, password = self.chap
            self.admin("--op", "new", "--mode", "account", "--user", user, "--password", password)
            self.admin("--op", "bind", "--mode", "account", "--tid", TARGET_ID, "--user", user)
        self.admin("--op", "bind", "--mode", "target", "--tid", TARGET_ID, "-I", "ALL")
        for initiator in self.initiators or ():
            self.admin("--op", "bind", "--mode", "target", "--tid", TARGET_ID, "--initiator-name", initiator)
        if self.initiators is not None:
            self.admin("--op", "unbind", "--mode", "target", "--tid", TARGET_ID, "-I", "ALL")

    def sessions(self):
        """The initiator names that are logged in now."""
        names = []
        for line in self.admin("--op", "show", "--mode", "target").splitlines():
            if line.strip().startswith("Initiator:"):
                names.append(line.split("Initiator:", 1)[1].split()[0])
        return names
