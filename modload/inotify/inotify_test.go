package inotify

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// watch returns a Watcher of paths below a new directory, and a function that gives the notes there are, each once.
func watch(t *testing.T, paths ...string) (dir string, w *Watcher, notes func() string) {
	t.Helper()
	dir = t.TempDir()
	w, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	for _, p := range paths {
		if err := w.Add(filepath.Join(dir, p)); err != nil {
			t.Fatal(err)
		}
	}
	return dir, w, func() string {
		t.Helper()
		var list []string
		err := w.Take(func(n Note) {
			text := strings.TrimPrefix(n.Path, dir)
			if n.Attr {
				text += " attributes"
			}
			if !slices.Contains(list, text) {
				list = append(list, text)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(list, ", ")
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestEveryChangeIsKnownAtOnce(t *testing.T) {
	dir, _, notes := watch(t, "")
	must(t, os.WriteFile(dir+"/a", []byte("x"), 0o644))
	if got := notes(); got != "/a" {
		t.Errorf("a new file: %s", got)
	}
	must(t, os.Chmod(dir+"/a", 0o600))
	if got := notes(); got != "/a attributes" {
		t.Errorf("another mode: %s", got)
	}
	must(t, os.Rename(dir+"/a", dir+"/b"), os.Remove(dir+"/b"))
	if got := notes(); got != "/a, /b" {
		t.Errorf("a new name, and gone: %s", got)
	}
	if got := notes(); got != "" {
		t.Errorf("nothing: %s", got)
	}
}

func TestWhatIsNotThereIsWatchedForAbove(t *testing.T) {
	dir, w, notes := watch(t, "a/b/c")
	must(t, os.Mkdir(dir+"/other", 0o755), os.MkdirAll(dir+"/a/b/c", 0o755))
	if got := notes(); got != "/other, /a" {
		t.Errorf("got %s", got)
	}
	must(t, w.Add(dir+"/a/b/c"), os.WriteFile(dir+"/a/b/c/d", nil, 0o644))
	if got := notes(); got != "/a/b/c/d" {
		t.Errorf("got %s", got)
	}
	must(t, os.RemoveAll(dir+"/a"))
	if got := notes(); !strings.Contains(got, "/a/b/c/d, ") || !strings.Contains(got, ", /a/b/c") {
		t.Errorf("got %s", got)
	}
	must(t, w.Add(dir+"/a/b/c"), os.MkdirAll(dir+"/a", 0o755))
	if got := notes(); got != "/a" {
		t.Errorf("when it has come again: %s", got)
	}
}

func TestLostNotesAreSaid(t *testing.T) {
	dir, _, notes := watch(t, "")
	limit, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	must(t, err)
	var n int
	_, err = fmt.Sscan(string(limit), &n)
	must(t, err)
	must(t, os.WriteFile(dir+"/a", nil, 0o644), os.WriteFile(dir+"/b", nil, 0o644))
	for range n/2 + 1 { // of the same file, one after another, they would be one
		must(t, os.Chmod(dir+"/a", 0o644), os.Chmod(dir+"/b", 0o644))
	}
	if got := notes(); got != "/a, /b, /a attributes, /b attributes, " { // the last is of no file
		t.Errorf("got %s", got)
	}
}

func TestWaitingEndsWithTheWatcher(t *testing.T) {
	dir, w, _ := watch(t, "")
	got, ended := make(chan string), make(chan error)
	go func() { ended <- w.Wait(func(n Note) { got <- n.Path }) }()
	for _, name := range []string{"/a", "/b"} {
		must(t, os.Mkdir(dir+name, 0o755))
		if p := <-got; p != dir+name {
			t.Errorf("got %s", p)
		}
	}
	w.Close()
	if err := <-ended; err == nil {
		t.Error("no error")
	}
	if err := w.Take(func(Note) {}); err == nil {
		t.Error("a closed Watcher gives notes")
	}
}
