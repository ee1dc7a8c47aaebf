#!/usr/bin/env python3
"""Writes build.ninja. Read it from top to bottom: it is also the map of the project.

    ./configure.py                    after adding, moving or removing a file (ninja also notices by itself)
    CC=clang ./configure.py           chooses the compiler of this machine (kept in build.local.ninja)

build.ninja is committed and comes out the same on every machine. What depends on the machine (compilers,
extra flags) stands in build.local.ninja, which is not committed. compile_commands.json, for editors, is
written beside them. docs/building.md tells how to use the result.
"""

import glob
import json
import os
import shlex
import sys
from collections import namedtuple

ROOT = os.path.dirname(os.path.abspath(__file__))


# ---- The architecture: who may use whom -------------------------------------------------------------------

# A file may include headers of the folders in its row; the row of the longest folder that holds it counts.
# tools/lint/layers.py refuses everything else, and no archive or program is linked before it agrees.
MAY_INCLUDE = {
    "codec/base":      ["codec/base"],
    "codec":           ["codec"],
    "storage":         ["codec", "storage"],
    "server":          ["codec", "storage", "server"],
    "loadtest":        ["codec", "loadtest", "tools/common"],
    "tools/common":    ["codec", "tools/common"],
    "tools/synth":     ["codec", "tools/common", "tools/synth"],
    "tools/export":    ["codec", "tools/common", "tools/export"],
    "tools/backup":    ["codec", "storage", "server", "tools/backup"],
    "tools/sluicectl": ["codec", "storage", "server", "tools/common", "tools/backup", "tools/sluicectl"],
    "tests":           ["codec", "storage", "server", "loadtest", "tools", "tests"],
}

# Each third-party header has one home: the only files outside tests/ that include it. The first row that
# matches counts. A header that is neither here nor in SYSTEM_HEADERS is refused: a new dependency is a new
# row, and a decision.
HEADER_HOMES = {
    "yajl/*":          ["codec/json_reader.*", "codec/json_writer.*", "codec/json_memory.*"],
    "libdeflate.h":    ["codec/deflate.*"],
    "isa-l.h":         ["codec/deflate.*"],
    "zlib.h":          ["codec/deflate.*", "storage/import_source.c", "tools/synth/sink.c"],
    "xxhash.h":        ["codec/resource.*", "codec/optout.*"],
    "lmdb.h":          ["storage/engine_lmdb.c"],
    "zip.h":           ["storage/archive.*", "tools/synth/roster.c"],
    "event2/*":        ["server/reactor.*", "server/connection.*"],
    "jwt.h":           ["server/token.*"],
    "openssl/ssl.h":   ["server/tls.*"],
    "openssl/*":       ["storage/accounts.*", "server/tls.*", "server/token.*", "tools/backup/copy.*"],
    "curl/*":          ["tools/export/*", "loadtest/*"],
    "cmocka.h":        [],
    "benchmark/*":     [],
}

# Headers of the C library and the kernel: free for all.
SYSTEM_HEADERS = """
    argp.h assert.h ctype.h dirent.h endian.h errno.h fcntl.h fnmatch.h ftw.h getopt.h glob.h inttypes.h limits.h locale.h
    math.h netdb.h poll.h pthread.h sched.h semaphore.h setjmp.h signal.h stdalign.h stdarg.h stdatomic.h
    stdbool.h stddef.h stdint.h stdio.h stdlib.h stdnoreturn.h string.h strings.h syslog.h termios.h time.h
    unistd.h arpa/* linux/* net/* netinet/* sys/* *intrin.h arm_acle.h
""".split()


# ---- What is built ----------------------------------------------------------------------------------------

# A library is every .c file below its folder but a main.c, whose folder's program that is. Each stands after
# those it uses. (What tests/support has for higher layers finds them in the program that is linked with both.)
Library = namedtuple("Library", "name folder uses links")
LIBRARIES = [
    Library("codec",    "codec",        [],                   "-lyajl -lz -lisal -ldeflate -lxxhash -lm"),
    Library("storage",  "storage",      ["codec"],            "-llmdb -lzip -lcrypto"),
    Library("server",   "server",       ["storage", "codec"], "-levent_core -levent_pthreads -lssl -lcrypto -ljwt"),
    Library("tools",    "tools/common", ["codec"],            ""),
    Library("backup",   "tools/backup", ["server"],           "-lcrypto"),
    Library("synth",    "tools/synth",  ["codec"],            "-lzip -lz"),
    Library("loadtest", "loadtest",     ["tools", "codec"],   "-lcurl -lm"),
    Library("support",  "tests/support", ["codec"],           "-lcmocka -lzip -lz"),
]

