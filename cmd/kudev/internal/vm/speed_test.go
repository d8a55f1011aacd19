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
// systemd-udevd, both with Debian's rules, and reports the medians: wall time, processor time of the whole guest, and processor
// time of the daemon with its children and of the commands. Run it with -benchtime 1x.
func BenchmarkSecondColdplug(b *testing.B) {
	root := vm.NewTree()
	vmtest.Kudev(b, root)
	if err := vmtest.Debian(b).AddUdevd(b.Context(), root); err != nil {
		b.Fatal(err)
	}
	g := vmtest.Boot(b, vm.Options{Machine: contents(b), Root: root})
	g.Sh(prepare + "systemd-udevd --daemon; " + pass + "; sleep 4; udevadm settle; " + pass)
	udevd := passes(b, g, "udev", pass) // its workers are called (udev-worker)
	g.Sh("udevadm control --exit")

	daemon := g.Spawn(vm.Command{Args: []string{"kudev", "daemon", "--ready-fd", "3"}, Ready: true})
	if _, err := daemon.Ready(b.Context()); err != nil {
		b.Fatal(err)
	}
	g.Sh("kudev coldplug")
	kudev := passes(b, g, "kudev", "kudev coldplug")
	trigger := passes(b, g, "kudev", pass)
	daemon.Signal(syscall.SIGTERM)

	b.Logf("systemd-udevd with udevadm: %v\nkudev with kudev coldplug: %v\nkudev with udevadm: %v", udevd, kudev, trigger)
	b.ReportMetric(kudev.wall.Seconds()/udevd.wall.Seconds(), "wall/udevd")
	b.ReportMetric(kudev.guest.Seconds()/udevd.guest.Seconds(), "cpu/udevd")
	b.ReportMetric(kudev.own.Seconds()/udevd.own.Seconds(), "own-cpu/udevd")
	b.ReportMetric(trigger.wall.Seconds()/udevd.wall.Seconds(), "trigger-wall/udevd")
	b.ReportMetric(trigger.guest.Seconds()/udevd.guest.Seconds(), "trigger-cpu/udevd")
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

// passes returns the medians of five.
func passes(b *testing.B, g *vmtest.Guest, daemon, script string) cost {
	var wall, guest, own []time.Duration
	for range 5 {
		all, its := processorTime(g), daemonTime(g, daemon)
		r := g.Must("sh", "-c", script)
		wall = append(wall, r.Took())
		own = append(own, daemonTime(g, daemon)-its+r.User+r.System)
		guest = append(guest, processorTime(g)-all)
	}
	median := func(list []time.Duration) time.Duration { slices.Sort(list); return list[len(list)/2] }
	return cost{median(wall), median(guest), median(own)}
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
