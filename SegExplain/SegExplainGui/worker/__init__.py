"""The worker from this side: a process, its messages, questions one at a time. Plain Python but for `qt_process`."""
