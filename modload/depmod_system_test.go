//go:build system

package modload

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kudev/kudev/modload/modloadtest"
	"golang.org/x/sys/unix"
)

func TestDebiansIndexesAreByteForByteKmods(t *testing.T) {
	dir := debianTree(t)
	out := t.TempDir()
	if log, err := runDepmod(t, DepmodOptions{Dir: dir, OutDir: out}); err != nil || log != "" {
		t.Fatalf("%v, log %s", err, log)
	}
	for name, want := range readIndexes(t, dir) {
		if name == "modules.order" || name == "modules.builtin" || name == "modules.builtin.modinfo" {
			continue
		}
		got, err := os.ReadFile(filepath.Join(out, name))
		if err != nil || !bytes.Equal(got, []byte(want)) {
			t.Errorf("%s differs: %v", name, err)
		}
	}
}

func TestAFullDiskLeavesTheOldIndexes(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=96k"); err != nil {
		t.Fatalf("mount a tmpfs (run as root): %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	small := makeTree(t, map[string]modloadtest.Module{"a.ko": {Info: []string{"alias=old"}}})
	if _, err := runDepmod(t, DepmodOptions{Dir: small, OutDir: dir}); err != nil {
		t.Fatal(err)
	}
	before := readIndexes(t, dir)
	debian := debianTree(t)
	if _, err := runDepmod(t, DepmodOptions{Dir: debian, OutDir: dir}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("got %v", err)
	}
	if d := cmp.Diff(before, readIndexes(t, dir)); d != "" {
		t.Errorf("changed: %.500s", d)
	}
}

// TestAKillLeavesWholeIndexes kills depmod at many moments: every file is then the old one or the new one, whole.
func TestAKillLeavesWholeIndexes(t *testing.T) {
	program := filepath.Join(t.TempDir(), "depmod")
	if out, err := exec.Command("make", "-s", "-C", "..", "build", "PROGRAM="+program).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	debian := debianTree(t)
	release := filepath.Base(debian)
	root := t.TempDir()
	out := filepath.Join(root, "lib/modules", release)
	args := []string{"-b", strings.TrimSuffix(debian, "/lib/modules/"+release), "-o", root, release}
	start := time.Now()
	if text, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	whole := time.Since(start)
	fresh := readIndexes(t, out)
	for i := range 10 {
		old := map[string]string{}
		for name := range fresh {
			old[name] = "old " + name
			if err := os.WriteFile(filepath.Join(out, name), []byte(old[name]), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		c := exec.Command(program, args...)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(whole * time.Duration(i+1) / 10)
		c.Process.Kill()
		c.Wait()
		for name, text := range readIndexes(t, out) {
			if strings.HasSuffix(name, ".new") {
				continue
			}
			if text != old[name] && text != fresh[name] {
				t.Errorf("killed after %d/10: %s is neither the old nor the new one", i+1, name)
			}
		}
	}
}

// BenchmarkDepmod runs depmod on Debian's tree as a process of its own, kmod's and ours: the time, and the most memory that it had.
func BenchmarkDepmod(b *testing.B) {
	debian := debianTree(b)
	cache, _, _ := strings.Cut(debian, "/linux/lib/modules/")
	release := filepath.Base(debian)
	root := b.TempDir()
	if out, err := exec.Command("sh", "-c", "mkdir -p $1/lib/modules && cp -r $2 $1/lib/modules/", "sh", root, debian).CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	ours := filepath.Join(b.TempDir(), "depmod")
	if out, err := exec.Command("make", "-s", "-C", "..", "build", "PROGRAM="+ours).CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	libraries := "LD_LIBRARY_PATH=" + cache + "/libkmod2/lib/x86_64-linux-gnu:" + cache + "/libkmod2/usr/lib/x86_64-linux-gnu"
	for _, c := range []struct{ name, program string }{{"kmod", cache + "/kmod/bin/depmod"}, {"kudev", ours}} {
		b.Run(c.name, func(b *testing.B) {
			var most int64
			for b.Loop() {
				p := exec.Command(c.program, "-b", root, release)
				p.Env = append(os.Environ(), libraries)
				if out, err := p.CombinedOutput(); err != nil {
					b.Fatalf("%v\n%s", err, out)
				}
				if u, ok := p.ProcessState.SysUsage().(*syscall.Rusage); ok {
					most = max(most, u.Maxrss)
				}
			}
			b.ReportMetric(float64(most)/1024, "MiB-peak")
		})
	}
}
