package hotplug

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cagePrefix begins the names of the cgroups that programs run in.
const cagePrefix = "kudev-program-"

// Cgroup is this process's cgroup, of version 2, below which it may make others: see [Runner].
type Cgroup struct {
	dir   string
	mount *os.File // where no tree is mounted: one that is seen by nobody else
}

// OwnCgroup opens it, be the tree mounted or not. The error says why it is not for use. What another process, killed
// meanwhile, has left there is removed.
//
// Below systemd it is for use when the unit says Delegate=yes: the tree is else systemd's alone.
// See cgroups(7), and systemd's Control Group APIs and Delegation, https://systemd.io/CGROUP_DELEGATION.
func OwnCgroup() (*Cgroup, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("cgroup: %w", err)
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, fmt.Errorf("cgroup: %w", err)
	}
	g := &Cgroup{}
	if g.dir, err = ownCgroup(string(mounts), string(own)); errors.Is(err, errNoTree) {
		g, err = mountCgroup(string(own))
	}
	if err != nil {
		return nil, err
	}
	if err := g.usable(); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// mountCgroup mounts the tree where only we have it. Linux 5.2.
func mountCgroup(own string) (*Cgroup, error) {
	fs, err := unix.Fsopen("cgroup2", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cgroup: mount a tree of version 2: %w", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return nil, fmt.Errorf("cgroup: mount a tree of version 2: %w", err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return nil, fmt.Errorf("cgroup: mount a tree of version 2: %w", err)
	}
	g := &Cgroup{mount: os.NewFile(uintptr(fd), "cgroup2")}
	g.dir, err = ownCgroup(fmt.Sprintf("0 0 0:0 / %s - cgroup2 ", procFD(fd)), own)
	if err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// usable says whether cgroups can be made below this one, and removes those that are left.
func (g *Cgroup) usable() error {
	var delegated [8]byte
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		if n, err := unix.Getxattr(g.dir, "trusted.delegate", delegated[:]); err != nil || n != 1 || delegated[0] != '1' {
			return errors.New("cgroup: it is systemd's alone, since the unit lacks Delegate=yes")
		}
	}
	entries, _ := os.ReadDir(g.dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), cagePrefix) {
			_ = os.Remove(g.dir + "/" + e.Name()) // one in use stays
		}
	}
	c, err := g.newCage()
	if err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	c.close()
	return nil
}

// Close lets go of it. No program may run in it any more.
func (g *Cgroup) Close() error {
	if g.mount == nil {
		return nil
	}
	return g.mount.Close()
}

// errNoTree is why a cgroup is not found where nothing is mounted.
var errNoTree = errors.New("cgroup: none of version 2 is to be seen")

// ownCgroup finds it in the texts of /proc/self/mountinfo and /proc/self/cgroup.
func ownCgroup(mounts, own string) (string, error) {
	var at string
	for line := range strings.Lines(own) { // 0::/system.slice/kudev.service
		if name, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			at = name
		}
	}
	for line := range strings.Lines(mounts) {
		// 30 24 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec shared:9 - cgroup2 cgroup2 rw
		before, after, _ := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if len(fields) < 5 || !strings.HasPrefix(after, "cgroup2 ") || strings.Contains(fields[4], `\`) {
			continue
		}
		if rest, ok := strings.CutPrefix(at, strings.TrimSuffix(fields[3], "/")); ok && at != "" && (rest == "" || rest[0] == '/') {
			return path.Join(fields[4], rest), nil
		}
	}
	return "", errNoTree
}

// cage is a cgroup of one program's own. Whatever that starts is in it, and cannot leave it.
type cage struct {
	dir string
	fd  int
}

func (g *Cgroup) newCage() (*cage, error) {
	dir, err := os.MkdirTemp(g.dir, cagePrefix)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		_ = os.Remove(dir)
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	return &cage{dir, fd}, nil
}

// kill kills all that is in it.
func (c *cage) kill() {
	if err := os.WriteFile(c.dir+"/cgroup.kill", []byte("1"), 0); err == nil {
		return
	}
	for range 100 { // before Linux 5.14: until no new ones are found
		text, _ := os.ReadFile(c.dir + "/cgroup.procs")
		if len(text) == 0 {
			return
		}
		for pid := range strings.FieldsSeq(string(text)) {
			if n, err := strconv.Atoi(pid); err == nil && n > 0 {
				_ = unix.Kill(n, unix.SIGKILL)
			}
		}
		time.Sleep(time.Millisecond)
	}
}

// close removes it. What was killed takes a moment to end; what does not end then, as it waits for a device, keeps it until
// [OwnCgroup] is called by the next daemon.
func (c *cage) close() {
	unix.Close(c.fd)
	for pause := time.Millisecond; unix.Rmdir(c.dir) == unix.EBUSY && pause < 100*time.Millisecond; pause *= 2 {
		time.Sleep(pause)
	}
}
