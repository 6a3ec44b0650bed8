"""The cost of requests, the size of fleets, the verdict on budgets: `make bench`.

Rules of the room. No change is judged by wall-clock time alone: the machine is taken to be shared
and noisy. Both sides of a comparison are measured in the same run, in turns (A B A B), never one
after the other; a figure is the median of its rounds and is shown with its lowest and highest
round. Servers are judged by the CPU time that they used, on a core of their own. A ratio is that of
two medians; its range is that of the rounds taken pair by pair. Every load is checked: a wrong
response ends the run. The load of other processes is watched (`quiet`): disturbed rounds are
repeated while patience lasts, and do not count where enough quiet ones are left.

Theory. `protocol`, `faults`, `flat` and `events` drive the real dispatcher and connections without
sockets (`harness`), so they measure our own code, to a few percent. `first_answer` measures the way
from a packed VM to the bytes of its first response. `sockets` puts the real process beside nginx
and Go's net/http (`servers`, `rivals/`) on one core and `wrk` on another. `storm` boots thousands
of VMs, `scale` starts processes on fleets of many sizes (`fleets`). `connections` measures memory
of open ones, `changes` the effect of the admin API on guests, `commands` the time that operators
wait, `signing` the cost of tokens and documents.

`floods` and `minting` have quiet guests (`guests`) wait for their responses while others load the
server (`beside`). The loads are processes (`loads`): `flooder` is one guest that does its worst,
`signing_load` are VMs that need signatures. A flood may go to a `sink` instead, which shows the
waits that are due to the generator alone. `host_floods` is a flood behind the rules of
`openimds host`, in a private network.

Each bench returns tables of `figures`; `budgets` holds the promises as rows and finds their figures
in the tables; `report` prints, and keeps the last full run as `results/latest.json`, from which
`docs/know/performance.md` is written.

The room refuses to reach beyond loopback and private networks, to end a process that it did not
start, and to assert a time. The tests never run it, because a busy machine is no defect.
"""
