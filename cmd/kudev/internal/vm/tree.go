package vm

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Tree says what a file system holds. A Tree is not safe for concurrent use; what is added to a path twice counts as it was
// added last, and directories on the way to it come into being with mode 0755.
type Tree struct {
	entries map[string]entry
}

type entry struct {
	mode uint32 // S_IFMT and permissions
	data []byte // a file's content, or a link's target
	host string // a file's content is this file's, where data is nil
}

// The file types of a cpio header are those of stat.
const (
	typeDir  = 0o040000
	typeFile = 0o100000
	typeLink = 0o120000
)

// NewTree returns an empty tree.
func NewTree() *Tree { return &Tree{entries: map[string]entry{}} }

func (t *Tree) add(name string, e entry) {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	t.entries[name] = e
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if _, ok := t.entries[dir]; ok {
			break
		}
		t.entries[dir] = entry{mode: typeDir | 0o755}
	}
}

// Dir adds an empty directory.
func (t *Tree) Dir(name string, perm fs.FileMode) {
	t.add(name, entry{mode: typeDir | uint32(perm.Perm())})
}

// File adds a file with this content.
func (t *Tree) File(name, content string, perm fs.FileMode) {
	t.add(name, entry{mode: typeFile | uint32(perm.Perm()), data: []byte(content)})
}

// Symlink adds a symbolic link.
func (t *Tree) Symlink(name, target string) {
	t.add(name, entry{mode: typeLink | 0o777, data: []byte(target)})
}

// Copy adds a file of the host, which is read when the tree is written.
func (t *Tree) Copy(name, host string, perm fs.FileMode) {
	t.add(name, entry{mode: typeFile | uint32(perm.Perm()), host: host})
}

// CopyAll adds a directory of the host with all it holds, less the paths (relative to dir) for which skip says so. skip
// may be nil.
func (t *Tree) CopyAll(name, dir string, skip func(rel string) bool) error {
	return filepath.WalkDir(dir, func(host string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, host)
		if err != nil {
			return err
		}
		if rel == "." {
			return nil
		}
		if skip != nil && skip(rel) {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			t.Dir(path.Join(name, rel), info.Mode())
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(host)
			if err != nil {
				return err
			}
			t.Symlink(path.Join(name, rel), target)
		case d.Type().IsRegular():
			t.Copy(path.Join(name, rel), host, info.Mode())
		}
		return nil
	})
}

// Write writes the tree as a cpio archive that the kernel unpacks. Format: "newc", Documentation/driver-api/early-userspace/buffer-format.rst.
func (t *Tree) Write(w io.Writer) error {
	type named struct {
		name string
		entry
	}
	all := make([]named, 0, len(t.entries))
	for name, e := range t.entries {
		all = append(all, named{name, e})
	}
	slices.SortFunc(all, func(a, b named) int { return cmp.Compare(a.name, b.name) }) // a directory before what is in it
	out := bufio.NewWriterSize(w, 1<<20)
	for i, e := range all {
		if err := writeEntry(out, uint32(i+1), e.name, e.entry); err != nil {
			return fmt.Errorf("add %s to the archive: %w", e.name, err)
		}
	}
	if err := writeEntry(out, 0, "TRAILER!!!", entry{}); err != nil {
		return err
	}
	return out.Flush()
}

func writeEntry(w *bufio.Writer, inode uint32, name string, e entry) error {
	content, size := io.Reader(strings.NewReader(string(e.data))), int64(len(e.data))
	if e.host != "" {
		f, err := os.Open(e.host)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		content, size = f, info.Size()
	}
	if size >= 1<<32 {
		return fmt.Errorf("%d bytes are more than the format holds", size)
	}
	links := 1
	if e.mode&0o170000 == typeDir {
		links = 2
	}
	// Magic, then thirteen fields of eight hexadecimal digits: inode, mode, uid, gid, links, mtime, size, device, rdev, the name's length with its NUL, checksum.
	n, err := fmt.Fprintf(w, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		inode, e.mode, 0, 0, links, 0, size, 0, 0, 0, 0, len(name)+1, 0, name)
	if err != nil {
		return err
	}
	if err := pad(w, n); err != nil {
		return err
	}
	copied, err := io.Copy(w, content)
	if err != nil {
		return err
	}
	if copied != size {
		return fmt.Errorf("it changed while it was read: %d bytes instead of %d", copied, size)
	}
	return pad(w, int(size%4))
}

// pad fills up to a multiple of four after n bytes.
func pad(w *bufio.Writer, n int) error {
	_, err := w.WriteString("\x00\x00\x00"[:-n&3])
	return err
}
