# A client of the chaos that is no Node program: fcntl.flock, fcntl.lockf, or flock(1), at random until its input ends.
import fcntl, json, os, random, select, subprocess, sys, time

logs, resource, path, kind, seed, pauses = sys.argv[1:7]
if kind == "inside":  # run by flock(1), which has the lock
    print(time.monotonic_ns(), flush=True)
    time.sleep(0.001)
    print(time.monotonic_ns(), flush=True)
    sys.exit()

client = f"{os.getpid()}.python.{seed}"
log = os.open(os.path.join(logs, f"log-{client}"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
dice = random.Random(int(seed))
count = 0


def record(**event):
    os.write(log, (json.dumps({"at": time.monotonic_ns(), **event}) + "\n").encode())


while not select.select([sys.stdin], [], [], dice.random() * float(pauses))[0]:
    count += 1
    number = f"{client}#{count}"
    shared = dice.random() < 0.5
    record(what="ask", id=number, client=client, resource=resource, mode="shared" if shared else "exclusive")
    if kind == "flock(1)":
        inside = [sys.executable, __file__, logs, resource, path, "inside", seed, pauses]
        ran = subprocess.run(["flock", "-s" if shared else "-x", path, *inside], capture_output=True, text=True)
        begin, end = ran.stdout.split()
        record(what="begin", id=number, at=int(begin))
        record(what="end", id=number, at=int(end))
        continue
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    call = fcntl.flock if kind == "flock" else fcntl.lockf
    call(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    record(what="begin", id=number)
    time.sleep(dice.random() * 0.002)
    record(what="end", id=number)
    call(fd, fcntl.LOCK_UN)
    os.close(fd)
