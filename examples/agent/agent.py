#!/usr/bin/env python3
"""Steers an overlay instead of the built-in policy: direct ways for the few strongest pairs, however many talk.

It shows all that an agent needs of the API (docs/adaptation.md): watch views, hold the lease, apply plans. It uses nothing but
Python's standard library, and runs on the Proxy's machine, whose daemon it asks over the unix socket:

    sudo examples/agent/agent.py --pairs 3
"""

import argparse
import http.client
import json
import os
import socket
import struct
import sys


class Daemon(http.client.HTTPConnection):
    """A daemon's unix socket, over which each call is one POST of JSON."""

    def __init__(self, path):
        super().__init__("vnet")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)

    def post(self, method, body, kind):
        self.request("POST", "/vnet.v1.Daemon/" + method, body, {"Content-Type": kind})
        return self.getresponse()

    def ask(self, method, **request):
        """Makes one call and returns its answer."""
        answer = self.post(method, json.dumps(request), "application/json")
        body = json.loads(answer.read())
        if answer.status != 200:
            raise RuntimeError(f"{method}: {body.get('message', body)}")
        return body

    def watch(self, method, **request):
        """Yields the messages of a stream: a byte of flags, four of length, JSON; flag 2 is on the last, which says how it ended."""
        text = json.dumps(request).encode()
        answer = self.post(method, struct.pack(">BI", 0, len(text)) + text, "application/connect+json")
        while head := answer.read(5):
            flags, length = struct.unpack(">BI", head)
            message = json.loads(answer.read(length))
            if flags & 2:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error'].get('message')}")
                return
            yield message


def strongest(view, most):
    """The ways for the pairs of VMs that exchange most, each over a direct link."""
    edges = [e for g in view.get("app", {}).get("groups", []) for e in g.get("edges", [])]
    edges.sort(key=lambda e: -e.get("rateBps", 0))
    return [{"a": e["aMac"], "b": e["bMac"]} for e in edges[:most]]


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--socket", default=os.environ.get("VNET_SOCKET", "/run/vnet/vnet.sock"))
    options.add_argument("--pairs", type=int, default=3, help="how many pairs get direct links")
    options.add_argument("--name", default="strongest-pairs")
    chosen = options.parse_args()

    calls, views = Daemon(chosen.socket), Daemon(chosen.socket)
    token, made = "", None
    try:
        for view in views.watch("WatchView", every="1s"):
            # The lease runs out 10 s after it was last taken or kept: an agent that dies gives way to the policy.
            token = calls.ask("AcquireLease", agent=chosen.name, token=token, lasts="10s")["token"]
            plan = strongest(view, chosen.pairs)
            if plan == made:
                continue
            done = calls.ask("ApplyPlan", token=token, ways=plan, reason=f"the {len(plan)} strongest pairs")
            made = plan
            print(f"{len(plan)} ways wanted, made in {done.get('took', '0s')}", flush=True)
            for r in done.get("notDone", []):
                print(f"  not {r['what']}: {r['reason']}", flush=True)
    except (RuntimeError, OSError) as err:
        sys.exit(f"agent: {err}")
    except KeyboardInterrupt:
        pass
    finally:
        if token:
            calls.ask("ReleaseLease", token=token)


if __name__ == "__main__":
    main()
