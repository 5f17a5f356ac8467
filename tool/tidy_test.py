#!/usr/bin/env python3
"""Tests of tool/tidy: a small clean tree passes; each offence planted in it is found, at its line, and nothing else is."""
import os
import subprocess
import sys
import tempfile

TIDY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tidy")
HEAD = "/* f: a file. SPDX-License-Identifier: Apache-2.0 */\n"
MAP = "# Map\n```arrows\nmain: chat io\nchat: item base\nitem: base\nio: base\ntable: base\n```\nchat: io\n"


def body(lines, inside="", above=""):
    """A function of so many lines."""
    return above + "int f(void) {\n" + inside + "    g();\n" * (lines - 2 - inside.count("\n")) + "}\n"


CLEAN = {
    "ARCHITECTURE.md": MAP,
    "src/main.c": HEAD + '#include "chat/chat.h"\n#include "io/io.h"\n',
    "src/base/base.h": HEAD,
    "src/chat/chat.h": HEAD + '#include "base/base.h"\nstruct s { int read; };\n',
    "src/chat/in.h": HEAD,
    "src/chat/a.c": HEAD + '#include "chat/in.h"\n#include "item/item.h"\n/* time( and float */\nvoid f(struct s *s) { s->read(1); s.open(2); uptime(3); g("rand()"); }\n',
    "src/chat/a_test.c": HEAD + "#include <rocksdb/c.h>\nvoid f(void) { time(0); }\n",
    "src/item/item.h": HEAD,
    "src/chat/b_test.c": HEAD + '#include "item/item_twin.h"\n',
    "src/item/item_twin.h": HEAD,
    "test/sim/x.c": HEAD + body(71, above="/* long: it tells one story. */\n"),
    "src/io/io.h": HEAD + "void f(void) { time(0); read(1); }\n",
    "src/io/long.c": HEAD + body(70) + body(71, above="/* Reads it all.\n   long: a table would hide the order. */\n") + body(90, inside="    // long: one case a code\n"),
    "src/io/cc.cc": HEAD + 'namespace x {\nextern "C" {\nint f() { return 1; }\n}\n}\n',
    "src/table/rocks.c": HEAD + "#include <rocksdb/c.h>\n#define M(a) do { \\\n    a; \\\n    } while (0)\nstatic const int A[] = {1, 2};\nenum e { B, C };\n",
}

PLANTED = [
    ("src/chat/a.c", HEAD + '#include "io/io.h"\n', "src/chat/a.c:2: arrow: chat -> io"),
    ("src/chat/a_test.c", HEAD + '#include "io/io.h"\n', "src/chat/a_test.c:2: arrow: chat -> io"),
    ("src/main.c", HEAD + '#include "chat/in.h"\n', 'src/main.c:2: arrow: "chat/in.h" is inside another room'),
    ("src/main.c", HEAD + '#include "item/item.h"\n', "src/main.c:2: arrow: main -> item"),
    ("src/new/n.c", HEAD + '#include "base/base.h"\n', "src/new/n.c:2: arrow: new -> base is not allowed by ARCHITECTURE.md (new has no line there)"),
    ("src/chat/a.c", HEAD + '#include "in.h"\n', 'src/chat/a.c:2: arrow: "in.h": includes are written from src/'),
    ("src/chat/a.c", HEAD + '#include "item/item_twin.h"\n', 'src/chat/a.c:2: arrow: "item/item_twin.h" is inside another room'),
    ("test/sim/x.c", "int x;\n", "test/sim/x.c:1: opening: does not begin"),
    ("test/sim/x.c", HEAD + body(71), "test/sim/x.c:2: length: f has 71 lines"),
    ("docs/a.md", "one\nHA" + "CK: two\n", "docs/a.md:2: words: HA" + "CK"),
    ("src/item/t.c", HEAD + "\nint64_t f(void) {\n    return time(NULL);\n}\n", "src/item/t.c:4: wall: call time"),
    ("src/chat/r.c", HEAD + "int f(void) { return g() + rand (); }\n", "src/chat/r.c:2: wall: call rand"),
    ("src/chat/r.c", HEAD + "void f(void) { pthread_mutex_lock(m); }\n", "src/chat/r.c:2: wall: call pthread_mutex_lock"),
    ("src/chat/r.h", HEAD + "struct s { double score; };\n", "src/chat/r.h:2: wall: type double"),
    ("src/io/r.c", HEAD + "#include <rocksdb/c.h>\n", "src/io/r.c:2: dependency: rocksdb/"),
    ("src/io/loop.c", HEAD + "#include <openssl/ssl.h>\n", "src/io/loop.c:2: dependency: openssl/"),
    ("src/io/o.c", "#include <stdio.h>\n", "src/io/o.c:1: opening: does not begin"),
    ("src/io/o.c", "/* o: a file. */\n/* SPDX-License-Identifier: Apache-2.0 */\n", "src/io/o.c:1: opening: the first comment has no SPDX"),
    ("src/io/long.c", HEAD + "\nint x;\n" + body(71), "src/io/long.c:4: length: f has 71 lines"),
    ("src/io/long.c", HEAD + body(71, above="/* long: not just above */\n\n"), "src/io/long.c:4: length: f has 71 lines"),
    ("src/io/long.c", HEAD + body(80, inside="    /* long: */\n"), "src/io/long.c:2: length: f has 80 lines"),
    ("src/io/cc.cc", HEAD + 'namespace x {\nextern "C" {\n' + body(71) + "}\n}\n", "src/io/cc.cc:4: length: f has 71 lines"),
    ("src/io/b.c", HEAD + "int f(void) {\n", "src/io/b.c:1: length: cannot find the functions"),
    ("ARCHITECTURE.md", MAP.replace("item: base", "item: base chat"), "ARCHITECTURE.md:1: arrows must fall: chat"),
    ("ARCHITECTURE.md", MAP.replace("table: base", "table base"), "ARCHITECTURE.md:7: not of the form"),
    ("ARCHITECTURE.md", MAP.replace("```arrows", "```"), "ARCHITECTURE.md:1: has no block"),
    ("ARCHITECTURE.md", None, "tidy: ARCHITECTURE.md is missing"),
]


def run(tree):
    with tempfile.TemporaryDirectory() as top:
        for path, text in tree.items():
            if text is None:
                continue
            os.makedirs(os.path.dirname(os.path.join(top, path)), exist_ok=True)
            with open(os.path.join(top, path), "w", encoding="utf-8") as f:
                f.write(text)
        done = subprocess.run([sys.executable, TIDY, top], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout.splitlines(), done.stderr


def main():
    passed = failed = 0
    for path, text, want in [(None, None, None)] + PLANTED:
        status, lines, errors = run({**CLEAN, path: text} if path else CLEAN)
        if path is None:
            ok = status == 0 and lines == [f"tidy: {len(CLEAN) - 1} files, 0 offences"]
        elif path == "ARCHITECTURE.md":  # without its arrows the rest offends as well
            ok = status == 1 and lines[0].startswith(want)
        elif "dependency: rocksdb" in want:  # both users are named
            ok = status == 1 and len(lines) == 3 and lines[0].startswith(want)
        else:
            ok = status == 1 and len(lines) == 2 and lines[0].startswith(want) and lines[1].endswith(" 1 offences")
        passed, failed = passed + ok, failed + (not ok)
        if not ok:
            print(f"FAIL {want or 'the clean tree'}", *lines, errors, sep="\n    ")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
