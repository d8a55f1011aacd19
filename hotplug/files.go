package hotplug

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// temporaryName is a name beside name that nobody else uses, and that readers of the directory pass over.
func temporaryName(name string) string {
	dir, base := path.Split(name)
	if len(base) > 200 {
		base = base[:200]
	}
	return fmt.Sprintf("%s.#%s%016x", dir, base, rand.Uint64())
}

// isTemporary tells whether a name is one of temporaryName's.
func isTemporary(name string) bool {
	rest, ok := strings.CutPrefix(name, ".#")
	return ok && len(rest) > 16 && strings.Trim(rest[len(rest)-16:], "0123456789abcdef") == ""
}

// sweepTemporaries removes what somebody who was killed has left half made below dir: a file or a link that was never renamed. One
// that is only just being made is made again by who makes it. The directories named in except are left alone.
func sweepTemporaries(dir string, except ...string) {
	_ = filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil // it went, or is not for us
		case entry.IsDir() && slices.Contains(except, entry.Name()):
			return fs.SkipDir
		case !entry.IsDir() && isTemporary(entry.Name()):
			_ = os.Remove(name)
		}
		return nil
	})
}

// writeFile puts a file in place whole: readers see the old one or the new one. Directories above it are made.
func writeFile(root *os.Root, name string, content []byte, perm uint32) error {
	return inPlace(root, name, func(tmp string) error {
		f, err := root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return err
		}
		_, err = f.Write(content)
		if err == nil {
			err = unix.Fchmod(int(f.Fd()), perm) // whatever the umask, and the sticky bit that Go keeps elsewhere
		}
		return errors.Join(err, f.Close())
	})
}

// writeLink puts a link in place whole.
func writeLink(root *os.Root, name, target string) error {
	if have, err := root.Readlink(name); err == nil && have == target {
		return nil
	}
	return inPlace(root, name, func(tmp string) error { return root.Symlink(target, tmp) })
}

// says says whether there is a link at path that says target. It is the short way to leave alone what is right.
func says(path, target string) bool {
	var buf [512]byte
	n, err := quickReadlink(path, "", buf[:])
	return err == nil && string(buf[:n]) == target
}

// inPlace makes something under a temporary name and renames it. Directories are made when they are missing, again when
// somebody prunes them meanwhile.
func inPlace(root *os.Root, name string, make func(tmp string) error) error {
	tmp := temporaryName(name)
	for try := 0; ; try++ {
		err := make(tmp)
		if err == nil {
			if err = root.Rename(tmp, name); err != nil {
				_ = root.Remove(tmp)
			}
		} else if !errors.Is(err, fs.ErrNotExist) {
			_ = root.Remove(tmp)
		}
		dir := path.Dir(name)
		if err == nil || !errors.Is(err, fs.ErrNotExist) || try == 8 || dir == "." {
			return err
		}
		if err := root.MkdirAll(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
}

// prune removes the directories above name that have become empty.
func prune(root *os.Root, name string) {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if info, err := root.Lstat(dir); err != nil || !info.IsDir() || root.Remove(dir) != nil {
			return
		}
	}
}

// removeFile removes a file or a link; one that is not there is removed already.
func removeFile(root *os.Root, name string) error {
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// openNode opens name below dir without following a single link, as a mere handle (O_PATH): the file is not touched.
func openNode(dir, name string) (int, error) {
	const flags = unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	for rest := name; ; {
		part, next, more := strings.Cut(rest, "/")
		if part == "" || part == "." || part == ".." {
			unix.Close(fd)
			return -1, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
		}
		how := flags
		if more {
			how |= unix.O_DIRECTORY
		}
		at, err := unix.Openat(fd, part, how, 0)
		unix.Close(fd)
		if err != nil {
			return -1, &fs.PathError{Op: "open", Path: dir + "/" + name, Err: err}
		}
		if !more {
			return at, nil
		}
		fd, rest = at, next
	}
}

// nodeDevnum returns the number of an open node, and whether it is a block device.
func nodeDevnum(st *unix.Stat_t) (num Devnum, block, ok bool) {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFBLK:
		block, ok = true, true
	case unix.S_IFCHR:
		ok = true
	}
	return Devnum{unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))}, block, ok
}

// procFD names an open handle as a path, for the calls that take no handle of O_PATH.
func procFD(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }
