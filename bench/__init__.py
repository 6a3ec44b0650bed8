"""What a request costs, what a fleet weighs, and whether the budgets are met: `make bench`.

Rules of the room. Nothing here judges a change by wall-clock time alone: the machine is taken to be
shared and noisy. What is compared is measured in the same run, in turns (A B A B), never one after
the other; a figure is the median of its rounds and is shown with its lowest and highest round.
Servers are judged by the CPU time that they used, on a core of their own. A ratio is that of two
medians; its range is that of the rounds taken pair by pair. Every load is checked: a round in which
a server answered anything but what was asked for ends the run. What others do on the machine is
watched (`quiet`): rounds that they disturb are made again while patience lasts, and do not count
where enough quiet ones are left.

Theory. `protocol` and `flat` drive the real plane and conversation without sockets (`stage`), so
that they tell what our own code costs, to a few percent. `sockets` puts the real process beside
nginx (`servers`) on one core and `wrk` on another. `scale` starts processes on fleets of many sizes
(`fleets`). `neighbour` listens for what one VM's noise does to the others, `changes` for what the
admin API's work does to them all. Each returns tables of `figures`; `budgets` holds the promises as
rows and finds their figures in the tables; `report` prints, and keeps the last full run as
`results/latest.json`, from which `docs/know/performance.md` is written.

What the room refuses to do: reach beyond loopback, end a process it did not start, assert a
time. The tests never run it, because a machine's mood is not a defect.
"""
