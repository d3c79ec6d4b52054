"""Carries connections from one socket to another, of whatever kind."""

import socket
import threading


def pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the other side has gone: so does this one


def carry(listener, connect):
    """Joins each connection to `listener` with one that connect() makes, until the listener is closed."""
    while True:
        try:
            near = listener.accept()[0]
        except OSError:
            return
        far = connect()
        for ends in ((near, far), (far, near)):
            threading.Thread(target=pump, args=ends, daemon=True).start()
