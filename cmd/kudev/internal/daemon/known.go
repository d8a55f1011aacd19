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
	mu   sync.Mutex
	m    map[string]knownDevice
	tops map[string]bool // see top
}

// vanished stands for the inode of a device that was gone when its event came: its remove event is on its way, and may be
// lost. No device has it, it is that of sysfs itself.
const vanished = 1

type knownDevice struct {
	hotplug.Identity
	inode   uint64
	devname string
}

// note remembers the device of an event that has come. One that somebody only asked for says nothing new: were the device
// another by now, the kernel's own word of that would have come before, or is lost and will be made up for.
func (k *known) note(roots hotplug.Roots, ev *hotplug.Event) {
	if ev.UUID() != "" && k.get(ev.Devpath()) != 0 {
		return
	}
	var dev knownDevice
	if ev.Action() != "remove" {
		dev.inode, dev.devname = inode(roots, ev.Devpath()), strings.Clone(ev.Devname())
		dev.Subsystem, dev.Devtype = strings.Clone(ev.Subsystem()), strings.Clone(ev.Devtype())
		dev.Devnum, dev.Numbered = ev.Devnum()
		dev.Ifindex = ev.Ifindex()
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

// identity returns what a device is of which an event has come, for [hotplug.Device.Knowing].
func (k *known) identity(roots hotplug.Roots, devpath string) (hotplug.Identity, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	dev, ok := k.m[devpath]
	return dev.Identity, ok || strings.Count(devpath, "/") == 2 && k.top(roots, devpath)
}

// top says whether one of the few devices right below /devices has no bus and no class, as pci0000:00 and platform: of such no
// event ever comes, and all others have one of them above. What it once was it stays.
func (k *known) top(roots hotplug.Roots, devpath string) bool {
	is, asked := k.tops[devpath]
	if !asked {
		var st unix.Stat_t
		at := roots.SysDir() + devpath
		is = unix.Lstat(at+"/uevent", &st) == nil && unix.Lstat(at+"/subsystem", &st) == unix.ENOENT
		if k.tops == nil {
			k.tops = make(map[string]bool)
		}
		k.tops[devpath] = is
	}
	return is
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
	if dev.Devtype != "" {
		properties = append(properties, "DEVTYPE="+dev.Devtype)
	}
	if dev.Numbered {
		properties = append(properties, "MAJOR="+strconv.FormatUint(uint64(dev.Devnum.Major), 10), "MINOR="+strconv.FormatUint(uint64(dev.Devnum.Minor), 10))
	}
	if dev.Ifindex > 0 {
		properties = append(properties, "IFINDEX="+strconv.FormatUint(uint64(uint32(dev.Ifindex)), 10))
	}
	return dev.Subsystem, properties
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
