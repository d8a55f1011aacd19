//go:build system

package vm_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kudev/kudev/cmd/kudev/internal/vm"
	"github.com/kudev/kudev/cmd/kudev/internal/vm/vmtest"
)

// BenchmarkSecondColdplug takes one machine, all its modules loaded, through full coldplugs by systemd-udevd and by kudev, which take
// turns, three each, both with Debian's rules and hwdb.bin. A turn is: the daemon is started, goes once over everything, is left
// until it has nothing else to do, and then goes over it twice more, which is what counts: from the trigger until all is settled, with the
// daemon, what it runs, and the commands. kudev does it twice more again with udevadm's trigger and settle in place of its
// own coldplug. Reported are the medians of the six, and kudev's in parts of systemd-udevd's. Run it with -benchtime 1x.
func BenchmarkSecondColdplug(b *testing.B) {
	root := vm.NewTree()
	vmtest.Kudev(b, root)
	if err := vmtest.Debian(b).AddUdevd(b.Context(), root); err != nil {
		b.Fatal(err)
	}
	g := vmtest.Boot(b, vm.Options{Machine: contents(b), Root: root})
	g.Sh(prepare + "systemd-udevd --daemon; " + pass + "; sleep 4; udevadm settle; udevadm control --exit")
	const twice = 2
	var udevd, kudev, trigger costs
	measured := func(who string, all *costs, daemon, script string) {
		for range twice {
			*all = append(*all, measure(b, g, daemon, script))
			b.Logf("%s: %v", who, (*all)[len(*all)-1])
		}
	}
	for range 3 {
		g.Sh("systemd-udevd --daemon; " + pass)
		measured("systemd-udevd with udevadm", &udevd, "udev", pass) // its workers are called (udev-worker)
		g.Sh("udevadm control --exit")

		daemon := g.Spawn(vm.Command{Args: []string{"kudev", "daemon", "--ready-fd", "3"}, Ready: true})
		if _, err := daemon.Ready(b.Context()); err != nil {
			b.Fatal(err)
		}
		g.Sh("kudev coldplug")
		measured("kudev with kudev coldplug", &kudev, "kudev", "kudev coldplug")
		measured("kudev with udevadm", &trigger, "kudev", pass)
		daemon.Signal(syscall.SIGTERM)
		if _, err := daemon.Wait(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.Logf("medians\nsystemd-udevd with udevadm: %v\nkudev with kudev coldplug: %v\nkudev with udevadm: %v", udevd.median(), kudev.median(), trigger.median())
	kudev.median().report(b, "", udevd.median())
	trigger.median().report(b, "trigger-", udevd.median())
}

// BenchmarkFirstColdplug boots the demonstration's machine three times with systemd-udevd and Debian's rules and three times with
// kudev and its own, by turns, and reports the medians of the coldplug that loads all modules. kudev's waits until USB has been
// scanned, udevadm settle does not. Run it with -benchtime 1x.
func BenchmarkFirstColdplug(b *testing.B) {
	theirs, ours := vm.NewTree(), vm.NewTree()
	if err := vmtest.Debian(b).AddUdevd(b.Context(), theirs); err != nil {
		b.Fatal(err)
	}
	vmtest.Kudev(b, ours)
	var udevd, kudev costs
	for range 3 {
		g := vmtest.Boot(b, vm.Options{Machine: vm.Demo(), Root: theirs})
		g.Sh("systemd-udevd --daemon")
		udevd = append(udevd, measure(b, g, "udev", pass))
		g.Close()

		g = vmtest.Boot(b, vm.Options{Machine: vm.Demo(), Root: ours})
		daemon := g.Spawn(vm.Command{Args: []string{"kudev", "daemon", "--ready-fd", "3"}, Ready: true})
		if _, err := daemon.Ready(b.Context()); err != nil {
			b.Fatal(err)
		}
		kudev = append(kudev, measure(b, g, "kudev", "kudev coldplug"))
		g.Close()
		b.Logf("systemd-udevd: %v\nkudev: %v", udevd[len(udevd)-1], kudev[len(kudev)-1])
	}
	b.Logf("medians\nsystemd-udevd: %v\nkudev: %v", udevd.median(), kudev.median())
	kudev.median().report(b, "", udevd.median())
}

// cost is what a pass takes.
type cost struct {
	wall  time.Duration
	guest time.Duration // processor time of the whole guest, as it counts itself: what the host gives to others meanwhile is in it
	own   time.Duration // of it the daemon's, its children's, and the commands'
	host  time.Duration // processor time of the emulator: not so
}

func (c cost) String() string {
	return fmt.Sprintf("wall %.2f s, processor %.2f s, of it the manager's %.2f s; the emulator's %.2f s", c.wall.Seconds(), c.guest.Seconds(), c.own.Seconds(), c.host.Seconds())
}

// report reports what it is of another.
func (c cost) report(b *testing.B, prefix string, peer cost) {
	b.ReportMetric(c.wall.Seconds()/peer.wall.Seconds(), prefix+"wall/udevd")
	b.ReportMetric(c.guest.Seconds()/peer.guest.Seconds(), prefix+"cpu/udevd")
	b.ReportMetric(c.host.Seconds()/peer.host.Seconds(), prefix+"emulator/udevd")
}

type costs []cost

// median takes the median of each.
func (all costs) median() cost {
	middle := func(of func(cost) time.Duration) time.Duration {
		var list []time.Duration
		for _, c := range all {
			list = append(list, of(c))
		}
		slices.Sort(list)
		return list[len(list)/2]
	}
	return cost{middle(func(c cost) time.Duration { return c.wall }), middle(func(c cost) time.Duration { return c.guest }),
		middle(func(c cost) time.Duration { return c.own }), middle(func(c cost) time.Duration { return c.host })}
}

// measure runs the script once the daemon has nothing else to do: kudev, once it is ready, goes on checking all modules.
func measure(b *testing.B, g *vmtest.Guest, daemon, script string) cost {
	for before := time.Duration(-1); before != daemonTime(g, daemon); {
		before = daemonTime(g, daemon)
		g.Sh("sleep 1")
	}
	emulator := func() time.Duration {
		took, err := g.ProcessorTime()
		if err != nil {
			b.Fatal(err)
		}
		return took
	}
	its, all, host := daemonTime(g, daemon), processorTime(g), emulator()
	r := g.Must("sh", "-c", script)
	c := cost{wall: r.Took(), host: emulator() - host, guest: processorTime(g) - all}
	c.own = daemonTime(g, daemon) - its + r.User + r.System
	return c
}

// daemonTime is what a daemon and its children, there or gone, have used: systemd-udevd's workers count.
func daemonTime(g *vmtest.Guest, name string) (total time.Duration) {
	for line := range strings.Lines(g.Sh("cat /proc/[0-9]*/stat 2>/dev/null || true")) {
		end := strings.LastIndexByte(line, ')')
		fields := strings.Fields(line[end+1:])
		if !strings.Contains(line[:end], name) || len(fields) < 15 {
			continue
		}
		for _, field := range fields[11:15] { // utime, stime, cutime, cstime; see proc(5)
			ticks, _ := strconv.ParseInt(field, 10, 64)
			total += time.Duration(ticks) * 10 * time.Millisecond
		}
	}
	return total
}
