"""C files as the lint sees them: text without comments, strings and preprocessor lines, and the functions in it.

It counts braces and parentheses; it does not parse C. What it relies on is the style that clang-format enforces.
"""

import re

KEYWORDS_NOT_CALLED = {"return", "sizeof", "_Alignof", "case", "typeof"}


def blank(text):
    """Spaces in place of everything but newlines, so that positions stay."""
    return re.sub(r"[^\n]", " ", text)


TOKENS = re.compile(
    r"""/\*.*?\*/ | //[^\n]* | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' """, re.DOTALL | re.VERBOSE)
DIRECTIVE = re.compile(r"^[ \t]*\#(?:[^\n\\]|\\\n|\\.)*", re.MULTILINE)


def strip(text, keep_directives=False):
    """Blanks comments, the insides of strings, and (unless kept) preprocessor lines with their continuations."""
    def replace(match):
        token = match.group()
        if token.startswith("/"):
            return blank(token)
        return token[0] + blank(token[1:-1]) + token[-1]
    text = TOKENS.sub(replace, text)
    if keep_directives:
        return text
    return DIRECTIVE.sub(lambda match: blank(match.group()), text)


def strip_comments(text):
    """Blanks comments alone: strings and preprocessor lines stay."""
    return TOKENS.sub(lambda match: blank(match.group()) if match.group().startswith("/") else match.group(), text)


def line_of(text, position):
    return text.count("\n", 0, position) + 1


class Function:
    def __init__(self, name, first_line, last_line, body_start, body_end):
        self.name = name
        self.first_line = first_line  # of its declaration
        self.last_line = last_line    # of its closing brace
        self.body_start = body_start  # position of {
        self.body_end = body_end      # position of }

    @property
    def lines(self):
        return self.last_line - self.first_line + 1


def matching_brace(code, position):
    depth = 0
    for i in range(position, len(code)):
        if code[i] == "{":
            depth += 1
        elif code[i] == "}":
            depth -= 1
            if depth == 0:
                return i
    return len(code) - 1


def matching_open_parenthesis(code, position):
    """position is that of a closing one."""
    depth = 0
    for i in range(position, -1, -1):
        if code[i] == ")":
            depth += 1
        elif code[i] == "(":
            depth -= 1
            if depth == 0:
                return i
    return 0


def matching_close_parenthesis(code, position):
    """position is that of an opening one."""
    depth = 0
    for i in range(position, len(code)):
        if code[i] == "(":
            depth += 1
        elif code[i] == ")":
            depth -= 1
            if depth == 0:
                return i
    return len(code) - 1


def declared_name(declaration):
    """The name in front of the parameter list, or None when this is no function."""
    if "=" in re.sub(r"\([^()]*\)", "", declaration) or not declaration.rstrip().endswith(")"):
        return None
    bare = re.sub(r"__attribute__\s*\(\(.*?\)\)", lambda match: blank(match.group()), declaration, flags=re.DOTALL)
    match = re.search(r"([A-Za-z_]\w*)\s*\(", bare)
    return match.group(1) if match else None


def functions(code):
    """The function definitions of stripped text. extern "C" blocks are looked into."""
    found = []
    start = 0
    i = 0
    while i < len(code):
        if code[i] in ";}":
            start = i + 1
        elif code[i] == "{":
            declaration = code[start:i]
            if re.search(r'extern\s*"\s*"\s*$', declaration):
                start = i + 1
            else:
                i = add_function(code, declaration, start, i, found)
                if found and found[-1].body_end == i:
                    start = i + 1
        i += 1
    return found


def add_function(code, declaration, start, open_brace, found):
    end = matching_brace(code, open_brace)
    name = declared_name(declaration)
    if name is not None:
        first = start + len(declaration) - len(declaration.lstrip())
        found.append(Function(name, line_of(code, first), line_of(code, end), open_brace, end))
    return end


def word_before(code, position):
    """The identifier that ends right before position, spaces aside; "" when something else stands there."""
    match = re.search(r"([A-Za-z_]\w*)\s*$", code[max(0, position - 200):position])
    return match.group(1) if match else ""


def is_block(code, position, inside_initializer):
    """Whether the brace at position opens a block of statements that is nested (not a literal, not a case's)."""
    before = code[:position].rstrip()
    last = before[-1:] if before else ""
    if last == ")":
        word = word_before(before, matching_open_parenthesis(before, len(before) - 1))
        return word != "" and word not in KEYWORDS_NOT_CALLED
    if last in (";", "}", "{"):
        return not inside_initializer
    return word_before(before, len(before)) in ("else", "do")


def nesting(code, function):
    """The deepest nesting of blocks in a function, and the line where it is reached; the body itself is 0."""
    deepest, line = 0, function.first_line
    stack = []
    for i in range(function.body_start + 1, function.body_end):
        if code[i] == "{":
            inside_initializer = bool(stack) and not stack[-1][0] and stack[-1][1] == "literal"
            block = is_block(code, i, inside_initializer)
            kind = "block" if block or code[:i].rstrip().endswith(":") else "literal"
            stack.append((block, kind))
            depth = sum(1 for nested, _ in stack if nested)
            if depth > deepest:
                deepest, line = depth, line_of(code, i)
        elif code[i] == "}" and stack:
            stack.pop()
    return deepest, line
