package hotplug

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"

	"golang.org/x/sys/unix"
)

// nodeWant is what a node shall have. A negative number leaves it as it is.
type nodeWant struct {
	uid, gid int
	mode     int
	labels   map[string]string
}

// want turns what the rules said, and what the kernel suggests (DEVUID, DEVGID, DEVMODE), into what the node gets. A group
// without a mode means 0660.
func (r NodeResult) want(dev *Device) nodeWant {
	number := func(key string, base int) int {
		if text, ok := dev.Property(key); ok {
			if n, err := strconv.ParseUint(text, base, 31); err == nil {
				return int(n)
			}
		}
		return -1
	}
	return r.over(nodeWant{uid: number("DEVUID", 10), gid: number("DEVGID", 10), mode: number("DEVMODE", 8)})
}

// over puts what the rules said in the place of what else there is to say.
func (r NodeResult) over(w nodeWant) nodeWant {
	w.labels = r.SecLabel
	if r.UID != nil {
		w.uid = int(*r.UID)
	}
	if r.GID != nil {
		w.gid = int(*r.GID)
	}
	switch {
	case r.Mode != nil:
		w.mode = int(fileMode(*r.Mode))
	case w.mode < 0 && w.gid > 0:
		w.mode = 0o660
	}
	return w
}

// fileMode turns a mode of Go's into one of the kernel's, with the bits that chmod takes.
func fileMode(m fs.FileMode) uint32 {
	bits := uint32(m.Perm())
	for _, b := range []struct {
		go_  fs.FileMode
		unix uint32
	}{{fs.ModeSetuid, unix.S_ISUID}, {fs.ModeSetgid, unix.S_ISGID}, {fs.ModeSticky, unix.S_ISVTX}} {
		if m&b.go_ != 0 {
			bits |= b.unix
		}
	}
	return bits
}

// errOthersNode is why a node is not given its owner and mode.
var errOthersNode = errors.New("is another device's")