# C that a script writes; part of a library like a file of its folder. Inputs are patterns of files; what is not
# there on every machine stands in `optional`, and is looked for again in each build until it is there.
Generated = namedtuple("Generated", "path library command inputs optional")
GENERATED = [
    Generated("build/page/assets.c", "server", "tools/web/pack",
              ["server/page/*", "tools/web/pack", "tools/web/assets.sha256"],
              ["build/web/node_modules/swagger-ui-dist/package.json"]),
]

# A program is these files and these libraries. One whose files are not there yet is left out.
Program = namedtuple("Program", "name sources uses links")
PROGRAMS = [
    Program("sluiced",       "server/main.c",         ["server"],          ""),
    Program("sluicectl",     "tools/sluicectl/**/*.c", ["tools", "backup"], ""),
    Program("sluice-synth",  "tools/synth/main.c",    ["synth"],           ""),
    Program("sluice-export", "tools/export/**/*.c",   ["tools", "codec"],  "-lcurl -lz"),
    Program("sluice-load",   "loadtest/main.c",       ["loadtest"],        ""),
]

# tests/unit/<folder>/**/*_test.c: one program each, linked with the libraries that <folder> is built on.
UNIT_TEST_USES = {
    "codec":    ["support", "codec"],
    "storage":  ["support", "storage"],
    "server":   ["support", "server"],
    "loadtest": ["support", "loadtest"],
    "tools":    ["support", "tools", "synth", "backup"],
}
# tests/fuzz/*_fuzz.c: a libFuzzer program in the variant fuzz; elsewhere linked with replay.c, which runs the
# committed corpus through it as an ordinary test.
FUZZ_USES = ["server", "storage", "codec"]
FUZZ_REPLAY = "tests/fuzz/replay.c"
# tests/bench: one Google Benchmark program; the C++ file registers the C functions.
BENCH_USES = ["support", "synth", "server", "storage", "codec"]


# ---- How it is compiled -----------------------------------------------------------------------------------

C_FLAGS = ("-std=gnu11 -D_GNU_SOURCE -I. -g -pthread -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes "
           "-Wmissing-prototypes -Wvla -Werror")
CXX_FLAGS = "-std=c++17 -D_GNU_SOURCE -I. -g -pthread -Wall -Wextra -Wshadow -Werror"
# A symbol of ours that a shared library also uses would be exported and would replace that library's own:
# libjwt called our json_string instead of jansson's. So nothing of our archives is exported.
LINK_FLAGS = ("-pthread -Wl,--as-needed -Wl,--exclude-libs,"
              + ":".join(f"lib{library.name}.a" for library in LIBRARIES))

# parts: programs, tests (unit tests, corpus replays, benchmarks), fuzzers, or only a look at the sources.
# `link` is for everything, `programs` and `tests` for one of them.
Variant = namedtuple("Variant", "name cc parts compile link programs tests", defaults=("", ""))
SANITIZE = "-O1 -fno-omit-frame-pointer -fno-sanitize-recover=all "
VARIANTS = [
    # Programs are optimised as a whole, which makes exports with _since a tenth faster (docs/performance/targets.md).
    # That takes seconds a link, so unit tests use what each file was compiled to.
    Variant("release", "$cc", "programs tests",
            "-O2 -flto=auto -ffat-lto-objects -D_FORTIFY_SOURCE=2 -fstack-protector-strong", "-Wl,-z,relro,-z,now",
            "-O2 -flto=auto", "-fno-lto"),
    Variant("debug", "$cc", "programs tests",
            "-O0 -g3", ""),
    Variant("asan", "$cc", "programs tests",
            SANITIZE + "-fsanitize=address,undefined", "-fsanitize=address,undefined"),
    Variant("tsan", "$cc", "programs tests",
            SANITIZE + "-fsanitize=thread", "-fsanitize=thread"),
    Variant("fuzz", "$clang", "fuzzers",
            SANITIZE + "-fsanitize=fuzzer-no-link,address,undefined", "-fsanitize=fuzzer,address,undefined"),
    Variant("coverage", "$clang", "programs tests",
            "-O0 -fprofile-instr-generate -fcoverage-mapping", "-fprofile-instr-generate -fcoverage-mapping"),
    # Clang's warnings on every file, without making anything of it.
    Variant("clang", "$clang", "look",
            "-O0", ""),
]
DEFAULT_VARIANT = "release"

