// Package hotplugtest makes what a device manager finds on a machine: a /sys, a /dev and a /run in directories, from a
// short text, and the events that speak of it.
//
//	roots := hotplugtest.Tree(t, `
//	/devices/pci0000:00/0000:00:04.0 subsystem=pci driver=virtio-pci
//		vendor 0x1af4
//		uevent MODALIAS=pci:v00001AF4d00001001
//	/devices/pci0000:00/0000:00:04.0/virtio1/block/vda subsystem=block dev=254:0
//		uevent DEVNAME=vda
//		uevent DEVTYPE=disk
//		size 2048
//	`)
//	ev := hotplugtest.Event(t, roots, "add", "/devices/pci0000:00/0000:00:04.0/virtio1/block/vda")
package hotplugtest

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/kudev/kudev/hotplug"
)

// Tree makes the directories and returns them; the test removes them at its end. Sys holds what text says, Dev and Run
// are empty.
//
// A line that begins with '/' names a device by its devpath. Words may follow it: subsystem=NAME (a link to /bus/NAME
// when the name is a known bus, else to /class/NAME, with the links there that lead back), driver=NAME (a link to
// /bus/…/drivers/NAME), dev=MAJ:MIN (MAJOR and MINOR in the uevent file, a file dev, a link in /dev/block or /dev/char).
// Each indented line below it is an attribute: a name, which may have slashes in it, a blank, and the value, in which \n
// is a line break. "uevent KEY=VALUE" adds a line to the uevent file, "NAME -> TARGET" makes a link, "NAME/" a directory.
// Empty lines and those that begin with '#' say nothing.
func Tree(t testing.TB, text string) hotplug.Roots {
	t.Helper()
	base := t.TempDir()
	roots := hotplug.Roots{Sys: base + "/sys", Dev: base + "/dev", Run: base + "/run"}
	for _, dir := range []string{"sys/devices", "sys/class", "sys/bus", "sys/dev/block", "sys/dev/char", "dev", "run"} {
		must(t, os.MkdirAll(filepath.Join(base, dir), 0o755))
	}
	Add(t, roots, text)
	return roots
}

// Add puts further devices into a tree, or further attributes to those it has.
func Add(t testing.TB, roots hotplug.Roots, text string) {
	t.Helper()
	b := &builder{t: t, sys: roots.Sys}
	lines := bufio.NewScanner(strings.NewReader(text))
	lines.Buffer(nil, 4<<20)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimRight(lines.Text(), " \t")
		trimmed := strings.TrimLeft(line, " \t")
		switch {
		case trimmed == "" || trimmed[0] == '#':
		case trimmed[0] == '/':
			b.device(n, trimmed)
		case b.dir == "":
			t.Fatalf("tree, line %d: an attribute before any device: %s", n, line)
		default:
			b.attribute(n, trimmed)
		}
	}
	must(t, lines.Err())
}

// Remove takes a device and what is below it out of a tree. Links that led to it stay, broken.
func Remove(t testing.TB, roots hotplug.Roots, devpath string) {
	t.Helper()
	must(t, os.RemoveAll(roots.Sys+devpath))
}

// Event makes the event that the kernel would send of the device as it is in the tree.
func Event(t testing.TB, roots hotplug.Roots, action, devpath string, extra ...string) *hotplug.Event {
	t.Helper()
	dev, err := roots.Device(devpath)
	must(t, err)
	ev, err := dev.MakeEvent(action, extra...)
	must(t, err)
	return ev
}

var buses = map[string]bool{
	"acpi": true, "hid": true, "i2c": true, "mmc": true, "nvmem": true, "pci": true, "platform": true, "pnp": true,
	"scsi": true, "sdio": true, "serio": true, "spi": true, "usb": true, "usb-serial": true, "virtio": true,
	"ccw": true, "vmbus": true, "xen": true, "hdaudio": true, "thunderbolt": true, "cpu": true, "memory": true,
}

type builder struct {
	t   testing.TB
	sys string
	dir string // of the device at hand
}

