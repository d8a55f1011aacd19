package modload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Tool is another program or library of this machine that works with modules, and where it would look for them.
type Tool struct {
	Kind  string   // "modprobe", "libkmod", "kernel.modprobe" or "udevd"
	Path  string   // of its file
	Pid   int      // of a running udevd
	Looks []string // the directories of trees that it has compiled in, in order; empty when that is not known
	Tree  string   // the tree that it would use for this release, "" when it would find none
	Ours  bool     // it is kudev
	Same  bool     // it would use the tree that kudev uses
	Note  string   // what else moves it, or why nothing is known
}

// String says it in a line, as kudev check prints it.
func (t Tool) String() string {
	where := t.Path
	if t.Pid != 0 {
		where = fmt.Sprintf("%s (pid %d)", where, t.Pid)
	}
	switch {
	case t.Ours:
		where += " is kudev"
	case len(t.Looks) == 0:
	case t.Same:
		where += " uses the same tree"
	case t.Tree != "":
		where += " would use " + t.Tree
	default:
		where += " looks in " + strings.Join(t.Looks, ", ") + " and finds none"
	}
	if t.Note != "" {
		where += "; " + t.Note
	}
	return where
}

// Tools finds this machine's other tools: the modprobe that path leads to (as in $PATH), libkmod, what kernel.modprobe
// names, and a udevd that runs.
func (c *Config) Tools(ctx context.Context, path string) []Tool {
	var tools []Tool
	for _, dir := range filepath.SplitList(path) {
		if name := filepath.Join(c.Path(dir), "modprobe"); dir != "" && isFile(name) {
			tools = append(tools, c.inspect("modprobe", name, ""))
			break
		}
	}
	var seen []os.FileInfo
	for _, pattern := range libraryDirs {
		names, _ := filepath.Glob(c.Path(pattern) + "/libkmod.so*")
		for _, name := range names {
			info, err := os.Stat(name)
			if err != nil || slices.ContainsFunc(seen, func(s os.FileInfo) bool { return os.SameFile(s, info) }) {
				continue
			}
			seen = append(seen, info)
			tools = append(tools, c.inspect("libkmod", name, ""))
		}
	}
	if name, err := c.readKernel(modprobeFile); err == nil && name != "" {
		tools = append(tools, c.inspect("kernel.modprobe", c.Path(name), ""))
	}
	return append(tools, c.udevds(ctx)...)
}

// libraryDirs are where libraries lie, as patterns.
var libraryDirs = []string{"/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib/*-linux-*", "/usr/lib/*-linux-*", "/usr/local/lib/*-linux-*"}

// CheckTools says which of the tools would look elsewhere than kudev does.
func (c *Config) CheckTools(tools []Tool) []Finding {
	if c.tree == "" {
		return nil // nothing to differ from
	}
	var found []Finding
	for _, t := range tools {
		f := Finding{Severity: Warning, Text: t.Kind + ": " + t.String()}
		switch {
		case t.Kind == "udevd":
			f.Remedy = "stop it before the kudev daemon starts: each would undo the other's work"
		case t.Ours || t.Same || len(t.Looks) == 0 && t.Note == "":
			continue
		case t.Kind == "modprobe":
			f.Remedy = "put a link to kudev called modprobe before it in PATH"
		case t.Kind == "libkmod":
			f.Remedy = "programs that use it will not find these modules; make " + first(t.Looks, "/lib/modules") + " a link to them, or leave loading to kudev"
		default:
			f.Remedy = "start kudev daemon, which registers itself there"
		}
		found = append(found, f)
	}
	return found
}

func first(list []string, otherwise string) string {
	if len(list) == 0 {
		return otherwise
	}
	return list[0]
}

