package hotplug

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Roots are the directories that stand for /sys, /dev and /run. An empty field means the real one. What is shown to
// rules, programs and listeners is always spelled /sys, /dev and /run: only reading and writing go elsewhere.
type Roots struct {
	Sys, Dev, Run string
}

func (r Roots) sys() tree { return newTree(r.Sys, "/sys") }
func (r Roots) dev() tree { return newTree(r.Dev, "/dev") }
func (r Roots) run() tree { return newTree(r.Run, "/run") }

// SysDir, DevDir and RunDir are the directories themselves, to be shown or opened as a whole.
func (r Roots) SysDir() string { return r.sys().dir }
func (r Roots) DevDir() string { return r.dev().dir }
func (r Roots) RunDir() string { return r.run().dir }

// Device returns the device at devpath (as in DEVPATH: "/devices/…", without the /sys in front; a path with it is taken
// too, and one through links, as "/class/net/lo", is followed). The error satisfies errors.Is(err, fs.ErrNotExist) when
// sysfs has no such device.
func (r Roots) Device(devpath string) (*Device, error) {
	devpath = strings.TrimPrefix(devpath, "/sys/")
	devpath = path.Clean("/" + devpath)
	real, err := r.sys().resolve(devpath)
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", devpath, err)
	}
	if !r.isDevice(real) {
		return nil, fmt.Errorf("device %s: %w", devpath, fs.ErrNotExist)
	}
	return &Device{roots: r, devpath: real}, nil
}

// isDevice says whether the directory at devpath is a device: below /devices it must have a uevent file, elsewhere
// (drivers, modules, classes) it need only be a directory.
func (r Roots) isDevice(devpath string) bool {
	if devpath == "/devices" || strings.HasPrefix(devpath, "/devices/") {
		mode, err := r.sys().lstat(devpath + "/uevent")
		return err == nil && !mode.IsDir()
	}
	if strings.Count(devpath, "/") < 2 {
		return false
	}
	mode, err := r.sys().lstat(devpath)
	return err == nil && mode.IsDir()
}

// EventDevice returns the device that ev speaks of. Properties are the event's own, and it works after the device has
// gone from sysfs: attributes then read as absent.
func (r Roots) EventDevice(ev *Event) *Device {
	return &Device{roots: r, devpath: ev.Devpath(), event: ev}
}

// DeviceByID returns the device that udev's database calls id: bMAJ:MIN, cMAJ:MIN, nIFINDEX or +subsystem:sysname.
func (r Roots) DeviceByID(id string) (*Device, error) {
	unknown := fmt.Errorf("device %s: %w", id, fs.ErrNotExist)
	if len(id) < 2 || strings.Contains(id, "/") {
		return nil, unknown
	}
	switch kind, rest := id[0], id[1:]; kind {
	case 'b', 'c':
		num, ok := parseDevnum2(rest)
		if !ok {
			return nil, unknown
		}
		return r.DeviceByNum(num, kind == 'b')
	case 'n':
		names, err := r.sys().readDir("/class/net")
		if err != nil {
			return nil, unknown
		}
		for _, name := range names {
			if text, err := r.sys().read("/class/net/" + name + "/ifindex"); err == nil && strings.TrimSpace(text) == rest {
				return r.Device("/class/net/" + name)
			}
		}
	case '+':
		if subsystem, name, ok := strings.Cut(rest, ":"); ok {
			return r.DeviceByName(subsystem, name)
		}
	}
	return nil, unknown
}

// DeviceByNum returns the device with the number.
func (r Roots) DeviceByNum(num Devnum, block bool) (*Device, error) {
	kind := "char"
	if block {
		kind = "block"
	}
	return r.Device(fmt.Sprintf("/dev/%s/%d:%d", kind, num.Major, num.Minor))
}

