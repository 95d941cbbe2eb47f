"""The system calls that a submission's code may not make, as a program for the kernel.

Namespaces and limits keep most of a machine out of the jail. A few calls go around them: they make
new namespaces, in which the code would be root and could mount; they take memory that counts as no
process's; they open sockets that no network namespace holds back. Networks are traced without any
of them, so they are refused, to root as to anybody. `inner` hands the program over (seccomp, see
the kernel's Documentation/userspace-api/seccomp_filter.rst); nobody can take it back.
"""

import errno
import platform
import struct

# number on x86-64, and on arm64 and other newer machines; what the caller is told
REFUSED = {
    "unshare": (272, 97, errno.EPERM),  # new namespaces, users' among them
    "setns": (308, 268, errno.EPERM),
    "clone3": (435, 435, errno.ENOSYS),  # its flags lie out of sight; the C library then uses clone
    "shmget": (29, 194, errno.EPERM),  # System V's shared memory, semaphores and messages
    "semget": (64, 190, errno.EPERM),
    "msgget": (68, 186, errno.EPERM),
    "memfd_create": (319, 279, errno.EPERM),  # files in memory, and nowhere else
    "memfd_secret": (447, 447, errno.EPERM),
    "socket": (41, 198, errno.EAFNOSUPPORT),  # AF_VSOCK reaches the host of a virtual machine
    "io_uring_setup": (425, 425, errno.ENOSYS),  # makes other calls where no filter sees them
    "bpf": (321, 280, errno.EPERM),
    "add_key": (248, 217, errno.EPERM),  # the keys of whoever grades
    "request_key": (249, 218, errno.EPERM),
    "keyctl": (250, 219, errno.EPERM),
}
CLONE = (56, 220)
# CLONE_NEWNS, -CGROUP, -UTS, -IPC, -USER, -PID and -NET of linux/sched.h
NEW_NAMESPACES = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x60000000

# Of linux/audit.h. Through another architecture's door the same calls have other numbers.
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32 = 0x40000000  # from here on numbers of x86-64's third door

# Of linux/bpf_common.h and linux/seccomp.h
LOAD, IF_EQUAL, IF_AT_LEAST, IF_ANY_BIT, ANSWER = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16  # where they lie in struct seccomp_data


def program(machine: str | None = None) -> bytes:
    """Instructions (struct sock_filter) one after the other; empty for an unknown machine.

    machine: as `platform.machine()`
    """
    machine = machine or platform.machine()
    if machine not in ARCHITECTURES:
        return b""
    column = list(ARCHITECTURES).index(machine)
    steps = [
        (LOAD, 0, 0, ARCHITECTURE),
        (IF_EQUAL, 1, 0, ARCHITECTURES[machine]),  # then skips 1 step, else 0
        (ANSWER, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
    ]
    if machine == "x86_64":
        steps += [(IF_AT_LEAST, 0, 1, X32), (ANSWER, 0, 0, KILL)]
    for *numbers, told in REFUSED.values():
        steps += [(IF_EQUAL, 0, 1, numbers[column]), (ANSWER, 0, 0, REFUSE | told)]
    steps += [
        (IF_EQUAL, 0, 3, CLONE[column]),
        (LOAD, 0, 0, FIRST_ARGUMENT),
        (IF_ANY_BIT, 0, 1, NEW_NAMESPACES),
        (ANSWER, 0, 0, REFUSE | errno.EPERM),
        (ANSWER, 0, 0, ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
