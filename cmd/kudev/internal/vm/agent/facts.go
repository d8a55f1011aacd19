//go:build linux

package main

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const acl = "system.posix_acl_access"

// writeFacts writes what a device manager has made of the machine, one fact a line, sorted: every link and node below /dev, every line
// of every record and that there is one, every tag, every interface with its name and alternative names. What differs from one run of the same manager to the next is left
// out: the time of a record (I:).
func writeFacts(w io.Writer) error {
	var facts []string
	add := func(format string, args ...any) { facts = append(facts, fmt.Sprintf(format, args...)) }
	err := walkDev(func(path string, info fs.FileInfo) error {
		stat := info.Sys().(*syscall.Stat_t)
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			add("link %s -> %s", path, target)
		case info.Mode()&fs.ModeDevice != 0:
			kind := "b"
			if info.Mode()&fs.ModeCharDevice != 0 {
				kind = "c"
			}
			extra := make([]byte, 1024)
			n, err := unix.Lgetxattr(path, acl, extra)
			if err != nil {
				n = 0
			}
			add("node %s %s %d:%d %04o %d:%d %s", path, kind, unix.Major(stat.Rdev), unix.Minor(stat.Rdev), stat.Mode&0o7777, stat.Uid, stat.Gid, hex.EncodeToString(extra[:n]))
		}
		return nil
	})
	if err != nil {
		return err
	}
	records, err := os.ReadDir("/run/udev/data")
	if err != nil {
		return err
	}
	for _, r := range records {
		data, err := os.ReadFile("/run/udev/data/" + r.Name())
		if err != nil {
			return err
		}
		info, err := r.Info()
		if err != nil {
			return err
		}
		add("data %s %v", r.Name(), info.Mode())
		for line := range strings.Lines(string(data)) {
			if !strings.HasPrefix(line, "I:") && !strings.HasPrefix(line, "E:USEC_INITIALIZED=") {
				add("data %s %s", r.Name(), strings.TrimSuffix(line, "\n"))
			}
		}
	}
	tags, err := filepath.Glob("/run/udev/tags/*/*")
	if err != nil {
		return err
	}
	for _, t := range tags {
		add("tag %s", strings.TrimPrefix(t, "/run/udev/tags/"))
	}
	interfaces, err := filepath.Glob("/sys/class/net/*")
	if err != nil {
		return err
	}
	for _, i := range interfaces {
		device, err := filepath.EvalSymlinks(i)
		if err != nil {
			return err
		}
		add("net %s", device)
	}
	others, err := alternativeNames()
	if err != nil {
		return err
	}
	for _, o := range others {
		add("altname of %s: %s", o.of, o.name)
	}
	slices.Sort(facts)
	out := bufio.NewWriter(w)
	for _, f := range facts {
		fmt.Fprintln(out, f)
	}
	return out.Flush()
}

// wipe takes back what a device manager has done that can be taken back, so that the next one starts from what the
// kernel made: no records, no links but the usual four, no links' directories, nodes owned by root with mode 0600.
// Interfaces keep the name they have: to be renamed is for ever.
func wipe() error {
	var dirs []string
	err := walkDev(func(path string, info fs.FileInfo) error {
		switch {
		case info.IsDir():
			dirs = append(dirs, path)
		case info.Mode()&fs.ModeSymlink != 0:
			if !slices.Contains([]string{"/dev/fd", "/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/core"}, path) {
				return os.Remove(path)
			}
		case info.Mode()&fs.ModeDevice != 0:
			if err := unix.Lremovexattr(path, acl); err != nil && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.EOPNOTSUPP) {
				return fmt.Errorf("remove the ACL of %s: %w", path, err)
			}
			return errors.Join(os.Lchown(path, 0, 0), unix.Chmod(path, 0o600))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, d := range slices.Backward(dirs) {
		os.Remove(d) // those that are empty
	}
	others, err := alternativeNames()
	if err != nil {
		return err
	}
	for _, o := range others {
		if err := o.drop(); err != nil {
			return fmt.Errorf("take the name %s from %s: %w", o.name, o.of, err)
		}
	}
	return os.RemoveAll("/run/udev")
}

// walkDev calls the function for all below /dev but the file systems that are mounted there.
func walkDev(f func(path string, info fs.FileInfo) error) error {
	return filepath.WalkDir("/dev", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch path {
		case "/dev":
			return nil
		case "/dev/pts", "/dev/shm":
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return f(path, info)
	})
}