# build.local.ninja: name, the environment variable that sets it, what it is without one.
LOCAL = [
    ("cc", "CC", "gcc"),
    ("cxx", "CXX", "g++"),
    ("ar", "AR", "ar"),
    ("clang", "CLANG", "clang"),
    ("local_cflags", "CFLAGS", ""),
    ("local_ldflags", "LDFLAGS", ""),
]


# ---- Finding the files ------------------------------------------------------------------------------------

SOURCE_FOLDERS = ["codec", "storage", "server", "loadtest", "tools", "tests"]


def find(pattern):
    return sorted(path.replace(os.sep, "/") for path in glob.glob(pattern, root_dir=ROOT, recursive=True))


def all_files():
    """Every C file of ours, headers too: what the checks look at."""
    return sorted(path for folder in SOURCE_FOLDERS for end in ("c", "h", "cc") for path in find(f"{folder}/**/*.{end}"))


def folders_of(paths):
    """The folders whose change means that a file came or went."""
    folders = set()
    for path in paths:
        while "/" in path:
            path = os.path.dirname(path)
            folders.add(path)
    return sorted(folders)


def library_sources(library):
    return ([path for path in find(f"{library.folder}/**/*.c") if os.path.basename(path) != "main.c"]
            + [generated.path for generated in GENERATED if generated.library == library.name])


def unit_tests():
    return find("tests/unit/**/*_test.c")


def fuzz_tests():
    return find("tests/fuzz/*_fuzz.c")


def bench_sources():
    """Empty without the C++ file that holds the main function."""
    registers = find("tests/bench/*.cc")
    return registers + find("tests/bench/*.c") if registers else []


# ---- Writing build.ninja ----------------------------------------------------------------------------------

class Ninja:
    def __init__(self):
        self.lines = []

    def line(self, text=""):
        self.lines.append(text)

    def rule(self, name, **variables):
        self.line(f"rule {name}")
        for key, value in variables.items():
            self.line(f"  {key} = {value}")
        self.line()

    def build(self, outputs, rule, inputs=(), implicit=(), order_only=(), **variables):
        words = ["build", *outputs, ":", rule, *inputs]
        words += ["|", *implicit] if implicit else []
        words += ["||", *order_only] if order_only else []
        self.line(" ".join(words).replace(" :", ":", 1))
        for key, value in variables.items():
            self.line(f"  {key} = {value}")

    def text(self):
        return "\n".join(self.lines) + "\n"


def library_closure(names):
    """Libraries in link order, each before those it uses."""
    wanted = set(names)
    closure = []
    for library in reversed(LIBRARIES):
        if library.name in wanted:
            wanted.update(library.uses)
            closure.append(library)
    return [library for library in closure if library_sources(library)]


def links_of(names):
    """The -l flags of these libraries, each once."""
    flags = []
    for library in library_closure(names):
        flags += [flag for flag in library.links.split() if flag not in flags]
    return flags


def layer_stamp(path):
    return f"build/layers/{path.split('/')[0]}.ok"


def object_of(variant, path):
    return f"build/{variant.name}/obj/{os.path.splitext(path)[0]}.o"


def write_compile(ninja, variant, sources):
    for path in sources:
        rule = "cxx" if path.endswith(".cc") else "cc"
        ninja.build([object_of(variant, path)], f"{rule}.{variant.name}", [path])


def write_link(ninja, variant, name, sources, uses, links, rule="link"):
    libraries = library_closure(uses)
    output = f"build/{variant.name}/{name}"
    ninja.build([output], f"{rule}.{variant.name}",
                [object_of(variant, path) for path in sources]
                + [f"build/{variant.name}/lib{library.name}.a" for library in libraries],
                order_only=sorted({layer_stamp(path) for path in sources}),
                libs=" ".join([*links.split(), *(flag for flag in links_of(uses) if flag not in links.split())]))
    return output