// DeviceByName returns the device of a subsystem by its kernel name ("pci", "0000:00:1f.2"; a '/' in it is '!' in
// sysfs). The subsystems of udev that are none of the kernel's work too: "subsystem", "module", and "drivers" with a
// name like "pci:nvme".
func (r Roots) DeviceByName(subsystem, name string) (*Device, error) {
	name = strings.ReplaceAll(name, "/", "!")
	var places []string
	switch subsystem {
	case "subsystem":
		places = []string{"/subsystem/" + name, "/bus/" + name, "/class/" + name}
	case "module":
		places = []string{"/module/" + name}
	case "drivers":
		if bus, driver, ok := strings.Cut(name, ":"); ok {
			places = []string{"/subsystem/" + bus + "/drivers/" + driver, "/bus/" + bus + "/drivers/" + driver}
		}
	default:
		places = []string{
			"/subsystem/" + subsystem + "/devices/" + name, "/bus/" + subsystem + "/devices/" + name,
			"/class/" + subsystem + "/" + name, "/firmware/" + subsystem + "/" + name,
		}
	}
	for _, place := range places {
		if !validDevpath(place) {
			break
		}
		if dev, err := r.Device(place); err == nil {
			return dev, nil
		}
	}
	return nil, fmt.Errorf("device %s of subsystem %s: %w", name, subsystem, fs.ErrNotExist)
}

// DeviceByNode returns the device whose node or link is name, with or without /dev/ in front.
func (r Roots) DeviceByNode(name string) (*Device, error) {
	name = strings.TrimPrefix(name, "/dev/")
	dev := r.dev()
	real, err := dev.resolve(path.Clean("/" + name))
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", name, err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(dev.dir+real, &st); err != nil {
		return nil, fmt.Errorf("node %s: %w", name, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFBLK, unix.S_IFCHR:
		num := Devnum{unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))}
		return r.DeviceByNum(num, st.Mode&unix.S_IFMT == unix.S_IFBLK)
	}
	return nil, fmt.Errorf("node %s: no device node: %w", name, fs.ErrNotExist)
}

// ResolveAttr takes "[subsystem/kernel]attribute", as rules may write instead of an attribute's name, and returns the
// device and the name. Without brackets ok is false; a device that is not there is an error.
func (r Roots) ResolveAttr(s string) (dev *Device, attr string, ok bool, err error) {
	inner, rest, found := strings.Cut(strings.TrimPrefix(s, "["), "]")
	if !strings.HasPrefix(s, "[") || !found {
		return nil, "", false, nil
	}
	subsystem, name, found := strings.Cut(inner, "/")
	if !found {
		return nil, "", true, fmt.Errorf("%q names no [subsystem/kernel]: %w", s, fs.ErrInvalid)
	}
	dev, err = r.DeviceByName(subsystem, name)
	return dev, strings.TrimLeft(rest, "/"), true, err
}

// place says which tree a shown path ("/sys/…", "/dev/…", "/run/…", any other absolute path) lies in, and where.
func (r Roots) place(name string) (tree, string) {
	name = path.Clean("/" + name)
	for _, at := range []struct {
		shown string
		tree  tree
	}{{"/sys", r.sys()}, {"/dev", r.dev()}, {"/run", r.run()}} {
		if name == at.shown {
			return at.tree, "/"
		}
		if rest, ok := strings.CutPrefix(name, at.shown+"/"); ok {
			return at.tree, "/" + rest
		}
	}
	return tree{dir: "", real: true}, name
}

// Stat returns the mode of what a shown path leads to: one below /sys, /dev or /run in the directory that stands for
// it, any other where it is.
func (r Roots) Stat(name string) (fs.FileMode, error) {
	t, rest := r.place(name)
	return t.stat(rest)
}

// ReadFile reads a file at a shown path, up to 4 MiB.
func (r Roots) ReadFile(name string) (string, error) {
	t, rest := r.place(name)
	return t.read(rest)
}

// ReadDir returns the sorted names in a directory at a shown path.
func (r Roots) ReadDir(name string) ([]string, error) {
	t, rest := r.place(name)
	return t.readDir(rest)
}

func parseDevnum2(s string) (Devnum, bool) {
	major, minor, ok := strings.Cut(s, ":")
	if !ok || minor == "" {
		return Devnum{}, false
	}
	return parseDevnum(major, minor)
}

// tree is a directory that is read as if it were a root: no name and no link leads out of it. Names begin with '/'.
type tree struct {
	dir string
	// real says that the kernel itself makes the links here, and none leads out: then only a name with ".." in it needs
	// the careful way.
	real bool
}

