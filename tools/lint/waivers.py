"""tools/lint/waivers.txt: what a check may overlook, one per line as CHECK SUBJECT REASON.

SUBJECT is a path, or PATH:FUNCTION for the bounds of a function. A waiver that nothing needs any more is a finding.
"""

import os

PATH = "tools/lint/waivers.txt"


class Waivers:
    def __init__(self, root):
        self.entries = {}
        self.used = set()
        with open(os.path.join(root, PATH), encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                fields = line.split(None, 2)
                if not fields or fields[0].startswith("#"):
                    continue
                if len(fields) < 3:
                    raise SystemExit(f"{PATH}:{number}: a waiver has a check, a subject and a reason")
                self.entries[(fields[0], fields[1])] = number

    def covers(self, finding):
        key = (finding.check, finding.subject)
        if key not in self.entries:
            return False
        self.used.add(key)
        return True

    def unused(self):
        return [f"{PATH}:{number}: nothing needs this waiver any more: {check} {subject}"
                for (check, subject), number in self.entries.items() if (check, subject) not in self.used]
