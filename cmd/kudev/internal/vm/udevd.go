package vm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// AddUdevd puts Debian's systemd-udevd, its udevadm, rules, .link files and hwdb.bin into the tree, with the libraries that
// they are linked with and the programs that the rules call. In the guest, start it with `systemd-udevd --daemon`.
func (d *Debian) AddUdevd(ctx context.Context, root *Tree) error {
	for _, p := range []string{"bin/udevadm", "lib/udev/ata_id", "lib/udev/scsi_id", "lib/udev/cdrom_id", "lib/udev/v4l_id", "lib/udev/fido_id", "lib/udev/dmi_memory_id", "lib/udev/mtd_probe"} {
		if err := d.addProgram(root, "udev", p); err != nil {
			return fmt.Errorf("add systemd-udevd: %w", err)
		}
	}
	root.Symlink("/bin/systemd-udevd", "udevadm") // one program with two names
	if err := d.AddKmod(root); err != nil {
		return err
	}
	root.Symlink("/sbin/modprobe", "/bin/kmod") // for the kernel's own requests
	if err := d.AddRules(ctx, root); err != nil {
		return fmt.Errorf("add systemd-udevd: %w", err)
	}
	return nil
}

// AddKmod puts Debian's kmod into the tree, as /lib/kmod/{modprobe,insmod,…}: not on the guest's PATH.
func (d *Debian) AddKmod(root *Tree) error {
	if err := d.addProgram(root, "kmod", "bin/kmod"); err != nil {
		return fmt.Errorf("add kmod: %w", err)
	}
	for _, name := range []string{"modprobe", "insmod", "rmmod", "lsmod", "modinfo", "depmod"} {
		root.Symlink("/lib/kmod/"+name, "/bin/kmod")
	}
	return nil
}

// AddRules puts what Debian's udev and systemd packages hold for any device manager into the tree: rules, .link files and the compiled hwdb.
func (d *Debian) AddRules(ctx context.Context, root *Tree) error {
	for _, name := range []string{"udev", "systemd"} {
		pkg, err := d.Package(name)
		if err != nil {
			return err
		}
		for _, dir := range []string{"lib/udev/rules.d", "lib/systemd/network", "etc/udev"} {
			if _, err := os.Stat(filepath.Join(pkg, dir)); err != nil {
				continue
			}
			if err := root.CopyAll(dir, filepath.Join(pkg, dir), nil); err != nil {
				return err
			}
		}
	}
	hwdb, err := d.hwdb(ctx)
	if err != nil {
		return err
	}
	root.Copy("/lib/udev/hwdb.bin", hwdb, 0o444)
	return nil
}

// hwdb returns hwdb.bin as systemd-hwdb compiles it from Debian's files. It is made once: it takes a second.
func (d *Debian) hwdb(ctx context.Context) (string, error) {
	udev, err := d.Package("udev")
	if err != nil {
		return "", err
	}
	dir, err := d.kept()
	if err != nil {
		return "", err
	}
	to := filepath.Join(dir, "hwdb.bin")
	made, err := os.Stat(to)
	if sources, serr := os.Stat(filepath.Join(udev, ".complete")); err == nil && serr == nil && made.ModTime().After(sources.ModTime()) {
		return to, nil
	}
	root, err := os.MkdirTemp(dir, ".hwdb-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(root)
	if err := os.MkdirAll(filepath.Join(root, "etc/udev"), 0o755); err != nil {
		return "", err
	}
	sources := filepath.Join(root, "lib/udev")
	if err := os.MkdirAll(sources, 0o755); err != nil {
		return "", err
	}
	if err := os.CopyFS(filepath.Join(sources, "hwdb.d"), os.DirFS(filepath.Join(udev, "lib/udev/hwdb.d"))); err != nil {
		return "", err
	}
	command := exec.CommandContext(ctx, filepath.Join(udev, "bin/systemd-hwdb"), "update", "--root", root)
	command.Env = append(os.Environ(), "LD_LIBRARY_PATH="+d.libraryPath())
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("compile hwdb.bin: %w: %s", err, out)
	}
	return to, os.Rename(filepath.Join(root, "etc/udev/hwdb.bin"), to)
}
