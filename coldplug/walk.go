package coldplug

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"sync"

	"github.com/kudev/kudev/hotplug"
)

// Item is one directory of sysfs that has a uevent file: a device, or one of what udev calls subsystems (a module, a
// bus, a bus's driver).
type Item struct {
	Devpath   string // below the sysfs root, as in DEVPATH: "/devices/…", "/module/loop", "/bus/pci/drivers/nvme"
	Subsystem string // "pci", "block", …; for what is no device: "module", "subsystem", "drivers"
	Sysname   string // the last component, with '!' turned to '/'
	Rank      Rank   // its place in the order, that of the most urgent device below it
}

// Type says what a walk lists, as udevadm trigger's --type.
type Type int

const (
	All        Type = iota // devices and subsystems
	Devices                // /sys/bus/*/devices and /sys/class/*
	Subsystems             // /sys/module, /sys/bus and /sys/bus/*/drivers
)

// ParseType reads "all", "devices" or "subsystems".
func ParseType(s string) (Type, error) {
	switch s {
	case "all":
		return All, nil
	case "devices":
		return Devices, nil
	case "subsystems":
		return Subsystems, nil
	}
	return 0, fmt.Errorf("unknown type %q: it is devices, subsystems or all", s)
}

// Walk lists what is below the sysfs root in the order of the coldplug: by [Rank], then by path, and a parent always
// before its children. What vanishes during the walk is left out. An error means that the root is no sysfs.
func Walk(ctx context.Context, roots hotplug.Roots, what Type) ([]Item, error) {
	w := walker{sys: sysdir(roots), seen: make(map[string]int)}
	if _, err := os.Stat(filepath.Join(w.sys, "devices")); err != nil {
		return nil, fmt.Errorf("walk %s: %w", w.sys, err)
	}
	others := walker{sys: w.sys, seen: make(map[string]int)}
	var both sync.WaitGroup
	if what != Devices { // the two have nothing in common, and who waits has nothing else to do
		both.Go(func() { others.subsystems(ctx) })
	}
	if what != Subsystems {
		w.devices(ctx)
	}
	both.Wait()
	w.items = append(w.items, others.items...)
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("walk %s: %w", w.sys, err)
	}
	Sort(w.items)
	return w.items, nil
}

// Sort puts items in the order of the coldplug. Each item's own rank must be set; Sort raises those of the parents.
func Sort(items []Item) {
	best := make(map[string]Rank, len(items))
	for i := range items {
		best[items[i].Devpath] = items[i].Rank
	}
	for i := range items {
		if items[i].Rank == RankLast {
			continue // what md and dm stand on has its own place
		}
		for p := path.Dir(items[i].Devpath); len(p) > 1; p = path.Dir(p) {
			r, ok := best[p]
			if !ok {
				continue
			}
			if r <= items[i].Rank {
				break // and so are its own parents
			}
			best[p] = items[i].Rank
		}
	}
	for i := range items {
		items[i].Rank = best[items[i].Devpath]
	}
	sort.Slice(items, func(a, b int) bool {
		if items[a].Rank != items[b].Rank {
			return items[a].Rank < items[b].Rank
		}
		return lessPath(items[a].Devpath, items[b].Devpath)
	})
}

// lessPath compares component by component, so that a directory comes before what is in it, and "1-1" with all that
// it holds before "1-1.2".
func lessPath(a, b string) bool {
	for i := 0; i < len(a) && i < len(b); i++ {
		if a[i] == b[i] {
			continue
		}
		if a[i] == '/' {
			return true
		}
		if b[i] == '/' {
			return false
		}
		return a[i] < b[i]
	}
	return len(a) < len(b)
}

type walker struct {
	sys   string
	items []Item
	seen  map[string]int
}

func (w *walker) devices(ctx context.Context) {
	for _, bus := range w.list("bus") {
		if ctx.Err() != nil {
			return
		}
		w.links(filepath.Join("bus", bus, "devices"), bus)
	}
	classes := w.list("class")
	for _, class := range classes {
		if ctx.Err() != nil {
			return
		}
		w.links(filepath.Join("class", class), class)
	}
	if !contains(classes, "block") {
		w.links("block", "block") // CONFIG_SYSFS_DEPRECATED
	}
}

// links adds each device that dir, a folder of links into /sys/devices, holds.
func (w *walker) links(dir, subsystem string) {
	for _, name := range w.list(dir) {
		to, err := os.Readlink(filepath.Join(w.sys, dir, name))
		if err != nil {
			continue // bonding_masters and its like are files
		}
		devpath := path.Join("/", dir, to)
		if !strings.HasPrefix(devpath, "/devices/") {
			continue
		}
		w.add(devpath, subsystem)
	}
}

func (w *walker) subsystems(ctx context.Context) {
	for _, name := range w.list("module") {
		w.addIfUevent("/module/"+name, "module")
	}
	for _, bus := range w.list("bus") {
		if ctx.Err() != nil {
			return
		}
		w.addIfUevent("/bus/"+bus, "subsystem")
		for _, driver := range w.list(filepath.Join("bus", bus, "drivers")) {
			w.addIfUevent("/bus/"+bus+"/drivers/"+driver, "drivers")
		}
	}
}