//
//go:noinline // once in the program, not in each of its many callers
func newTree(dir, standard string) tree {
	if dir == "" || dir == standard {
		return tree{standard, standard == "/sys"}
	}
	return tree{filepath.Clean(dir), false}
}

// maxFile is the most that is read of a file, in bytes.
const maxFile = 4 << 20

func (t tree) plain(name string) bool { return t.real && !strings.Contains(name, "..") }

// within opens the tree for one careful operation.
func (t tree) within(name string) (*os.Root, string, error) {
	dir := t.dir
	if dir == "" {
		dir = "/"
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, "", err
	}
	if name = strings.TrimLeft(name, "/"); name == "" {
		name = "."
	}
	return root, name, nil
}

// read reads a file of any kind but a directory; a link is followed within the tree.
func (t tree) read(name string) (string, error) { return t.readFlags(name, 0) }

func (t tree) readFlags(name string, flags int) (string, error) {
	flags |= unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK
	var fd int
	if t.plain(name) {
		var err error
		if fd, err = quickOpen(t.dir, name, flags); err != nil {
			return "", &fs.PathError{Op: "open", Path: t.dir + name, Err: err}
		}
		defer quickClose(fd)
	} else {
		root, name, err := t.within(name)
		if err != nil {
			return "", err
		}
		defer root.Close()
		if flags&unix.O_NOFOLLOW != 0 { // Root follows a link's last part whatever the flags say
			if info, err := root.Lstat(name); err == nil && info.Mode()&fs.ModeSymlink != 0 {
				return "", &fs.PathError{Op: "open", Path: name, Err: unix.ELOOP}
			}
		}
		f, err := root.OpenFile(name, flags, 0)
		if err != nil {
			return "", err
		}
		defer f.Close()
		fd = int(f.Fd())
	}
	whole := t.plain(name) && t.dir != "" // sysfs and records give all they have, or fill the buffer
	var small [1024]byte                  // most attributes have less, and it is zeroed each time
	buf := small[:0]
	for {
		if len(buf) == cap(buf) {
			if len(buf) >= maxFile {
				return "", &fs.PathError{Op: "read", Path: name, Err: unix.EFBIG}
			}
			buf = append(make([]byte, 0, 4*cap(buf)), buf...)
		}
		n, err := unix.Read(fd, buf[len(buf):cap(buf)])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return "", &fs.PathError{Op: "read", Path: name, Err: err}
		}
		if n > 0 {
			buf = buf[:len(buf)+n]
		}
		if n <= 0 || whole && len(buf) < cap(buf) {
			return string(buf), nil
		}
	}
}

// readRecord reads the file of a record. Where the tree is /run itself, below which only root makes names, that is one open: an
// event reads several records, and an id is a single name.
func (t tree) readRecord(id string) (string, error) {
	t.real = t.dir == "/run"
	return t.readFlags("/udev/data/"+id, unix.O_NOFOLLOW)
}

// write writes to a file that is there. The last part of the name must be no link.
func (t tree) write(name, value string) error {
	const flags = unix.O_WRONLY | unix.O_CLOEXEC | unix.O_NOFOLLOW | unix.O_TRUNC | unix.O_NOCTTY
	var fd int
	if t.plain(name) {
		var err error
		if fd, err = unix.Open(t.dir+name, flags, 0); err != nil {
			return &fs.PathError{Op: "open", Path: t.dir + name, Err: err}
		}
		defer unix.Close(fd)
	} else {
		root, name, err := t.within(name)
		if err != nil {
			return err
		}
		defer root.Close()
		if info, err := root.Lstat(name); err == nil && !info.Mode().IsRegular() {
			return &fs.PathError{Op: "open", Path: name, Err: unix.ELOOP}
		}
		f, err := root.OpenFile(name, flags, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		fd = int(f.Fd())
	}
	for {
		_, err := unix.Write(fd, []byte(value)) // sysfs takes a value in one write
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return &fs.PathError{Op: "write", Path: name, Err: err}
		}
		return nil
	}
}

