package hotplug

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Watch waits for programs that have written to a device's node to close it, since what is on a disk may then be
// something else: each such close becomes a change event of the device. Its methods may be called by any goroutine.
//
// /run/udev/watch holds, for others to see, a link from the watch's number to the device's id and one back.
type Watch struct {
	roots   Roots
	file    *os.File
	changed func(dev *Device, err error)

	mu   sync.Mutex
	dir  *os.File // /run/udev/watch, once there was a link to make
	byWD map[int32]string
	byID map[string]int32
}

// NewWatch makes a watch. changed is told of each device for which a change was asked for, and why one could not be; it may be
// nil. Run does the work.
func NewWatch(roots Roots, changed func(dev *Device, err error)) (*Watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch of nodes: %w", err)
	}
	return &Watch{
		roots: roots, file: os.NewFile(uintptr(fd), "inotify"), changed: changed,
		byWD: make(map[int32]string), byID: make(map[string]int32),
	}, nil
}

// Begin begins to watch a device's node. A watch that is there already stays.
func (w *Watch) Begin(dev *Device) error {
	num, ok := dev.Devnum()
	name, id := dev.Devname(), dev.ID()
	if !ok || name == "" || id == "" {
		return nil
	}
	fd, err := openNode(w.roots.DevDir(), name)
	if err != nil {
		return fmt.Errorf("watch %s: %w", name, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("watch %s: %w", name, err)
	}
	if have, block, isNode := nodeDevnum(&st); isNode && (have != num || block != dev.IsBlock()) || !isNode && w.roots.DevDir() == "/dev" {
		return fmt.Errorf("watch %s: is another device's, %s", name, describeNode(&st))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	wd, err := w.add(procFD(fd))
	if err != nil {
		return fmt.Errorf("watch %s: %w", name, err)
	}
	if old, ok := w.byWD[wd]; ok && old != id { // the same node under another id
		delete(w.byID, old)
	}
	w.byWD[wd], w.byID[id] = id, wd
	return w.keep(wd, id)
}

func (w *Watch) add(path string) (int32, error) {
	var wd int
	var addErr error
	raw, err := w.file.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { wd, addErr = unix.InotifyAddWatch(int(fd), path, unix.IN_CLOSE_WRITE) })
	}
	return int32(wd), errors.Join(err, addErr)
}

// keep writes the two links. Both names are new as a rule: they went with the watch before.
func (w *Watch) keep(wd int32, id string) error {
	number := strconv.Itoa(int(wd))
	err := w.links(func(dir int) error { return errors.Join(linkAt(dir, number, id), linkAt(dir, id, number)) })
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	return nil
}

// links calls what makes or removes links in /run/udev/watch. The directory stays open; when somebody has taken it away it is made again.
func (w *Watch) links(change func(dir int) error) error {
	if w.dir != nil {
		if err := change(int(w.dir.Fd())); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		w.dir.Close()
		w.dir = nil
	}
	run, err := os.OpenRoot(w.roots.RunDir())
	if err != nil {
		return err
	}
	defer run.Close()
	if err := run.MkdirAll("udev/watch", 0o755); err != nil {
		return err
	}
	if w.dir, err = run.Open("udev/watch"); err != nil {
		return err
	}
	return change(int(w.dir.Fd()))
}

// linkAt makes a link in an open directory, whole when it has to take another's place. The name is a single one.
func linkAt(dir int, name, target string) error {
	err := unix.Symlinkat(target, dir, name)
	if err == unix.EEXIST {
		tmp := temporaryName(name)
		if err = unix.Symlinkat(target, dir, tmp); err == nil {
			if err = unix.Renameat(dir, tmp, dir, name); err != nil {
				_ = unix.Unlinkat(dir, tmp, 0)
			}
		}
	}
	if err != nil {
		return &fs.PathError{Op: "link", Path: name, Err: err}
	}
	return nil
}

// End ends the watch of a device by its id, as while its event is handled, and tells whether there was one.
func (w *Watch) End(id string) (watched bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	wd, ok := w.byID[id]
	if !ok {
		return false
	}
	if raw, err := w.file.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _, _ = unix.InotifyRmWatch(int(fd), uint32(wd)) })
	}
	w.drop(wd)
	return true
}

