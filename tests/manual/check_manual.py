"""Every command and option in --help stands in the man page, and the man page promises nothing else.

check_manual.py sluice|sluiced PROGRAM PAGE
"""

import pathlib
import re
import subprocess
import sys


def help_of(program, *words):
    done = subprocess.run([program, *words, "--help"], capture_output=True, text=True, check=True)
    return done.stdout


def options_in(text):
    return set(re.findall(r"^  (--[a-z-]+)", text, re.MULTILINE))


def section(text, title):
    """The indented lines below a title of the help."""
    _, found, rest = text.partition(f"\n{title}\n")
    return rest.partition("\n\n")[0] if found else ""


def commands_of_help(program):
    """{"lu add NAME": {"--file", ...}}; "" is every command's options."""
    top = help_of(program)
    commands = {"": options_in(section(top, "always:"))}
    for noun in re.findall(r"^  ([a-z]+)  ", section(top, "nouns:"), re.MULTILINE):
        verbs = section(help_of(program, noun), "verbs:")
        if not verbs:
            commands[noun] = options_in(section(help_of(program, noun), "options:"))
        for verb, positional in re.findall(r"^  ([a-z-]+)(?: ([A-Z]+))?  ", verbs, re.MULTILINE):
            name = f"{noun} {verb} {positional}".strip()
            commands[name] = options_in(section(help_of(program, noun, verb), "options:"))
    return commands


def plain(roff):
    return re.sub(r"\\f[BIR]", "", roff).replace("\\-", "-")


def commands_of_page(page):
    """The same, from the tags of the page: a tag that starts with -- belongs to the command above it."""
    commands = {"": set()}
    current = ""
    body = page.partition('.SH "OPTIONS OF EVERY COMMAND"')[2].partition('.SH "EXIT STATUS"')[0]
    for tag in re.findall(r"^\.TP\n(.*)$", body, re.MULTILINE):
        tag = plain(tag)
        if tag.startswith("--"):
            commands[current].add(tag.split()[0])
        else:
            current = tag
            commands[current] = set()
    return commands


def compare(said, written, where):
    problems = [f"{where}{name}: in --help, not in the page" for name in sorted(said - written)]
    return problems + [f"{where}{name}: in the page, not in --help" for name in sorted(written - said)]


def check_sluice(program, page):
    said = commands_of_help(program)
    written = commands_of_page(page)
    if len(said) < 10:
        return [f"only {len(said)} commands were found in --help"]
    problems = compare(set(said), set(written), "")
    for name in said.keys() & written.keys():
        problems += compare(said[name], written[name], f"{name} ".lstrip())
    return problems


def check_sluiced(program, page):
    said = options_in(help_of(program))
    if len(said) < 5:
        return [f"only {len(said)} options were found in --help"]
    tags = re.findall(r"^\.TP\n(.*)$", page, re.MULTILINE)
    written = {plain(tag).split()[0] for tag in tags if plain(tag).startswith("--")}
    return compare(said, written, "")


def main():
    which, program, path = sys.argv[1:]
    check = {"sluice": check_sluice, "sluiced": check_sluiced}[which]
    page = pathlib.Path(path).read_text(encoding="utf-8")
    problems = check(program, page)
    # The check must notice what it is for: a promise too many, and one too few.
    option = r"\fB\-\-help\fR"
    for broken in (page.replace(option, r"\fB\-\-nonsense\fR"), page.replace(option, "")):
        if not check(program, broken):
            problems.append("the check does not notice a page that is wrong")
    for problem in problems:
        print(f"{path}: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
