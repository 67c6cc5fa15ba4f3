"""SOCKET ADDRESS: an external path manager for one instance of polypath.

Gives every connection a backup subflow from ADDRESS, and prints all that it is told. The instance is best started with
`--path-manager external`, which opens none itself:

    polypath run --path-manager external --path wlan0 --path wwan0 -- PROGRAM
    python3 controller.py /run/polypath/PID.sock 10.2.0.2
"""

import json
import socket
import sys


def main(path, address):
    control = socket.socket(socket.AF_UNIX)
    control.connect(path)
    lines = control.makefile("rw")

    def ask(**command):
        lines.write(json.dumps(command) + "\n")
        lines.flush()

    def open_backup(connection, remote):
        ask(command="open", connection=connection, local=address, remote=remote, backup=True, id=connection)

    # What happens from now on; and what has happened already.
    ask(command="events")
    ask(command="snapshot")
    for line in lines:
        told = json.loads(line)
        if told.get("event") == "subflow_established" and told["subflow"] == 0:
            open_backup(told["connection"], told["remote"])
        for connection in told.get("snapshot", {}).get("connections", []):
            if len(connection["subflows"]) == 1 and connection["multipath"] == "active":
                open_backup(connection["id"], connection["subflows"][0]["remote"])
        if "snapshot" not in told:
            print(line.strip(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