def write_variant(ninja, variant):
    """All of one variant: rules, libraries, programs, tests. Its name is a target that builds everything of it."""
    v = variant.name
    ninja.line()
    ninja.line(f"# ---- {v}")
    ninja.line()
    look = variant.parts == "look"
    compiler = f"{variant.cc} {C_FLAGS} {variant.compile} $local_cflags -MMD -MF $out.d"
    ninja.rule(f"cc.{v}", depfile="$out.d", deps="gcc", description=f"{v} CC $in",
               command=f"{compiler} -MT $out -fsyntax-only $in && touch $out" if look else f"{compiler} -c $in -o $out")
    outputs = []
    if look:
        sources = [path for path in all_files() if path.endswith(".c")]
        write_compile(ninja, variant, sources)
        outputs = [object_of(variant, path) for path in sources]
    else:
        link = f"{LINK_FLAGS} {variant.link} $local_ldflags".replace("  ", " ")
        for rule, flags in (("program", variant.programs), ("link", variant.tests)):
            ninja.rule(f"{rule}.{v}", description=f"{v} LINK $out",
                       command=" ".join(f"{variant.cc} -o $out $in {link} {flags} $libs".split()))
        if "tests" in variant.parts and bench_sources():
            cxx = variant.cc.replace("$cc", "$cxx").replace("$clang", "$clang++")
            ninja.rule(f"cxx.{v}", depfile="$out.d", deps="gcc", description=f"{v} CXX $in",
                       command=f"{cxx} {CXX_FLAGS} {variant.compile} $local_cflags -MMD -MF $out.d -c $in -o $out")
            ninja.rule(f"linkxx.{v}", description=f"{v} LINK $out",
                       command=" ".join(f"{cxx} -o $out $in {link} {variant.programs} $libs".split()))

        libraries = [lib for lib in LIBRARIES if lib.name in ("codec", "storage", "server") or variant.parts != "fuzzers"]
        for library in libraries:
            sources = library_sources(library)
            if sources:
                write_compile(ninja, variant, sources)
                outputs.append(f"build/{v}/lib{library.name}.a")
                ninja.build(outputs[-1:], "ar", [object_of(variant, path) for path in sources],
                            order_only=[layer_stamp(library.folder)])
        if "programs" in variant.parts:
            outputs += write_programs(ninja, variant)
        if "tests" in variant.parts:
            outputs += write_tests(ninja, variant)
        if "fuzzers" in variant.parts:
            for path in fuzz_tests():
                write_compile(ninja, variant, [path])
                outputs.append(write_link(ninja, variant, path[:-2], [path], FUZZ_USES, ""))
    ninja.build([v], "phony", outputs + layer_stamps() + (["programs"] if v == DEFAULT_VARIANT else []))


def write_programs(ninja, variant):
    outputs = []
    for program in PROGRAMS:
        sources = find(program.sources)
        if sources:
            write_compile(ninja, variant, sources)
            outputs.append(write_link(ninja, variant, program.name, sources, program.uses, program.links, rule="program"))
    return outputs


def write_tests(ninja, variant):
    outputs = []
    for path in unit_tests():
        uses = UNIT_TEST_USES.get(path.split("/")[2], UNIT_TEST_USES["tools"])
        write_compile(ninja, variant, [path])
        outputs.append(write_link(ninja, variant, path[:-2], [path], uses, "-lcmocka"))
    if fuzz_tests():
        write_compile(ninja, variant, [FUZZ_REPLAY])
    for path in fuzz_tests():
        write_compile(ninja, variant, [path])
        outputs.append(write_link(ninja, variant, path[:-2], [path, FUZZ_REPLAY], FUZZ_USES, ""))
    if bench_sources():
        write_compile(ninja, variant, bench_sources())
        outputs.append(write_link(ninja, variant, "tests/bench/bench", bench_sources(), BENCH_USES,
                                  "-lbenchmark", rule="linkxx"))
    return outputs


def layer_stamps():
    return sorted({layer_stamp(path) for path in all_files()})


def write_checks(ninja):
    """One stamp a folder, so that a fault in one does not stop the programs of another."""
    for stamp in layer_stamps():
        folder = os.path.basename(stamp)[:-len(".ok")]
        ninja.build([stamp], "layers", [path for path in all_files() if path.startswith(folder + "/")],
                    implicit=["tools/lint/layers.py", "configure.py"])
    ninja.build(["layers"], "phony", layer_stamps())


def write_generated(ninja):
    for generated in GENERATED:
        inputs = [path for pattern in generated.inputs for path in find(pattern)]
        ninja.build([generated.path], "generate", inputs, implicit=generated.optional, make=generated.command)
        # Without this, ninja would stop when there is none.
        ninja.build(generated.optional, "phony")


