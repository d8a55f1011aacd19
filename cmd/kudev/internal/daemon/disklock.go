package daemon

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/hotplug"
)

// lockDisk takes a shared lock on the whole disk of a block device, so that a program that partitions or formats it is
// not looked over the shoulder. hotplug.ErrBusy means that such a program holds it: the event waits for its turn. A
// device that has no such disk, or none whose node can be opened, needs no lock: unlock is never nil.
// See systemd's Block Device Locking, https://systemd.io/BLOCK_DEVICE_LOCKING.
func lockDisk(roots hotplug.Roots, ev *hotplug.Event, dev *hotplug.Device) (unlock func(), err error) {
	unlock = func() {}
	if ev.Subsystem() != "block" || ev.Action() == "remove" {
		return unlock, nil
	}
	disk := dev
	if ev.Devtype() == "partition" {
		if disk = dev.ParentWith("block", "disk"); disk == nil {
			return unlock, nil
		}
	}
	name := disk.Devname()
	if name == "" || strings.HasPrefix(name, "dm-") || strings.HasPrefix(name, "md") || strings.HasPrefix(name, "drbd") {
		return unlock, nil // these are opened exclusively by their own tools
	}
	root := roots.Dev
	if root == "" {
		root = "/dev"
	}
	fd, err := unix.Open(filepath.Join(root, name), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return unlock, nil // no medium, no node: rules may have to say something of it all the same
	}
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		unix.Close(fd)
		return unlock, nil
	}
	for {
		err = unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		unix.Close(fd)
		if errors.Is(err, unix.EWOULDBLOCK) {
			return unlock, fmt.Errorf("/dev/%s is locked by another program: %w", name, hotplug.ErrBusy)
		}
		return unlock, nil
	}
	return func() { unix.Close(fd) }, nil
}