func (w *Watch) drop(wd int32) {
	id, ok := w.byWD[wd]
	if !ok {
		return
	}
	delete(w.byWD, wd)
	delete(w.byID, id)
	_ = w.links(func(dir int) error {
		_ = unix.Unlinkat(dir, strconv.Itoa(int(wd)), 0)
		_ = unix.Unlinkat(dir, id, 0)
		return nil
	})
}

// Restore watches again what /run/udev/watch says was watched before a restart, and forgets the rest.
func (w *Watch) Restore() error {
	names, err := w.roots.run().readDir("/udev/watch")
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("watch: %w", err)
	}
	run, err := os.OpenRoot(w.roots.RunDir())
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	for _, name := range names {
		_ = run.Remove("udev/watch/" + name)
	}
	run.Close()
	var errs []error
	for _, id := range names {
		if !validID(id) {
			continue
		}
		dev, err := w.roots.DeviceByID(id)
		if err != nil {
			continue // it has gone since
		}
		if err := w.Begin(dev); err != nil && !IsGone(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Run handles closes until ctx ends, and then closes the watch. It returns nil when the context was why.
func (w *Watch) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { w.file.Close() })
	defer stop()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.dir.Close() // nil is no file, and no harm
		w.dir = nil
	}()
	var buf [64 * unix.SizeofInotifyEvent]byte
	for {
		n, err := w.file.Read(buf[:])
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("watch of nodes: %w", err)
		}
		for at := 0; at+unix.SizeofInotifyEvent <= n; {
			ev := (*unix.InotifyEvent)(unsafe.Pointer(&buf[at]))
			at += unix.SizeofInotifyEvent + int(ev.Len)
			w.handle(ev.Wd, ev.Mask)
		}
	}
}

func (w *Watch) handle(wd int32, mask uint32) {
	w.mu.Lock()
	id, ok := w.byWD[wd]
	if mask&unix.IN_IGNORED != 0 {
		w.drop(wd)
	}
	w.mu.Unlock()
	if mask&unix.IN_Q_OVERFLOW != 0 { // some closes are unknown: every watched device may have changed
		w.mu.Lock()
		ids := make([]string, 0, len(w.byID))
		for id := range w.byID {
			ids = append(ids, id)
		}
		w.mu.Unlock()
		slices.Sort(ids)
		for _, id := range ids {
			w.change(id)
		}
		return
	}
	if ok && mask&unix.IN_CLOSE_WRITE != 0 {
		w.change(id)
	}
}

// change asks the kernel for change events of a device that was written to.
func (w *Watch) change(id string) {
	dev, err := w.roots.DeviceByID(id)
	if err == nil {
		err = w.synthesize(dev)
	}
	if w.changed != nil && (err == nil || !IsGone(err)) {
		w.changed(dev, err)
	}
}

// synthesize makes change events. The partition table of a whole disk is read again first; when that works and there are
// partitions the kernel sends the events itself, else each partition gets one too.
func (w *Watch) synthesize(dev *Device) error {
	if dev.IsBlock() && dev.Devtype() == "disk" && !strings.HasPrefix(dev.Sysname(), "dm-") {
		reread := w.rereadPartitions(dev) == nil
		var partitions []*Device
		for _, child := range dev.Children() {
			if child.Devtype() == "partition" {
				partitions = append(partitions, child)
			}
		}
		if reread && len(partitions) > 0 {
			return nil
		}
		errs := []error{dev.SetAttr("uevent", "change")}
		for _, p := range partitions {
			errs = append(errs, p.SetAttr("uevent", "change"))
		}
		return errors.Join(errs...)
	}
	return dev.SetAttr("uevent", "change")
}

// rereadPartitions makes the kernel read a disk's partition table, unless somebody has it locked or mounted.
func (w *Watch) rereadPartitions(dev *Device) error {
	num, _ := dev.Devnum()
	handle, err := openNode(w.roots.DevDir(), dev.Devname())
	if err != nil {
		return err
	}
	defer unix.Close(handle)
	var st unix.Stat_t
	if err := unix.Fstat(handle, &st); err != nil {
		return err
	}
	if have, block, _ := nodeDevnum(&st); !block || have != num {
		return fs.ErrInvalid
	}
	fd, err := unix.Open(procFD(handle), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return err
	}
	return unix.IoctlSetInt(fd, unix.BLKRRPART, 0)
}
