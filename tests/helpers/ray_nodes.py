"""A Ray cluster of several nodes on this machine: prints its address, and does what each line it reads says.

`add` has a node join, `kill` kills one, and `drain` tells one to leave, and waits until it does: when it is idle. That
is the oldest one, or with a number behind it another. After each line it prints how many nodes it has.

Node N, counted from 0, has a cache of its own in the folder N of $NXT_CACHE, if that is set.
"""

import itertools
import os
import sys
import time

os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # before Ray is imported: listen on the loopback address alone
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

from ray._raylet import GcsClient
from ray.cluster_utils import Cluster
from ray.core.generated.autoscaler_pb2 import DRAIN_NODE_REASON_PREEMPTION

NODE = {"num_cpus": 1, "object_store_memory": 100 << 20, "node_ip_address": "127.0.0.1"}


def say(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(count):
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "num_cpus": 0})
    cache, numbers = os.environ.get("NXT_CACHE"), itertools.count()

    def join():
        own = {"env_vars": {"NXT_CACHE": f"{cache}/{next(numbers)}"}} if cache else {}
        return cluster.add_node(**NODE, **own)

    nodes = [join() for _ in range(count)]
    say(cluster.address)
    for line in sys.stdin:
        word, *index = line.split()
        if word == "add":
            nodes.append(join())
        else:
            node = nodes.pop(int(index[0]) if index else 0)
            if word == "kill":
                cluster.remove_node(node, allow_graceful=False)
            else:
                told = GcsClient(address=cluster.address)
                assert told.drain_node(node.node_id, DRAIN_NODE_REASON_PREEMPTION, "preempted", 2**53)[0]
                while not node.dead_processes():
                    time.sleep(0.1)
        say(len(nodes))
    cluster.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]))
