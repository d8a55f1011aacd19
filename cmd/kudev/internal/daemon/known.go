package daemon

import (
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/hotplug"
)

// known is what the kernel has told the daemon of: each device's path with the inode of its directory, which sysfs gives to one
// device alone, so that a device that went and came again under its old name is told from the one that was; and what a
// remove event of it would have to say. Kernel: fs/kernfs/dir.c, __kernfs_new_node.
type known struct {
	mu sync.Mutex
	m  map[string]knownDevice
}

// vanished stands for the inode of a device that was gone when its event came: its remove event is on its way, and may be
// lost. No device has it, it is that of sysfs itself.
const vanished = 1

type knownDevice struct {
	inode     uint64
	subsystem string
	devname   string
	devtype   string
	num       hotplug.Devnum
	hasNum    bool
	ifindex   int
}

// note remembers the device of an event that has come.
func (k *known) note(roots hotplug.Roots, ev *hotplug.Event) {
	var dev knownDevice
	if ev.Action() != "remove" {
		dev = knownDevice{
			inode: inode(roots, ev.Devpath()), subsystem: strings.Clone(ev.Subsystem()), devtype: strings.Clone(ev.Devtype()),
			devname: strings.Clone(ev.Devname()), ifindex: ev.Ifindex(),
		}
		dev.num, dev.hasNum = ev.Devnum()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.m == nil {
		k.m = make(map[string]knownDevice)
	}
	if old := ev.DevpathOld(); old != "" {
		k.moved(old, ev.Devpath())
	}
	if ev.Action() == "remove" {
		delete(k.m, ev.Devpath())
		return
	}
	if dev.inode == 0 {
		dev.inode = vanished
	}
	k.m[strings.Clone(ev.Devpath())] = dev // not the whole event
}

// moved gives a device, and all below it, of which the kernel says nothing, their new paths.
func (k *known) moved(from, to string) {
	for path, dev := range k.m {
		if path == from || strings.HasPrefix(path, from) && path[len(from)] == '/' {
			delete(k.m, path)
			k.m[to+path[len(from):]] = dev
		}
	}
}

// get returns the inode, 0 for a device of which no event has come.
func (k *known) get(devpath string) uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.m[devpath].inode
}

// last returns what a remove event of the device has to say.
func (k *known) last(devpath string) (subsystem string, properties []string) {
	k.mu.Lock()
	dev := k.m[devpath]
	k.mu.Unlock()
	if dev.devname != "" {
		properties = append(properties, "DEVNAME="+dev.devname)
	}
	if dev.devtype != "" {
		properties = append(properties, "DEVTYPE="+dev.devtype)
	}
	if dev.hasNum {
		properties = append(properties, "MAJOR="+strconv.FormatUint(uint64(dev.num.Major), 10), "MINOR="+strconv.FormatUint(uint64(dev.num.Minor), 10))
	}
	if dev.ifindex > 0 {
		properties = append(properties, "IFINDEX="+strconv.FormatUint(uint64(uint32(dev.ifindex)), 10))
	}
	return dev.subsystem, properties
}

// paths returns all devices.
func (k *known) paths() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := make([]string, 0, len(k.m))
	for p := range k.m {
		list = append(list, p)
	}
	return list
}

// inode returns the number of a device's directory, 0 when there is none.
func inode(roots hotplug.Roots, devpath string) uint64 {
	sys := roots.Sys
	if sys == "" {
		sys = "/sys"
	}
	var st unix.Stat_t
	if unix.Lstat(sys+devpath, &st) != nil {
		return 0
	}
	return st.Ino
}
