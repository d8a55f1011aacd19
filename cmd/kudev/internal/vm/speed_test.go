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

// BenchmarkSecondColdplug takes one machine, all its modules loaded, through a full coldplug, five times with kudev and five times with
// systemd-udevd by turns, both with Debian's rules, and reports the medians: wall time, processor time of the whole guest, and
// processor time of the daemon with its children and of the commands. Run it with -benchtime 1x.
func BenchmarkSecondColdplug(b *testing.B) {
	root := vm.NewTree()
	vmtest.Kudev(b, root)
	if err := vmtest.Debian(b).AddUdevd(b.Context(), root); err != nil {
		b.Fatal(err)
	}
	g := vmtest.Boot(b, vm.Options{Machine: contents(b), Root: root})
	g.Sh(prepare + "systemd-udevd --daemon; " + pass + "; sleep 4; udevadm settle; udevadm control --exit")
	var udevd, kudev, trigger costs
	for range 5 { // by turns: what else the host does falls on both
		g.Sh("systemd-udevd --daemon; " + pass)
		udevd = append(udevd, measure(b, g, "udev", pass)) // its workers are called (udev-worker)
		g.Sh("udevadm control --exit")

		daemon := g.Spawn(vm.Command{Args: []string{"kudev", "daemon", "--ready-fd", "3"}, Ready: true})
		if _, err := daemon.Ready(b.Context()); err != nil {
			b.Fatal(err)
		}
		g.Sh("kudev coldplug")
		kudev = append(kudev, measure(b, g, "kudev", "kudev coldplug"))
		trigger = append(trigger, measure(b, g, "kudev", pass))
		daemon.Signal(syscall.SIGTERM)
		if _, err := daemon.Wait(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.Logf("systemd-udevd with udevadm: %v\nkudev with kudev coldplug: %v\nkudev with udevadm: %v", udevd.median(), kudev.median(), trigger.median())
	their := udevd.median()
	for name, our := range map[string]cost{"": kudev.median(), "trigger-": trigger.median()} {
		b.ReportMetric(our.wall.Seconds()/their.wall.Seconds(), name+"wall/udevd")
		b.ReportMetric(our.guest.Seconds()/their.guest.Seconds(), name+"cpu/udevd")
	}
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
	b.ReportMetric(kudev.median().wall.Seconds()/udevd.median().wall.Seconds(), "wall/udevd")
	b.ReportMetric(kudev.median().guest.Seconds()/udevd.median().guest.Seconds(), "cpu/udevd")
}

// cost is what a pass takes.
type cost struct {
	wall  time.Duration
	guest time.Duration // processor time of the whole guest
	own   time.Duration // processor time of the daemon, of its children, and of the commands
}

func (c cost) String() string {
	return fmt.Sprintf("wall %.2f s, processor %.2f s, of it the manager's %.2f s", c.wall.Seconds(), c.guest.Seconds(), c.own.Seconds())
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
		middle(func(c cost) time.Duration { return c.own })}
}

// measure runs the script once the daemon has nothing else to do: kudev, once it is ready, goes on checking all modules.
func measure(b *testing.B, g *vmtest.Guest, daemon, script string) cost {
	for before := time.Duration(-1); before != daemonTime(g, daemon); {
		before = daemonTime(g, daemon)
		g.Sh("sleep 1")
	}
	all, its := processorTime(g), daemonTime(g, daemon)
	r := g.Must("sh", "-c", script)
	own := daemonTime(g, daemon) - its + r.User + r.System
	return cost{r.Took(), processorTime(g) - all, own}
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
