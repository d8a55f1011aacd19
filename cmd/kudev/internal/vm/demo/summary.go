package main

import (
	"cmp"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/kudev/kudev/cmd/kudev/internal/daemon"
)

// figures are what the summary is made of. Times are since the start of the guest's kernel, but for durations.
type figures struct {
	devices  int           // in the guest's /sys
	modules  int           // live at the end of the coldplug
	began    time.Duration // of the coldplug
	settled  time.Duration
	ready    time.Duration // the daemon, from its start to readiness
	user     time.Duration // the daemon's processor time for the coldplug
	system   time.Duration
	resident int64 // bytes, after the coldplug
	status   daemon.Status
}

// summary writes the table at the end.
func summary(w io.Writer, p paint, entries []daemon.Entry, f figures) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(t, "   %s\t%s\n", name, fmt.Sprintf(format, args...))
	}

	row("devices", "%d", f.devices)
	row("events", "%d received, %d handled, %d failed, %d lost", f.status.Received, f.status.Handled, f.status.Failed, f.status.Lost)
	row("modules", "%d in the kernel, %d of them loaded by kudev, all from %s", f.modules, f.status.ModulesLoaded, f.status.Tree)
	row("daemon", "ready %s after its start; %.1f MiB resident after the coldplug; %.2f s of processor time", round(f.ready), float64(f.resident)/(1<<20), (f.user + f.system).Seconds())
	if e, ok := firstDisk(entries); ok {
		row("first disk", "%s, %s after the coldplug began", e.Node.Path, round(e.Applied.Duration()-f.began))
	}
	row("settled", "%s after the coldplug began", round(f.settled-f.began))
	for i, m := range slowest(entries, 8) {
		name := ""
		if i == 0 {
			name = "slowest modules"
		}
		row(name, "%-22s %s", m.Name, round(m.Took.Duration()))
	}
	nothing := unmatched(entries)
	row("matched nothing", "%d modaliases", len(nothing))
	t.Flush()
	for _, e := range nothing {
		fmt.Fprintf(w, "     %s\n", p.dim("%-12s %-20s %s", e.Subsystem, path.Base(e.Devpath), cut(strings.TrimSpace(e.Modalias), 70)))
	}
}

func round(d time.Duration) string {
	if d < time.Second {
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}

// firstDisk returns the event with which the first real disk was there.
func firstDisk(entries []daemon.Entry) (first daemon.Entry, ok bool) {
	for _, e := range entries {
		if e.Devtype != "disk" || e.Node == nil || strings.Contains(e.Devpath, "/virtual/") || strings.HasPrefix(path.Base(e.Devpath), "sr") {
			continue
		}
		if !ok || e.Applied < first.Applied {
			first, ok = e, true
		}
	}
	return first, ok
}

// slowest returns the n modules whose insertion took the longest.
func slowest(entries []daemon.Entry, n int) []daemon.Module {
	var all []daemon.Module
	seen := map[string]bool{}
	for _, e := range entries {
		for _, m := range e.Modules {
			if m.State == "loaded" && !seen[m.Name] {
				seen[m.Name] = true
				all = append(all, m)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b daemon.Module) int { return cmp.Compare(b.Took, a.Took) })
	return all[:min(n, len(all))]
}

// unmatched returns the devices that asked for a module and that no module knows, each modalias once.
func unmatched(entries []daemon.Entry) []daemon.Entry {
	var list []daemon.Entry
	seen := map[string]bool{}
	for _, e := range entries {
		if e.NoModule && e.Modalias != "" && !seen[e.Modalias] {
			seen[e.Modalias] = true
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b daemon.Entry) int {
		return cmp.Or(cmp.Compare(a.Subsystem, b.Subsystem), cmp.Compare(a.Devpath, b.Devpath))
	})
	return list
}
