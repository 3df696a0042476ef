"""Does the GPU read the station's frames in place fast enough? Bandwidth of mapped pinned memory.

Written without a GPU and NOT RUN on one yet. Nothing but Python and the CUDA driver is needed: the
driver's functions are called by ctypes. A frame-sized block of host memory that is page-locked and mapped
into the GPU's addresses is read by the copy engine into device memory, got in both ways that the station
uses: registered (cuMemHostRegister on ordinary pages, as the buffers of its cameras are) and allocated
(cuMemHostAlloc, as an engine's own input and outputs are). A pageable block copied the ordinary way is the
comparison. On a Jetson all are the same DRAM, on a desktop card the bus lies between them.

    python3 benches/gpu/bandwidth.py
"""

import ctypes
import mmap
import sys

# cuda.h
MEMHOSTALLOC_DEVICEMAP = 2
MEMHOSTREGISTER_DEVICEMAP = 2
ROUNDS = 200
# Bytes of one frame.
FRAMES = {
    "640x480 RGB8": 640 * 480 * 3,
    "1920x1200 BayerRG8": 1920 * 1200,
    "1920x1200 RGB8": 1920 * 1200 * 3,
    "4096x3000 BayerRG8": 4096 * 3000,
}


class Cuda:
    """The driver; a failed call ends the program with its name and code."""

    def __init__(self):
        try:
            self.library = ctypes.CDLL("libcuda.so.1")
        except OSError:
            sys.exit("no CUDA driver on this machine: libcuda.so.1 is not there")
        self.call("cuInit", 0)
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self.call("cuDeviceGet", ctypes.byref(device), 0)
        name = ctypes.create_string_buffer(100)
        self.call("cuDeviceGetName", name, 100, device)
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self.call("cuCtxSetCurrent", context)
        self.name = name.value.decode()

    def call(self, function, *arguments):
        code = getattr(self.library, function)(*arguments)
        if code != 0:
            sys.exit(f"{function} failed with CUDA error {code}")

    def device(self, size):
        pointer = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(size))
        return pointer

    def registered(self, size):
        """Whole ordinary pages, registered: their (host, device) addresses, and the pages to keep."""
        pages = mmap.mmap(-1, -(-size // mmap.PAGESIZE) * mmap.PAGESIZE)
        host, device = ctypes.c_void_p(ctypes.addressof(ctypes.c_uint8.from_buffer(pages))), ctypes.c_uint64()
        flags = ctypes.c_uint(MEMHOSTREGISTER_DEVICEMAP)
        self.call("cuMemHostRegister_v2", host, ctypes.c_size_t(len(pages)), flags)
        self.call("cuMemHostGetDevicePointer_v2", ctypes.byref(device), host, 0)
        return host, device, pages

    def allocated(self, size):
        """Memory of the driver as (host, device) addresses."""
        host, device = ctypes.c_void_p(), ctypes.c_uint64()
        flags = ctypes.c_uint(MEMHOSTALLOC_DEVICEMAP)
        self.call("cuMemHostAlloc", ctypes.byref(host), ctypes.c_size_t(size), flags)
        self.call("cuMemHostGetDevicePointer_v2", ctypes.byref(device), host, 0)
        return host, device

    def milliseconds(self, copy):
        """Median time of `copy`, by events of the GPU."""
        begin, end = ctypes.c_void_p(), ctypes.c_void_p()
        self.call("cuEventCreate", ctypes.byref(begin), 0)
        self.call("cuEventCreate", ctypes.byref(end), 0)
        times = []
        for _ in range(ROUNDS):
            self.call("cuEventRecord", begin, None)
            copy()
            self.call("cuEventRecord", end, None)
            self.call("cuEventSynchronize", end)
            took = ctypes.c_float()
            self.call("cuEventElapsedTime", ctypes.byref(took), begin, end)
            times.append(took.value)
        return sorted(times)[ROUNDS // 2]


def main():
    cuda = Cuda()
    print(cuda.name)
    print("| frame | registered | allocated | pageable |")
    print("| --- | --- | --- | --- |")
    for name, size in FRAMES.items():
        target, length = cuda.device(size), ctypes.c_size_t(size)
        read = lambda source: cuda.milliseconds(lambda: cuda.call("cuMemcpyDtoDAsync_v2", target, source, length, None))
        host, source, pages = cuda.registered(size)
        ctypes.memset(host, 1, size)
        registered_ms = read(source)
        cuda.call("cuMemHostUnregister", host)
        host, source = cuda.allocated(size)
        ctypes.memset(host, 1, size)
        allocated_ms = read(source)
        cuda.call("cuMemFreeHost", host)
        pageable = (ctypes.c_uint8 * size)()
        pageable_ms = cuda.milliseconds(lambda: cuda.call("cuMemcpyHtoD_v2", target, pageable, length))
        rate = lambda ms: f"{ms:.3f} ms, {size / ms / 1e6:.1f} GB/s"
        print(f"| {name} | {rate(registered_ms)} | {rate(allocated_ms)} | {rate(pageable_ms)} |")
        cuda.call("cuMemFree_v2", target)


if __name__ == "__main__":
    main()