// inspect finds out where a program or library would look, below root ("" is /), from the directories that are compiled
// into it.
func (c *Config) inspect(kind, name, root string) Tool {
	t := Tool{Kind: kind, Path: name}
	info, err := os.Stat(root + name)
	if err != nil {
		t.Note = "it is not there"
		return t
	}
	if program, err := os.Executable(); err == nil {
		if self, err := os.Stat(program); err == nil && os.SameFile(self, info) {
			t.Ours, t.Same, t.Tree = true, true, c.tree
			return t
		}
	}
	data, err := readLimited(root+name, 64<<20)
	if err != nil {
		t.Note = "cannot be read: " + cause(err).Error()
		return t
	}
	if bytes.Contains(data, []byte("github.com/kudev/kudev/modload")) {
		t.Ours = true
		t.Note = "another file of kudev's"
		return t
	}
	t.Looks = compiledIn(data)
	if bytes.Contains(data, []byte("\x00MODULE_DIR\x00")) {
		t.Note = "MODULE_DIR in its environment moves it"
	}
	if len(t.Looks) == 0 && t.Note == "" {
		t.Note = "where it looks is not known"
	}
	ours, _ := os.Stat(c.tree)
	for _, dir := range t.Looks {
		tree := filepath.Join(dir, c.Release())
		place := root + tree
		if root == "" {
			place = c.Path(tree)
		}
		if theirs, err := os.Stat(place); err == nil {
			t.Tree, t.Same = tree, ours != nil && os.SameFile(ours, theirs)
			break
		}
	}
	return t
}

// compiledIn returns the strings of a binary that are directories of trees: /lib/modules and what distributions put in
// its place, such as /run/booted-system/kernel-modules/lib/modules. kmod has its directory whole (libkmod/libkmod.c,
// dirname_default_prefix), and so has busybox.
func compiledIn(data []byte) []string {
	var dirs []string
	const mark = "lib/modules"
	for offset := 0; ; {
		i := bytes.Index(data[offset:], []byte(mark))
		if i < 0 || len(dirs) == 8 {
			return dirs
		}
		start, end := offset+i, offset+i+len(mark)
		offset = end
		if rest := data[end:]; len(rest) == 0 || rest[0] != 0 && !bytes.HasPrefix(rest, []byte("/%s\x00")) {
			continue
		}
		for start > 0 && data[start-1] > ' ' && data[start-1] < 0x7f && end-start < 4096 {
			start--
		}
		if start > 0 && data[start-1] == ' ' { // within a message
			continue
		}
		dir := string(data[start:end])
		if strings.Contains(dir, "%") {
			continue
		}
		dir = dir[strings.IndexByte(dir, '/'):] // what lies before the string need not be another string
		if strings.HasSuffix(dir, "/"+mark) && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
}

func readLimited(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// udevds finds the device managers that run: their process's name is the file's, cut to 15 bytes. Their workers are
// children of theirs and called (udev-worker).
func (c *Config) udevds(ctx context.Context) []Tool {
	proc := c.Path("/proc")
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil
	}
	var tools []Tool
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || ctx.Err() != nil {
			continue
		}
		comm, _ := os.ReadFile(filepath.Join(proc, e.Name(), "comm"))
		switch strings.TrimSpace(string(comm)) {
		case "systemd-udevd", "udevd", "eudevd", "mdevd", "mdev":
			tools = append(tools, c.udevd(pid, strings.TrimSpace(string(comm))))
		}
	}
	return tools
}

// udevd describes one that runs: what is compiled in is in the libkmod that it has mapped, or in itself.
func (c *Config) udevd(pid int, name string) Tool {
	dir := filepath.Join(c.Path("/proc"), strconv.Itoa(pid))
	t := Tool{Kind: "udevd", Path: name, Pid: pid}
	program, err := os.Readlink(filepath.Join(dir, "exe"))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Note = "its program cannot be seen: " + cause(err).Error()
		}
		return t
	}
	where := program
	maps, _ := os.ReadFile(filepath.Join(dir, "maps"))
	for line := range strings.Lines(string(maps)) {
		if i := strings.IndexByte(line, '/'); i >= 0 && strings.HasPrefix(filepath.Base(line[i:]), "libkmod.so") {
			where = strings.TrimSpace(line[i:])
			break
		}
	}
	t = c.inspect("udevd", where, filepath.Join(dir, "root"))
	t.Path, t.Pid = program, pid
	if len(t.Looks) == 0 {
		t.Note = "" // udevd loads libkmod when it needs it: the library's own line says where it looks
	}
	return t
}
