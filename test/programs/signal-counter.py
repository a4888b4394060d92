# Says which signals it gets, each on a line, and at the end of its input "end".
import os, signal, sys

def got(number, _frame):
    os.write(1, (signal.Signals(number).name + '\n').encode())

for name in sys.argv[1:]:
    signal.signal(getattr(signal, name), got)
os.write(1, b'ready %d\n' % os.getpid())
while os.read(0, 1):
    pass
os.write(1, b'end\n')
