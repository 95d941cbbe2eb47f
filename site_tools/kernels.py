"""Start a page's kernel as a copy of a process that has imported the large libraries before.

Importing torch and what pages need of it takes as long as many a page's own code. Here one
process does it (multiprocessing's fork server) and each kernel begins as its copy; the pages' own
package is never among the imports, so an edit of it always counts. Only on Linux: elsewhere
libraries do not survive being copied, and kernels start as usual.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner

# All that were made, so that a build that is stopped can end them.
_managers: list[AsyncKernelManager] = []


def manager(imports: list[str]) -> AsyncKernelManager:
    """A manager of one Python kernel, not yet started.

    imports: modules that it finds imported
    """
    kernel = AsyncKernelManager(kernel_name="python3")
    _managers.append(kernel)
    if imports and sys.platform == "linux":
        server = multiprocessing.get_context("forkserver")
        if (ours := str(Path(__file__).parents[1])) not in sys.path:
            sys.path.append(ours)  # the copies look for this module where this process would
        server.set_forkserver_preload(["ipykernel.kernelapp", *imports])
        kernel.provisioner = Copied(kernel_spec=kernel.kernel_spec, parent=kernel)
    return kernel


def end_all() -> None:
    """Kill every kernel that still runs, with all processes that its page started."""
    for kernel in _managers:
        provisioner = kernel.provisioner
        process, pid = getattr(provisioner, "process", None), getattr(provisioner, "pid", None)
        if process is None or pid is None or process.poll() is not None:
            continue
        with contextlib.suppress(OSError):
            if sys.platform != "win32":
                os.killpg(pid, signal.SIGKILL)  # each leads a group of its own
            process.kill()


class Copied(LocalProvisioner):
    """Launches a kernel as a child of the fork server; otherwise as the usual one."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        # cmd is: python -m ipykernel_launcher, and then arguments for the kernel.
        arguments = cmd[cmd.index("ipykernel_launcher") + 1 :]
        server = multiprocessing.get_context("forkserver")
        process = server.Process(
            target=_be_a_kernel, args=(arguments, kwargs["env"], kwargs["cwd"]), daemon=True
        )
        process.start()
        self.process = _Popen(process)  # type: ignore[assignment]
        self.pid, self.cwd = process.pid, kwargs["cwd"]
        return self.connection_info


class _Popen:
    """A process of multiprocessing with the methods of subprocess.Popen that are used."""

    stdin = stdout = stderr = None

    def __init__(self, process: BaseProcess) -> None:
        self._process = process

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self) -> int | None:
        self._process.join()
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self._process.pid is not None and self._process.is_alive():
            os.kill(self._process.pid, number)

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def _be_a_kernel(arguments: list[str], environment: dict[str, str], folder: str) -> None:
    from ipykernel.kernelapp import IPKernelApp

    os.setsid()  # Ctrl-C in the terminal is for the build, which ends its kernels
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path.insert(0, "")
    if "torch" in sys.modules:  # which read this variable when it was imported
        sys.modules["torch"].set_num_threads(int(environment["OMP_NUM_THREADS"]))
    # A kernel ends when its parent does.
    parent = f"--IPKernelApp.parent_handle={os.getppid()}"
    IPKernelApp.launch_instance([*arguments, parent])
