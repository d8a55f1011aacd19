package vm

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/kudev/kudev/testdata/debian"
)

// Debian is the cache of unpacked packages that testdata/debian/fetch fills. It holds the kernel, busybox and the peers.
type Debian struct {
	dir     string
	release string
}

// OpenDebian finds the cache: see [debian.Cache]. An error says which command fills it.
func OpenDebian() (*Debian, error) {
	dir, err := debian.Cache()
	if err != nil {
		return nil, err
	}
	d := &Debian{dir: dir}
	linux, err := d.Package("linux")
	if err != nil {
		return nil, err
	}
	release, err := os.ReadFile(filepath.Join(linux, "release"))
	if err != nil {
		return nil, fmt.Errorf("find Debian's kernel: %w: run `make packages`", err)
	}
	d.release = strings.TrimSpace(string(release))
	return d, nil
}

// Release is the kernel's: what uname -r says in a guest.
func (d *Debian) Release() string { return d.release }

// Kernel is the path of the kernel's image.
func (d *Debian) Kernel() string { return filepath.Join(d.dir, "linux/boot/vmlinuz-"+d.release) }

// Modules is the directory of the modules and their indexes, all of them.
func (d *Debian) Modules() string { return filepath.Join(d.dir, "linux/lib/modules", d.release) }

// Package returns the directory in which the package is unpacked.
func (d *Debian) Package(name string) (string, error) {
	dir := filepath.Join(d.dir, name)
	if _, err := os.Stat(filepath.Join(dir, ".complete")); err != nil {
		return "", fmt.Errorf("find Debian's package %s: %w: run `make packages`", name, err)
	}
	return dir, nil
}

// kept returns a directory beside the packages for what this package makes of them.
func (d *Debian) kept() (string, error) {
	dir := filepath.Join(filepath.Dir(d.dir), "vm")
	return dir, os.MkdirAll(dir, 0o777)
}

// addProgram puts a program of a package into the tree at its own place, and the shared libraries it asks for, theirs too.
// The libraries come from the packages in the cache, whichever holds them: a guest gets none of the host's.
func (d *Debian) addProgram(root *Tree, pkg, name string) error {
	dir, err := d.Package(pkg)
	if err != nil {
		return err
	}
	host := filepath.Join(dir, name)
	root.Copy(name, host, 0o755)
	return d.addLibraries(root, host, map[string]bool{})
}

func (d *Debian) addLibraries(root *Tree, host string, seen map[string]bool) error {
	f, err := elf.Open(host)
	if err != nil {
		return err
	}
	defer f.Close()
	needed, err := f.ImportedLibraries()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		return fmt.Errorf("read what %s needs: %w", host, err)
	}
	for _, lib := range needed {
		if seen[lib] {
			continue
		}
		seen[lib] = true
		file, err := d.library(lib)
		if err != nil {
			return fmt.Errorf("%s needs it: %w", filepath.Base(host), err)
		}
		place := "/lib/x86_64-linux-gnu/" + lib
		if strings.HasPrefix(lib, "ld-linux") {
			place = "/lib64/" + lib // where every program looks for it
		}
		root.Copy(place, file, 0o755)
		if err := d.addLibraries(root, file, seen); err != nil {
			return err
		}
	}
	return nil
}

// libraryPath is the LD_LIBRARY_PATH with which the packages' programs run on the host. The C library is the host's: it and
// its loader have to be of one make.
func (d *Debian) libraryPath() string {
	var dirs []string
	for _, pkg := range []string{"libkmod2", "libselinux1", "libpcre2-8-0", "libzstd1", "liblzma5", "libssl3"} {
		for _, lib := range []string{"lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"} {
			dirs = append(dirs, filepath.Join(d.dir, pkg, lib))
		}
	}
	return strings.Join(dirs, ":")
}

func (d *Debian) library(name string) (string, error) {
	for _, place := range []string{"lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib64", "usr/lib64"} {
		found, err := filepath.Glob(filepath.Join(d.dir, "*", place, name))
		if err != nil {
			return "", err
		}
		if len(found) > 0 {
			return filepath.EvalSymlinks(found[0])
		}
	}
	return "", fmt.Errorf("the shared library %s is in none of the packages in %s: run `make packages`", name, d.dir)
}
