#!/bin/sh
# A search as a job of a Ray cluster that is there. Was the driver killed? Submit it again: the same run goes on.
#
# Where: RAY_API_SERVER_ADDRESS is the cluster's dashboard, such as http://HEAD:8265. A token that the cluster wants lies in
# ~/.ray/auth_token, and never here. The cluster needs ray[default], and nxt on every machine.
# Storage: /shared is the same folder on all machines, on a disk with locks (NFS v4): images, runs and checkpoints.
exec ray job submit --no-wait -- sh -c 'exec nxt search --flops 4.1G --data folder:/shared/images --trials 1000 \
    --out /shared/runs/first --resume-or-new --address "$RAY_ADDRESS"'