// addIfUevent leaves out what has no uevent file: a module that is built in and has only parameters.
func (w *walker) addIfUevent(devpath, subsystem string) {
	if _, err := os.Lstat(w.sys + devpath + "/uevent"); err == nil {
		w.add(devpath, subsystem)
	}
}

func (w *walker) add(devpath, subsystem string) {
	if _, ok := w.seen[devpath]; ok {
		return // a device of a bus and of a class is listed once, by its bus
	}
	w.seen[devpath] = len(w.items)
	w.items = append(w.items, Item{
		Devpath:   devpath,
		Subsystem: subsystem,
		Sysname:   sysname(devpath),
		Rank:      w.rank(devpath, subsystem),
	})
}

func (w *walker) rank(devpath, subsystem string) Rank {
	switch subsystem {
	case "pci", "virtio", "usb", "vmbus", "xen", "vio", "hdaudio", "platform":
		alias, err := readTrim(w.sys + devpath + "/modalias")
		if err == nil {
			return RankOf(subsystem, path.Base(devpath), strings.TrimSpace(alias))
		}
	}
	return RankOf(subsystem, path.Base(devpath), "")
}

func (w *walker) list(dir string) []string {
	f, err := os.Open(filepath.Join(w.sys, dir))
	if err != nil {
		return nil
	}
	defer f.Close()
	names, _ := f.Readdirnames(-1)
	sort.Strings(names)
	return names
}

// Lookup makes the item of one device that is named by path: a devpath, or a path below the sysfs root, links allowed
// ("/sys/class/net/eth0"). The error satisfies errors.Is(err, fs.ErrNotExist) when there is none.
func Lookup(roots hotplug.Roots, name string) (Item, error) {
	w := walker{sys: sysdir(roots)}
	p := name
	if p == "/sys" || strings.HasPrefix(p, "/sys/") {
		p = p[len("/sys"):]
	} else if strings.HasPrefix(p, w.sys+"/") {
		p = p[len(w.sys):]
	}
	p = path.Clean("/" + p)
	top, err := filepath.EvalSymlinks(w.sys)
	if err != nil {
		return Item{}, fmt.Errorf("look up %s: %w", name, err)
	}
	real, err := filepath.EvalSymlinks(w.sys + p)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fs.ErrNotExist
		}
		return Item{}, fmt.Errorf("look up %s: %w", name, err)
	}
	devpath, ok := strings.CutPrefix(real, top)
	if !ok || devpath == "" {
		return Item{}, fmt.Errorf("look up %s: it is not below %s: %w", name, w.sys, fs.ErrNotExist)
	}
	if _, err := os.Lstat(real + "/uevent"); err != nil {
		return Item{}, fmt.Errorf("look up %s: no uevent file: %w", name, fs.ErrNotExist)
	}
	subsystem := ""
	if to, err := os.Readlink(real + "/subsystem"); err == nil {
		subsystem = path.Base(to)
	} else {
		switch parts := strings.Split(devpath, "/"); {
		case len(parts) == 3 && parts[1] == "module":
			subsystem = "module"
		case len(parts) == 3 && parts[1] == "bus":
			subsystem = "subsystem"
		case len(parts) == 5 && parts[1] == "bus" && parts[3] == "drivers":
			subsystem = "drivers"
		}
	}
	return Item{Devpath: devpath, Subsystem: subsystem, Sysname: sysname(devpath), Rank: w.rank(devpath, subsystem)}, nil
}

func sysname(devpath string) string { return strings.ReplaceAll(path.Base(devpath), "!", "/") }

func contains(list []string, s string) bool {
	i := sort.SearchStrings(list, s)
	return i < len(list) && list[i] == s
}

func sysdir(roots hotplug.Roots) string {
	if roots.Sys == "" {
		return "/sys"
	}
	return strings.TrimSuffix(roots.Sys, "/")
}

func devdir(roots hotplug.Roots) string {
	if roots.Dev == "" {
		return "/dev"
	}
	return strings.TrimSuffix(roots.Dev, "/")
}

func rundir(roots hotplug.Roots) string {
	if roots.Run == "" {
		return "/run"
	}
	return strings.TrimSuffix(roots.Run, "/")
}

// Prioritize returns items with those of the named subsystems, and the devices above them, in front, in the order of
// the names: udevadm trigger's --prioritized-subsystem.
func Prioritize(items []Item, subsystems []string) []Item {
	place := make(map[string]int, len(items))
	listed := make(map[string]bool, len(items))
	for _, i := range items {
		listed[i.Devpath] = true
	}
	for n, s := range subsystems {
		for _, i := range items {
			if i.Subsystem != s {
				continue
			}
			for p := i.Devpath; len(p) > 1; p = path.Dir(p) {
				if _, ok := place[p]; !ok && listed[p] {
					place[p] = n
				}
			}
		}
	}
	sorted := make([]Item, len(items))
	copy(sorted, items)
	at := func(i Item) int {
		if n, ok := place[i.Devpath]; ok {
			return n
		}
		return len(subsystems)
	}
	sort.SliceStable(sorted, func(a, b int) bool {
		x, y := sorted[a], sorted[b]
		if at(x) != at(y) {
			return at(x) < at(y)
		}
		return lessPath(x.Devpath, y.Devpath)
	})
	return sorted
}
