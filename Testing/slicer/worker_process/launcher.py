"""What PythonSlicer is to Python: a process that only starts another one, waits for it, and hides how it ended."""

import subprocess
import sys

code = subprocess.call([sys.executable, *sys.argv[1:]])
if code < 0:
    sys.stderr.write(f"error: [{sys.executable}] exit abnormally - Report the problem.\n")
sys.exit(1 if code < 0 else code)