// applyNode gives the device's node its owner, group and mode. A node with another number is somebody else's and is left
// alone, which is an errOthersNode; one that is missing is made when make says so, since then the kernel does not make it.
func (r Roots) applyNode(dev *Device, res NodeResult, action string, make bool) error {
	name := dev.Devname()
	num, ok := dev.Devnum()
	if name == "" || !ok {
		return nil
	}
	want := res.want(dev)
	if r.hasNode(dev, num, want) {
		return nil
	}
	fd, err := openNode(r.DevDir(), name)
	if errors.Is(err, fs.ErrNotExist) && make {
		if err := r.makeNode(name, num, dev.IsBlock(), want); err != nil {
			return fmt.Errorf("node %s: %w", name, err)
		}
		fd, err = openNode(r.DevDir(), name)
	}
	if errors.Is(err, fs.ErrNotExist) && r.DevDir() != "/dev" {
		return nil // a stand-in holds what nodes its maker wants
	}
	if err != nil {
		return fmt.Errorf("node %s: %w", name, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("node %s: %w", name, err)
	}
	have, block, isNode := nodeDevnum(&st)
	standIn := r.DevDir() != "/dev" && st.Mode&unix.S_IFMT == unix.S_IFREG // of a test's /dev
	if !standIn && (!isNode || have != num || block != dev.IsBlock()) {
		return fmt.Errorf("node %s: %w, %s: left alone", name, errOthersNode, describeNode(&st))
	}
	if err := want.apply(fd, &st, action == "add"); err != nil {
		return fmt.Errorf("node %s: %w", name, err)
	}
	return nil
}

// hasNode says whether the device's node is as it shall be. It is the short way to leave alone what is right.
func (r Roots) hasNode(dev *Device, num Devnum, want nodeWant) bool {
	var st unix.Stat_t
	if len(want.labels) > 0 || quickLstat(r.DevDir()+"/", dev.Devname(), &st) != nil {
		return false
	}
	have, block, ok := nodeDevnum(&st)
	return ok && have == num && block == dev.IsBlock() && !want.chowns(&st) && !want.chmods(&st)
}

func (w nodeWant) chowns(st *unix.Stat_t) bool {
	return w.uid >= 0 && uint32(w.uid) != st.Uid || w.gid >= 0 && uint32(w.gid) != st.Gid
}

func (w nodeWant) chmods(st *unix.Stat_t) bool {
	return w.mode >= 0 && uint32(w.mode)&0o777 != st.Mode&0o777
}

// apply sets what differs. Access is never wider in between than before or after.
func (w nodeWant) apply(fd int, st *unix.Stat_t, label bool) error {
	const bits = 0o7777
	var errs []error
	chown, chmod := w.chowns(st), w.chmods(st)
	if chown {
		if narrow := st.Mode & bits & uint32(w.mode); chmod && narrow != st.Mode&bits {
			errs = append(errs, chmodFD(fd, narrow))
		}
		if err := unix.Fchownat(fd, "", w.uid, w.gid, unix.AT_EMPTY_PATH); err != nil {
			errs = append(errs, fmt.Errorf("chown to %d:%d: %w", w.uid, w.gid, err))
		}
	}
	if chmod {
		errs = append(errs, chmodFD(fd, uint32(w.mode)))
	}
	if label || chown || chmod {
		for module, text := range w.labels {
			attr := map[string]string{"selinux": "security.selinux", "smack": "security.SMACK64"}[module]
			if attr == "" {
				errs = append(errs, fmt.Errorf("SECLABEL{%s}: no such security module", module))
			} else if err := unix.Setxattr(procFD(fd), attr, []byte(text), 0); err != nil && err != unix.EOPNOTSUPP { // nothing to keep it in
				errs = append(errs, fmt.Errorf("SECLABEL{%s}=%q: %w", module, text, err))
			}
		}
	}
	return errors.Join(errs...)
}

func chmodFD(fd int, mode uint32) error {
	err := unix.Fchmodat(fd, "", mode, unix.AT_EMPTY_PATH) // Linux 6.6
	if err != nil {
		err = unix.Chmod(procFD(fd), mode)
	}
	if err != nil {
		return fmt.Errorf("chmod to %04o: %w", mode, err)
	}
	return nil
}

func describeNode(st *unix.Stat_t) string {
	switch num, block, ok := nodeDevnum(st); {
	case !ok:
		return "no device node"
	case block:
		return "block " + num.String()
	default:
		return "char " + num.String()
	}
}

// makeNode makes a node where the kernel does not.
func (r Roots) makeNode(name string, num Devnum, block bool, want nodeWant) error {
	root, err := os.OpenRoot(r.DevDir())
	if err != nil {
		return err
	}
	defer root.Close()
	kind := uint32(unix.S_IFCHR)
	if block {
		kind = unix.S_IFBLK
	}
	perm := uint32(0o600)
	if want.mode >= 0 && want.uid < 0 && want.gid < 0 {
		perm = uint32(want.mode)
	}
	dir, base := path.Split(name)
	if dir != "" {
		if err := root.MkdirAll(path.Clean(dir), 0o755); err != nil {
			return err
		}
	} else {
		dir = "."
	}
	parent, err := root.Open(path.Clean(dir))
	if err != nil {
		return err
	}
	defer parent.Close()
	err = unix.Mknodat(int(parent.Fd()), base, kind|perm, int(unix.Mkdev(num.Major, num.Minor)))
	if err != nil && err != unix.EEXIST {
		return fmt.Errorf("mknod %s: %w", num, err)
	}
	return nil
}

// removeNode removes the device's node, where the kernel does not do it and while it is still this device's.
func (r Roots) removeNode(dev *Device) error {
	name := dev.Devname()
	num, ok := dev.Devnum()
	if name == "" || !ok {
		return nil
	}
	fd, err := openNode(r.DevDir(), name)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("node %s: %w", name, err)
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	unix.Close(fd)
	if have, block, isNode := nodeDevnum(&st); err != nil || !isNode || have != num || block != dev.IsBlock() {
		return nil
	}
	root, err := os.OpenRoot(r.DevDir())
	if err != nil {
		return fmt.Errorf("node %s: %w", name, err)
	}
	defer root.Close()
	if err := removeFile(root, name); err != nil {
		return fmt.Errorf("node %s: %w", name, err)
	}
	prune(root, name)
	return nil
}
