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

// OwnCgroup returns the directory of this process's cgroup, of version 2, for [Runner.Cgroup]: one below which it may make others.
// The error says why there is none. What another process, killed meanwhile, has left there is removed.
//
// Below systemd that is so when the unit says Delegate=yes: the tree is else systemd's alone.
// See cgroups(7), and systemd's Control Group APIs and Delegation, https://systemd.io/CGROUP_DELEGATION.
func OwnCgroup() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("cgroup: %w", err)
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", fmt.Errorf("cgroup: %w", err)
	}
	dir, err := ownCgroup(string(mounts), string(own))
	if err != nil {
		return "", err
	}
	var delegated [8]byte
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		if n, err := unix.Getxattr(dir, "trusted.delegate", delegated[:]); err != nil || n != 1 || delegated[0] != '1' {
			return "", fmt.Errorf("cgroup %s: is systemd's alone: the unit lacks Delegate=yes", dir)
		}
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), cagePrefix) {
			_ = os.Remove(dir + "/" + e.Name()) // one in use stays
		}
	}
	c, err := newCage(dir)
	if err != nil {
		return "", fmt.Errorf("cgroup: %w", err)
	}
	c.close()
	return dir, nil
}

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
	return "", errors.New("cgroup: none of version 2 is to be seen")
}

// cage is a cgroup of one program's own. Whatever that starts is in it, and cannot leave it.
type cage struct {
	dir string
	fd  int
}

func newCage(parent string) (*cage, error) {
	dir, err := os.MkdirTemp(parent, cagePrefix)
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