// readlink returns what a link says.
func (t tree) readlink(name string) (string, error) {
	if t.plain(name) {
		var small [256]byte
		buf := small[:]
		for {
			n, err := quickReadlink(t.dir, name, buf)
			if err != nil {
				return "", &fs.PathError{Op: "readlink", Path: t.dir + name, Err: err}
			}
			if n < len(buf) {
				return string(buf[:n]), nil
			}
			buf = make([]byte, 4*len(buf))
		}
	}
	root, name, err := t.within(name)
	if err != nil {
		return "", err
	}
	defer root.Close()
	return root.Readlink(name)
}

func (t tree) lstat(name string) (fs.FileMode, error) {
	if t.plain(name) {
		var st unix.Stat_t
		if err := quickLstat(t.dir, name, &st); err != nil {
			return 0, &fs.PathError{Op: "lstat", Path: t.dir + name, Err: err}
		}
		mode := fs.FileMode(st.Mode & 0o777)
		switch st.Mode & unix.S_IFMT { // sysfs has nothing else
		case unix.S_IFDIR:
			mode |= fs.ModeDir
		case unix.S_IFLNK:
			mode |= fs.ModeSymlink
		}
		return mode, nil
	}
	root, name, err := t.within(name)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	info, err := root.Lstat(name)
	if err != nil {
		return 0, err
	}
	return info.Mode(), nil
}

func (t tree) stat(name string) (fs.FileMode, error) {
	if t.plain(name) || t.dir == "" {
		info, err := os.Stat(t.dir + name)
		if err != nil {
			return 0, err
		}
		return info.Mode(), nil
	}
	root, name, err := t.within(name)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	info, err := root.Stat(name)
	if err != nil {
		return 0, err
	}
	return info.Mode(), nil
}

// readDir returns the sorted names in a directory.
func (t tree) readDir(name string) ([]string, error) {
	var f *os.File
	if t.plain(name) || t.dir == "" {
		var err error
		if f, err = os.Open(t.dir + name); err != nil {
			return nil, err
		}
	} else {
		root, name, err := t.within(name)
		if err != nil {
			return nil, err
		}
		defer root.Close()
		if f, err = root.Open(name); err != nil {
			return nil, err
		}
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// resolve follows every link of name within the tree and returns where it leads, as a name without links.
func (t tree) resolve(name string) (string, error) {
	if t.plain(name) { // most names have no link in them: the kernel says so at once
		switch err := linkless(t.dir + name); err {
		case nil:
			return name, nil
		case unix.ENOENT:
			return "", &fs.PathError{Op: "open", Path: t.dir + name, Err: err}
		}
	}
	left := strings.Split(strings.Trim(name, "/"), "/")
	at := ""
	for links := 0; len(left) > 0; {
		part := left[0]
		left = left[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			at = at[:max(strings.LastIndexByte(at, '/'), 0)]
			continue
		}
		target, err := t.readlink(at + "/" + part)
		if err != nil {
			at += "/" + part
			continue
		}
		if links++; links > 40 {
			return "", &fs.PathError{Op: "resolve", Path: name, Err: unix.ELOOP}
		}
		if rest, ok := strings.CutPrefix(target, t.dir+"/"); ok && t.dir != "" {
			at, target = "", rest
		} else if strings.HasPrefix(target, "/") {
			return "", &fs.PathError{Op: "resolve", Path: name, Err: fmt.Errorf("link %s leads out to %s: %w", at+"/"+part, target, fs.ErrNotExist)}
		}
		if t.real && at != "" { // a link of the kernel's own leads to a device by a path without links
			if to := path.Clean(at + "/" + target + "/" + strings.Join(left, "/")); linkless(t.dir+to) == nil {
				return to, nil
			}
		}
		left = append(strings.Split(target, "/"), left...)
	}
	if at == "" {
		at = "/"
	}
	if _, err := t.lstat(at); err != nil {
		return "", err
	}
	return at, nil
}

// linkless returns nil when a path is there and no part of it is a link.
func linkless(name string) error {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS}
	fd, err := unix.Openat2(unix.AT_FDCWD, name, &how) // Linux 5.6; before that an error, and the long way
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// String is "MAJ:MIN".
func (n Devnum) String() string {
	return strconv.FormatUint(uint64(n.Major), 10) + ":" + strconv.FormatUint(uint64(n.Minor), 10)
}
