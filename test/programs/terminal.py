# Runs a command at a terminal of its own. Lines on stdin are typed into it ("^C" is Ctrl-C, "^Z" Ctrl-Z); what it shows goes to
# stdout; at the end a line "exited N" or "killed N".
import fcntl, os, pty, select, struct, sys, termios

pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])

fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 500, 0, 0))
sources = [terminal, 0]
while terminal in sources:
    for ready in select.select(sources, [], [])[0]:
        try:
            data = os.read(ready, 65536)
        except OSError:
            data = b''
        if not data:
            sources.remove(ready)
        elif ready == 0:
            os.write(terminal, data.replace(b'^C\n', b'\x03').replace(b'^Z\n', b'\x1a'))
        else:
            os.write(1, data)
status = os.waitpid(pid, 0)[1]
code = os.waitstatus_to_exitcode(status)
os.write(1, ('\nexited %d\n' % code if code >= 0 else '\nkilled %d\n' % -code).encode())
