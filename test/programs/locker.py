# A foreign process that locks: told by lines on stdin, answers by lines on stdout.
import fcntl
import os
import sys

path, kind = sys.argv[1], sys.argv[2]
lock = {"flock": fcntl.flock, "lockf": fcntl.lockf}[kind]
MODES = {"exclusive": fcntl.LOCK_EX, "shared": fcntl.LOCK_SH}


def same(fd):
    """The identity check: the open file is still the one at the path."""
    try:
        here = os.stat(path)
    except FileNotFoundError:
        return False
    mine = os.fstat(fd)
    return (here.st_dev, here.st_ino) == (mine.st_dev, mine.st_ino)


def hold():
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        lock(fd, fcntl.LOCK_EX)
        if same(fd):
            return fd
        os.close(fd)


def increment(counter, times):
    """Read, modify, write, under the lock; every other time the file is removed while it is held."""
    for turn in range(times):
        fd = hold()
        with open(counter) as file:
            value = int(file.read())
        with open(counter, "w") as file:
            file.write(str(value + 1))
        if turn % 2 == 0:
            os.unlink(path)
        os.close(fd)


if len(sys.argv) > 3:
    increment(sys.argv[3], int(sys.argv[4]))
    sys.exit()

fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
for line in sys.stdin:
    command, _, mode = line.strip().partition(" ")
    try:
        if command == "try":
            lock(fd, MODES[mode] | fcntl.LOCK_NB)
        elif command == "lock":
            lock(fd, MODES[mode])
        elif command == "unlock":
            lock(fd, fcntl.LOCK_UN)
        print("ok", flush=True)
    except BlockingIOError:
        print("busy", flush=True)