def build_ninja():
    ninja = Ninja()
    ninja.line("# Written by configure.py; edit that instead. Run it after a merge conflict here.")
    ninja.line()
    ninja.line("ninja_required_version = 1.10")
    ninja.line("builddir = build")
    ninja.line("include build.local.ninja")
    ninja.line()
    ninja.rule("configure", command="./configure.py", description="CONFIGURE", generator="1", restat="1")
    folders = folders_of(all_files() + [path for generated in GENERATED for pattern in generated.inputs
                                        for path in find(pattern)])
    ninja.build(["build.ninja"], "configure", implicit=["configure.py", *folders])
    # A folder that was removed is not an error but a reason to run configure.py again.
    ninja.build(folders, "phony")
    ninja.line()
    ninja.rule("layers", command="tools/lint/layers.py $in && touch $out", description="LAYERS $out")
    ninja.rule("ar", command="rm -f $out && $ar rcs $out $in", description="AR $out")
    ninja.rule("publish", command="ln -sf $target $out", description="LINK $out")
    ninja.rule("bench", command="SLUICE_BENCH_BENEFICIARIES=256 $in --benchmark_repetitions=5 "
                                "--benchmark_report_aggregates_only=true", description="BENCH $in", pool="console")
    ninja.rule("test", command="tests/run.py --variant $variant", description="TEST $variant", pool="console")
    ninja.rule("generate", command="$make $out", description="GENERATE $out", restat="1")
    write_checks(ninja)
    write_generated(ninja)
    for variant in VARIANTS:
        write_variant(ninja, variant)
    ninja.line()
    ninja.line("# ---- the programs in build/, and targets")
    ninja.line()
    published = [program.name for program in PROGRAMS if find(program.sources)]
    for name in published:
        ninja.build([f"build/{name}"], "publish", [f"build/{DEFAULT_VARIANT}/{name}"], target=f"{DEFAULT_VARIANT}/{name}")
    ninja.build(["programs"], "phony", [f"build/{name}" for name in published])
    for variant in VARIANTS:
        if "tests" in variant.parts:
            ninja.build([f"test-{variant.name}"], "test", [variant.name], variant=variant.name)
    if bench_sources():
        ninja.build(["bench"], "bench", [f"build/{DEFAULT_VARIANT}/tests/bench/bench"])
    ninja.build(["test"], "phony", [f"test-{DEFAULT_VARIANT}"])
    ninja.build(["all"], "phony", [variant.name for variant in VARIANTS])
    ninja.line(f"default {DEFAULT_VARIANT}")
    return ninja.text()


# ---- What is not committed --------------------------------------------------------------------------------

def local_values():
    """The machine's choices: those of the environment, over those made before, over the defaults."""
    values = {name: default for name, _, default in LOCAL}
    try:
        with open(os.path.join(ROOT, "build.local.ninja"), encoding="utf-8") as file:
            for line in file:
                name, equals, value = line.partition("=")
                if equals and name.strip() in values:
                    values[name.strip()] = value.strip()
    except FileNotFoundError:
        pass
    values.update({name: os.environ[variable] for name, variable, _ in LOCAL if variable in os.environ})
    return values


def local_ninja(values):
    lines = ["# This machine's choices, kept by configure.py; CC, CXX, AR, CLANG, CFLAGS and LDFLAGS set them."]
    return "\n".join(lines + [f"{name} = {values[name]}" for name, _, _ in LOCAL]) + "\n"


def compile_commands(values):
    debug = next(variant for variant in VARIANTS if variant.name == "debug")
    return json.dumps([{"directory": ROOT, "file": path,
                        "arguments": [*shlex.split(values["cc"]), *f"{C_FLAGS} {debug.compile}".split(), "-c", path,
                                      "-o", object_of(debug, path)]}
                       for path in all_files() if path.endswith(".c")], indent=1) + "\n"


def write_if_changed(name, text):
    """Replaces the file in one step, and only if it differs: ninja would build again, and editors reload."""
    path = os.path.join(ROOT, name)
    try:
        with open(path, encoding="utf-8") as file:
            if file.read() == text:
                return
    except FileNotFoundError:
        pass
    temporary = f"{path}.{os.getpid()}.new"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, path)


def main():
    if len(sys.argv) > 1:
        print(__doc__.strip())
        return 0 if sys.argv[1:] in (["--help"], ["-h"]) else 2
    values = local_values()
    write_if_changed("build.local.ninja", local_ninja(values))
    write_if_changed("build.ninja", build_ninja())
    write_if_changed("compile_commands.json", compile_commands(values))
    return 0


if __name__ == "__main__":
    sys.exit(main())
