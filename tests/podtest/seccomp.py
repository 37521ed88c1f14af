"""A seccomp filter like the container runtimes' default, for the launcher. Standard library only.

Runtimes allow what is known to be harmless and refuse the rest. Here it is the other way round with the same result:
what they refuse to a container without capabilities is refused, and so is everything that is newer than their lists.
"""

import ctypes
import os
import platform
import struct

EPERM, ENOSYS = 1, 38
LD_ABS, AND, JEQ, JGE, JSET, RET = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
#: Offsets in `struct seccomp_data`.
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, MODE_FILTER = 38, 22, 2
#: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
NAMESPACES = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
AF_VSOCK = 40

#: By machine: the audit architecture, then the numbers of what is refused.
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
REFUSED = {
    # mount and namespaces; keys; modules, kexec, bpf, perf; clocks, swap, quota, accounting, reboot; other processes'
    # memory policy; handles, userfaultfd, io_uring.
    "x86_64": {
        "acct": 163, "add_key": 248, "adjtimex_set": 305, "bpf": 321, "chroot": 161, "clock_settime": 227,
        "create_module": 174, "delete_module": 176, "fanotify_init": 300, "finit_module": 313, "fsconfig": 431,
        "fsmount": 432, "fsopen": 430, "fspick": 433, "get_kernel_syms": 177, "init_module": 175, "io_uring_enter": 426,
        "io_uring_register": 427, "io_uring_setup": 425, "ioperm": 173, "iopl": 172, "kcmp": 312,
        "kexec_file_load": 320, "kexec_load": 246, "keyctl": 250, "lookup_dcookie": 212, "mbind": 237,
        "mount": 165, "mount_setattr": 442,
        "move_mount": 429, "move_pages": 279, "nfsservctl": 180, "open_by_handle_at": 304, "open_tree": 428,
        "perf_event_open": 298, "pivot_root": 155, "query_module": 178, "quotactl": 179, "reboot": 169,
        "request_key": 249, "set_mempolicy": 238, "setdomainname": 171, "sethostname": 170, "setns": 308,
        "settimeofday": 164, "swapoff": 168, "swapon": 167, "sysfs": 139, "sysctl": 156, "umount2": 166,
        "unshare": 272, "uselib": 134, "userfaultfd": 323, "ustat": 136, "vhangup": 153,
    },
    "aarch64": {
        "acct": 89, "add_key": 217, "adjtimex_set": 266, "bpf": 280, "chroot": 51, "clock_settime": 112,
        "delete_module": 106, "fanotify_init": 262, "finit_module": 273, "fsconfig": 431, "fsmount": 432, "fsopen": 430,
        "fspick": 433, "init_module": 105, "io_uring_enter": 426, "io_uring_register": 427, "io_uring_setup": 425,
        "kcmp": 272, "kexec_file_load": 294, "kexec_load": 104, "keyctl": 219, "lookup_dcookie": 18, "mbind": 235,
        "mount": 40, "mount_setattr": 442, "move_mount": 429, "move_pages": 239, "nfsservctl": 42,
        "open_by_handle_at": 265, "open_tree": 428, "perf_event_open": 241, "pivot_root": 41, "quotactl": 60,
        "reboot": 142, "request_key": 218, "set_mempolicy": 237, "setdomainname": 162, "sethostname": 161, "setns": 268,
        "settimeofday": 170, "swapoff": 225, "swapon": 224, "umount2": 39, "unshare": 97, "userfaultfd": 282,
        "vhangup": 58,
    },
}  # fmt: skip
CLONE = {"x86_64": 56, "aarch64": 220}
SOCKET = {"x86_64": 41, "aarch64": 198}
#: Its flags are in memory, where a filter cannot look: refused as unknown, so that libc takes `clone`.
CLONE3 = 435
#: mseal: the newest on the runtimes' lists.
NEWEST = 462


def program() -> bytes:
    """The filter, as the kernel takes it."""
    machine = platform.machine()
    refused = sorted(REFUSED[machine].values())
    steps: list[tuple[int, int, int, int]] = [
        (LD_ABS, 0, 0, ARCHITECTURE),
        (JEQ, 1, 0, AUDIT[machine]),
        (RET, 0, 0, KILL),
        (LD_ABS, 0, 0, NUMBER),
        # Also what only 32-bit programs on a 64-bit kernel call.
        (JGE, 0, 1, NEWEST + 1),
        (RET, 0, 0, ERRNO | ENOSYS),
        (JEQ, 0, 1, CLONE3),
        (RET, 0, 0, ERRNO | ENOSYS),
    ]
    for number in refused:
        steps += [(JEQ, 0, 1, number), (RET, 0, 0, ERRNO | EPERM)]
    steps += [
        (JEQ, 0, 4, CLONE[machine]),
        (LD_ABS, 0, 0, FIRST_ARGUMENT),
        (JSET, 0, 1, NAMESPACES),
        (RET, 0, 0, ERRNO | EPERM),
        (RET, 0, 0, ALLOW),
        (JEQ, 0, 3, SOCKET[machine]),
        (LD_ABS, 0, 0, FIRST_ARGUMENT),
        (JEQ, 0, 1, AF_VSOCK),
        (RET, 0, 0, ERRNO | EPERM),
        (RET, 0, 0, ALLOW),
    ]
    return b"".join(struct.pack("HBBI", *step) for step in steps)


class Fprog(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def confine() -> None:
    """No new privileges for this process and what it becomes, and the filter."""
    libc = ctypes.CDLL(None, use_errno=True)
    text = program()
    prog = Fprog(len(text) // 8, text)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, MODE_FILTER, ctypes.byref(prog), 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, f"seccomp: {os.strerror(number)}")
