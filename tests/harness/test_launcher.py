"""The launcher and the watchers must tell the truth before anything they say of a server counts."""

import os
import signal
import sys
from pathlib import Path

import pytest
from podtest import http, processes
from podtest.gate import Gate
from podtest.namespaces import why_not
from podtest.server import RANDOM_UID, Server
from podtest.waiting import wait_until

pytestmark = pytest.mark.skipif(why_not() is not None, reason=f"no namespaces: {why_not()}")


def python(code: str, **options: object) -> Server:
    """A Python program as PID 1."""
    return Server(
        executable=[sys.executable, "-S", "-c", code],
        bind=False,
        admin=False,
        pid1=True,
        **options,  # type: ignore[arg-type]
    )


def test_the_program_is_pid_1_with_its_own_proc():
    with python("import os; print(os.getpid(), sorted(e for e in os.listdir('/proc') if e.isdigit()))") as program:
        assert program.wait_exit() == 0
        program.out.join()
        assert program.out.text == "1 ['1']\n"


@pytest.mark.parametrize("code", [0, 1, 3, 4, 255])
def test_exit_codes_are_the_programs_own(code):
    with python(f"raise SystemExit({code})") as program:
        assert program.wait_exit() == code


def test_a_kill_is_told_as_a_kill():
    with python("import time; print('up', flush=True); time.sleep(600)") as program:
        program.out.wait_for("up")
        assert program.stop(signal.SIGKILL) == -signal.SIGKILL


def test_signals_reach_the_program_only_as_the_kernel_delivers_them():
    code = (
        "import signal,sys; signal.signal(2, signal.default_int_handler);"  # whoever started us may ignore it
        "signal.signal(15, lambda *_: sys.exit(33)); print('up', flush=True); signal.pause()"
    )
    with python(code) as program:
        program.out.wait_for("up")
        program.send(signal.SIGINT)  # Python catches it, but here we use HUP, which nobody catches:
        wait_until(lambda: not program.running(), "the end")
    with python(code) as program:
        program.out.wait_for("up")
        program.send(signal.SIGHUP)  # default action: PID 1 never gets it
        assert processes.minds(program.pid, signal.SIGTERM)
        assert not processes.minds(program.pid, signal.SIGHUP)
        assert program.stop(signal.SIGTERM) == 33


def test_read_only_means_nothing_can_be_written():
    code = """
import os, errno
for place in ("/", "/tmp", "/var/tmp", "/dev/shm", "/run", os.getcwd()):
    path = os.path.join(place, "podicorn-nothing-is-written-here")
    try:
        open(path, "w"); print("WROTE", path)
    except OSError as error:
        print(path, errno.errorcode[error.errno])
open("/dev/null", "w").write("fine")
"""
    with python(code, read_only=True) as program:
        assert program.wait_exit() == 0, program.err.text
        program.out.join()
        assert "WROTE" not in program.out.text
        assert program.out.text.count("EROFS") == 6


def test_a_random_user_reaches_what_it_must_and_no_more(tmp_path):
    code = "import os, json; print(os.getuid(), os.getgid(), os.getgroups())"
    with python(code, uid=RANDOM_UID, read_only=True) as program:
        assert program.wait_exit() == 0, program.err.text
        program.out.join()
        assert program.out.text == f"{RANDOM_UID} {RANDOM_UID} []\n"


def test_closing_ends_even_what_has_detached():
    code = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork(): os._exit(0)\n"
        "    print('detached', flush=True); time.sleep(600)\n"
        "time.sleep(600)\n"
    )
    with Server(executable=[sys.executable, "-S", "-c", code], bind=False, admin=False) as program:
        program.out.wait_for("detached")
        family = program.family()
        assert len(family) == 2  # the middle process is gone or a zombie
    assert not any(processes.alive(pid) for pid in family)


def test_zombies_are_seen():
    code = "import os, time\nif os.fork() == 0: os._exit(0)\nprint('up', flush=True); time.sleep(600)"
    with Server(executable=[sys.executable, "-S", "-c", code], bind=False, admin=False) as program:
        program.out.wait_for("up")
        wait_until(lambda: len(program.zombies()) == 1, "the zombie")


def test_the_gate_holds_and_lets_go(tmp_path):
    gate = Gate(str(tmp_path / "g"))
    code = "import gate_client; gate_client.pause('here'); print('through', flush=True)"
    program = Server(executable=[sys.executable, "-c", code], bind=False, admin=False, environment=gate.environment)
    with program:
        (visitor,) = gate.wait(1, "here")
        assert visitor.pid == program.pid
        assert program.out.text == ""
        gate.release(visitor)
        program.out.wait_for("through")
        assert program.wait_exit() == 0
    gate.close()


RAW_SERVER = """
import socket, struct, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("up", flush=True)
for how in ("whole", "cut", "reset", "chunked"):
    peer, _ = listener.accept()
    peer.recv(65536)
    if how == "whole":
        peer.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
    elif how == "cut":
        peer.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 9\\r\\n\\r\\nok")
    elif how == "chunked":
        peer.sendall(b"HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n2\\r\\nok\\r\\n0\\r\\n\\r\\n")
    else:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
"""


def test_the_client_tells_whole_cut_reset_and_chunked_apart(tmp_path):
    script = Path(tmp_path / "raw_server.py")
    script.write_text(RAW_SERVER)
    server = Server(bind=False, admin=False, executable=[sys.executable, "-S", str(script)], program="raw")
    server.close()
    with Server(str(server.port), executable=[sys.executable, "-S", str(script)], bind=False, admin=False) as program:
        address = ("127.0.0.1", server.port)
        program.out.wait_for("up")
        assert (response := http.request(address)).body == b"ok" and response.end is http.End.FIN
        with pytest.raises(http.ExchangeError, match="body") as cut:
            http.request(address)
        assert cut.value.end is http.End.FIN
        with pytest.raises((http.ExchangeError, ConnectionResetError)):
            http.request(address)
        assert http.request(address).body == b"ok"
    assert os.path.exists(script)
