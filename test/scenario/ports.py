"""Ports for what cannot choose one by itself. Several tests run at the same time, and what the kernel hands out to one it may hand out to another, or to any connection,
before the first listens: so they come from below the kernel's own range, and each is held, by an abstract socket of its name, until the process that asked for it ends."""
import random, socket

held = []


def lowest_of_kernel():
    with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
        return int(f.read().split()[0])


def free_port():
    end = lowest_of_kernel()
    while True:
        port = random.randrange(10000, end) if end > 12000 else random.randrange(10000, 60000)
        name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            name.bind(f"\0kith-test-port-{port}")
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            name.close()
            continue
        held.append(name)
        return port