func (b *builder) device(n int, line string) {
	b.t.Helper()
	words := strings.Fields(line)
	devpath := words[0]
	b.dir = b.sys + devpath
	must(b.t, os.MkdirAll(b.dir, 0o755))
	uevent, _ := os.ReadFile(b.dir + "/uevent") // of a device that is there already
	name := filepath.Base(devpath)
	subsystem, bus := "", ""
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "subsystem":
			subsystem = value
			if bus = "class/" + value; buses[value] {
				bus = "bus/" + value
			}
			back := b.sys + "/" + bus + "/" + name
			if buses[value] {
				back = b.sys + "/" + bus + "/devices/" + name
			}
			must(b.t, os.MkdirAll(filepath.Dir(back), 0o755))
			if back != b.dir {
				b.link(back, b.dir)
			}
			b.link(b.dir+"/subsystem", b.sys+"/"+bus)
		case "driver":
			driver := b.sys + "/" + bus + "/drivers/" + value
			must(b.t, os.MkdirAll(driver, 0o755))
			b.link(b.dir+"/driver", driver)
			uevent = append(uevent, "DRIVER="+value+"\n"...)
		case "dev":
			major, minor, ok := strings.Cut(value, ":")
			if _, err := strconv.Atoi(major + minor); err != nil || !ok {
				b.t.Fatalf("tree, line %d: dev=%s is no MAJ:MIN", n, value)
			}
			uevent = append(uevent, "MAJOR="+major+"\nMINOR="+minor+"\n"...)
			must(b.t, os.WriteFile(b.dir+"/dev", []byte(value+"\n"), 0o644))
			kind := "char"
			if subsystem == "block" {
				kind = "block"
			}
			b.link(b.sys+"/dev/"+kind+"/"+value, b.dir)
		default:
			b.t.Fatalf("tree, line %d: %s is none of subsystem=, driver=, dev=", n, word)
		}
	}
	// Last and whole: a directory without this file is no device yet to a daemon that walks the tree meanwhile.
	must(b.t, os.WriteFile(b.dir+"/.uevent", uevent, 0o644))
	must(b.t, os.Rename(b.dir+"/.uevent", b.dir+"/uevent"))
}

func (b *builder) attribute(n int, line string) {
	b.t.Helper()
	if name, target, ok := strings.Cut(line, " -> "); ok {
		must(b.t, os.MkdirAll(filepath.Dir(b.dir+"/"+name), 0o755))
		must(b.t, os.Symlink(target, b.dir+"/"+name))
		return
	}
	name, value, _ := strings.Cut(line, " ")
	value = strings.ReplaceAll(value, `\n`, "\n")
	switch {
	case name == "uevent":
		if !strings.Contains(value, "=") {
			b.t.Fatalf("tree, line %d: uevent without KEY=VALUE", n)
		}
		b.append("uevent", value+"\n")
	case strings.HasSuffix(name, "/"):
		must(b.t, os.MkdirAll(b.dir+"/"+name, 0o755))
	default:
		must(b.t, os.MkdirAll(filepath.Dir(b.dir+"/"+name), 0o755))
		must(b.t, os.WriteFile(b.dir+"/"+name, []byte(value+"\n"), 0o644))
	}
}

func (b *builder) append(name, text string) {
	b.t.Helper()
	f, err := os.OpenFile(b.dir+"/"+name, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
	must(b.t, err)
	_, err = f.WriteString(text)
	must(b.t, err)
	must(b.t, f.Close())
}

// link makes a relative link, as sysfs has them, in place of any that is there.
func (b *builder) link(at, to string) {
	b.t.Helper()
	rel, err := filepath.Rel(filepath.Dir(at), to)
	must(b.t, err)
	_ = os.Remove(at)
	must(b.t, os.Symlink(rel, at))
}

// Files returns what a directory holds, each with what it is, for a comparison in one look: "name -> target" for a
// link, "name mode size" for a file, in order of the names. Directories are only shown when they are empty.
func Files(t testing.TB, dir string) []string {
	t.Helper()
	var all []string
	must(t, filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		info, err := entry.Info()
		if err != nil {
			return err
		}
		switch {
		case entry.IsDir():
			if inside, err := os.ReadDir(path); err == nil && len(inside) == 0 && name != "." {
				all = append(all, name+"/")
			}
		case info.Mode()&os.ModeSymlink != 0:
			target, _ := os.Readlink(path)
			all = append(all, name+" -> "+target)
		default:
			all = append(all, fmt.Sprintf("%s %v %d", name, info.Mode(), info.Size()))
		}
		return nil
	}))
	return all
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
